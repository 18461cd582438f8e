// The events of a stream as a table that can be sorted, one page at a time.
import { fetched, fieldOf, getTable, grown } from "./data.js";
import { make, number, visible } from "./dom.js";
import { failed, loading } from "./retry.js";

const MAX_EVENTS = 100_000;
const PAGE = 50;
const SHOWN_TEXTS = 8;

export class EventTable {
  constructor(root, streamUrl, fields, events, zone, units = {}) {
    Object.assign(this, { root, streamUrl, fields, events, units, page: 0, sorted: null });
    this.clock = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
  }

  async load() {
    if (this.events > MAX_EVENTS) {
      const note = `${this.events} events are too many for a page; download the table instead.`;
      this.root.replaceChildren(make("p", { className: "plot-note", textContent: note }));
      return;
    }
    this.root.replaceChildren(loading("the table"));
    try {
      this.columns = await fetched(this, () => getTable(this.streamUrl, this.fields));
      this.names = Object.keys(this.columns);
      this.arrange();
    } catch (error) {
      this.root.replaceChildren(failed(error, () => this.load()));
    }
  }

  /** Events have come: the page that is shown, and the order, stay. */
  grow(events, pages) {
    this.events = events;
    if (grown(this, pages)) this.arrange();
  }

  sort(name) {
    const down = this.sorted?.name === name && !this.sorted.down;
    this.sorted = { name, down };
    this.page = 0;
    this.arrange(name);
  }

  /** All rows in the order that is chosen. */
  arrange(focus) {
    this.rows = this.columns.time.map((_, at) => at);
    if (this.sorted) this.order(this.sorted);
    this.draw(focus ?? this.focused);
  }

  get focused() {
    const element = document.activeElement;
    return this.root.contains(element) ? element.dataset.name ?? element.textContent : undefined;
  }

  order({ name, down }) {
    const values = this.columns[name];
    const sign = down ? -1 : 1;
    const compare = (a, b) => {
      if (values[a] === null || values[b] === null) return (values[a] === null) - (values[b] === null); // empty ones last
      return values[a] < values[b] ? -sign : values[a] > values[b] ? sign : a - b;
    };
    this.rows.sort(compare);
  }

  draw(focus) {
    const pages = Math.max(1, Math.ceil(this.rows.length / PAGE));
    const body = make("tbody");
    for (const at of this.rows.slice(this.page * PAGE, (this.page + 1) * PAGE)) {
      body.append(make("tr", {}, ...this.names.map((name) => this.cell(name, this.columns[name][at]))));
    }
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...this.names.map((name) => this.head(name)))), body);
    const turn = (text, by) => {
      const button = make("button", { type: "button", textContent: text, disabled: this.page + by < 0 || this.page + by >= pages });
      button.addEventListener("click", () => { this.page += by; this.draw(); });
      return button;
    };
    const where = make("span", { className: "dim", textContent: `page ${this.page + 1} of ${pages}, ${this.rows.length} events` });
    const scroll = make("div", { className: "scroll events", tabIndex: 0 }, table);
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Events");
    const { scrollLeft: along = 0, scrollTop: down = 0 } = this.root.querySelector(".scroll") ?? {};
    this.root.replaceChildren(scroll, make("div", { className: "row pages" }, turn("← Back", -1), where, turn("On →", 1)));
    this.root.shown = this.rows.slice(this.page * PAGE, (this.page + 1) * PAGE);
    Object.assign(scroll, { scrollLeft: along, scrollTop: this.drawn === this.page ? down : 0 });
    this.drawn = this.page;
    const wanted = (button) => (button.dataset.name ?? button.textContent) === focus;
    if (focus) [...this.root.querySelectorAll("button")].find(wanted)?.focus();
  }

  head(name) {
    const mark = this.sorted?.name === name ? (this.sorted.down ? " ↓" : " ↑") : "";
    const button = make("button", { type: "button", textContent: visible(name) + mark });
    button.dataset.name = name;
    const unit = this.units[fieldOf(name)];
    if (unit) button.append(make("span", { className: "unit", textContent: visible(unit) }));
    button.addEventListener("click", () => this.sort(name));
    const cell = make("th", { scope: "col", className: "num" }, button);
    cell.setAttribute("aria-sort", mark ? (this.sorted.down ? "descending" : "ascending") : "none");
    return cell;
  }

  cell(name, value) {
    if (name === "time" && value !== null) return make("td", { className: "num nowrap", textContent: this.clock.format(value * 1000) });
    if (typeof value === "string") return make("td", {}, make("bdi", { textContent: visible(value) }));
    if (Array.isArray(value) && value.length <= SHOWN_TEXTS && value.every((item) => typeof item === "string")) {
      return make("td", {}, make("bdi", { textContent: value.map(visible).join(", ") }));
    }
    if (value !== null && typeof value === "object") return make("td", { className: "dim", textContent: `${value.length} values` });
    return make("td", { className: "num", textContent: number(value) });
  }
}
