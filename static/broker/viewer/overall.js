// A region over all events: one number each, which the service makes of the frames.
import { columnOf, getTable } from "../data.js";
import { make, select, visible } from "../dom.js";
import { Chart } from "./chart.js";
import { STATISTICS } from "./region.js";

const AT_ONCE = 2 ** 25; // bytes that are read for one answer: the curve grows while they come
const WIDEST = 8; // bytes of a value, at the most

export class AllEvents {
  /** frames: whose region it is. pointed(event): a point of the curve was clicked. */
  constructor(frames, pointed) {
    this.frames = frames;
    this.plan = planOf(frames.root);
    this.how = select(STATISTICS.map((name) => [name, name]), "sum");
    this.over = select([["event", "event"], ...this.motors.map((name) => [name, visible(name)])], this.motors[0] ?? "event");
    this.button = make("button", { type: "button", textContent: "Over all events" });
    this.files = ["json", "npy"].map((format) => make("a", { textContent: format, download: "" }));
    this.note = make("span", { className: "dim" });
    this.note.setAttribute("role", "status");
    this.chart = new Chart("", { pointed: (index) => pointed(this.order[index]) });
    this.how.ariaLabel = "Number of the region";
    this.over.ariaLabel = "Over what it is drawn";
    const controls = make("div", { className: "row" }, this.how, this.button, make("span", { className: "dim", textContent: "drawn over" }), this.over);
    const files = make("div", { className: "row files" }, ...this.files, this.note);
    this.root = make("div", { className: "overall", hidden: true }, controls, this.chart.root, files);
    this.button.addEventListener("click", () => this.load());
    for (const choice of [this.how, this.over]) choice.addEventListener("change", () => (this.numbers ? this.load() : this.name()));
  }

  /** The motors that the run's plan moved. */
  get motors() {
    const { x, slow, fast } = this.plan;
    return [x, fast, slow].filter((name) => name && name !== "time");
  }

  /** cells: the region, null for none. above: the limit of the mask. */
  choose(cells, above) {
    const same = JSON.stringify([cells, String(above)]);
    this.root.hidden = !cells;
    if (same === this.same) return;
    Object.assign(this, { same, cells, above, numbers: null });
    this.asking?.abort();
    this.chart.hide();
    this.note.textContent = "";
    if (cells) this.name();
  }

  name() {
    for (const file of this.files) file.href = this.frames.reducedUrl(this.cells, this.above, this.how.value, file.textContent);
  }

  async load() {
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    const { events } = this.frames;
    this.name();
    this.numbers = [];
    this.root.dataset.state = "asked";
    try {
      await this.fetchPlaces(signal);
      const bytes = (this.cells.rows[1] - this.cells.rows[0]) * (this.cells.columns[1] - this.cells.columns[0]) * WIDEST;
      const count = Math.max(1, Math.floor(AT_ONCE / bytes));
      for (let first = 0; first < events; first += count) {
        this.note.textContent = first ? `${first} of ${events} events` : "reading …";
        const span = `${first}:${Math.min(events, first + count)}`;
        const { values } = await this.frames.reduced(this.cells, this.above, this.how.value, span, signal);
        this.numbers.push(...values);
        this.draw();
      }
      this.note.textContent = `${this.numbers.length} events`;
      this.root.dataset.state = "drawn";
    } catch (error) {
      if (error.name === "AbortError") return;
      this.note.textContent = error.message;
      this.root.dataset.state = "failed";
    }
  }

  async fetchPlaces(signal) {
    const name = this.over.value;
    this.places = name === "event" ? null : (await getTable(this.frames.streamUrl, [name], signal))[columnOf(name)];
  }

  draw() {
    const name = this.over.value;
    const x = this.numbers.map((_, i) => (this.places ? this.places[i] ?? NaN : i + 1));
    // The events whose x is known, in its order.
    this.order = [...x.keys()].filter((i) => Number.isFinite(x[i])).sort((a, b) => x[a] - x[b]);
    const unit = this.plan.units?.[name];
    const label = visible(name) + (unit ? ` (${visible(unit)})` : "");
    const values = this.order.map((i) => this.numbers[i]);
    this.chart.show(`${this.how.value} of the region`, label, this.order.map((i) => x[i]), values, this.order.indexOf(this.frames.frame.index()));
    this.root.plotted = { kind: "region", numbers: this.numbers, x: this.order.map((i) => x[i]), values };
  }

  /** The event whose frame is shown. */
  mark() {
    if (this.numbers?.length) this.draw();
  }
}

/** What the page's plot of the same stream is made from. */
function planOf(element) {
  const script = element.closest("[data-stream]")?.querySelector("script[type='application/json']");
  return script ? JSON.parse(script.textContent) : {};
}
