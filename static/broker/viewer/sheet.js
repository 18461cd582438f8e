// A contact sheet: small pictures of many events, fetched together.
import { getArray } from "../data.js";
import { make, select } from "../dom.js";
import { Axis } from "./axis.js";
import { Layer } from "./layer.js";

const THUMB = 72; // values along the longer side
const MOST = 48; // pictures at once

export class Sheet {
  /** frames: whose events are shown. pointed(event): one was chosen. */
  constructor(frames, pointed) {
    Object.assign(this, { frames, pointed, first: 0 });
    this.spread = select([["all", "spread over all"], ["each", "one after the other"]], "all");
    this.spread.setAttribute("aria-label", "Which frames");
    this.spread.addEventListener("change", () => { this.first = 0; this.load(); });
    this.back = this.turn("← Back", -MOST);
    this.on = this.turn("On →", MOST);
    this.note = make("span", { className: "dim" });
    this.note.setAttribute("role", "status");
    this.list = make("ul", { className: "sheet" });
    this.root = make("section", { className: "contact", hidden: true, ariaLabel: "All frames" },
      make("div", { className: "row" }, this.spread, this.back, this.on, this.note), this.list);
  }

  turn(text, by) {
    const button = make("button", { type: "button", textContent: text });
    button.addEventListener("click", () => { this.first = Math.max(0, this.first + by); this.load(); });
    return button;
  }

  /** Opens or closes it; is it open now? */
  toggle() {
    this.root.hidden = !this.root.hidden;
    if (!this.root.hidden) this.load();
    return !this.root.hidden;
  }

  /** {first, step, count} of the events that are shown. */
  get events() {
    const { events } = this.frames;
    if (events <= MOST) return { first: 0, step: 1, end: events };
    const step = Math.ceil(events / MOST);
    return this.spread.value === "all" ? { first: 0, step, end: events } : { first: this.first, step: 1, end: Math.min(events, this.first + MOST) };
  }

  async load() {
    const { frames } = this;
    const { first, step, end } = this.events;
    const many = frames.events > MOST;
    this.spread.hidden = !many;
    this.back.hidden = this.on.hidden = !many || this.spread.value === "all";
    this.back.disabled = first === 0;
    this.on.disabled = end >= frames.events;
    this.asking?.abort();
    this.asking = new AbortController();
    this.note.textContent = "Loading …";
    try {
      const stride = Math.max(1, Math.ceil(Math.max(frames.height, frames.width) / THUMB));
      const slice = frames.slice(`::${stride}`, `::${stride}`, `${first}:${end}:${step}`);
      const { shape, values } = await getArray(frames.streamUrl, frames.field, slice, this.asking.signal);
      this.draw(shape, values, first, step);
      this.note.textContent = step > 1 ? `every ${step}th of ${frames.events} events` : `events ${first + 1} to ${end} of ${frames.events}`;
      this.root.dataset.state = "drawn";
    } catch (error) {
      if (error.name === "AbortError") return;
      this.note.textContent = error.message;
      this.list.replaceChildren();
      this.root.dataset.state = "failed";
    }
  }

  draw(shape, values, first, step) {
    const channels = this.frames.inColours ? shape.at(-1) : 1;
    const [height, width] = this.frames.inColours ? shape.slice(-3) : shape.slice(-2);
    const size = height * width * channels;
    const look = this.frames.picture.painting;
    this.look = look;
    this.pictures = Array.from({ length: shape[0] }, (_, n) => {
      const own = values.subarray(n * size, (n + 1) * size);
      const layer = new Layer({
        x: Axis.ofPixels(width), y: Axis.ofPixels(height), values: channels > 1 ? new Float32Array(height * width) : own,
        colours: channels > 1 ? { values: own, channels } : null,
      });
      return { event: first + n * step, layer };
    });
    this.root.plotted = { kind: "sheet", events: this.pictures.map(({ event }) => event), width, height, values };
    this.list.replaceChildren(...this.pictures.map((picture) => this.item(picture, look)));
    this.mark(this.frames.frame.index());
  }

  item({ event, layer }, look) {
    layer.paint(look);
    const button = make("button", { type: "button", title: `Event ${event + 1}` }, layer.canvas, make("span", { textContent: event + 1 }));
    button.dataset.event = event;
    button.setAttribute("aria-label", `Event ${event + 1}`);
    button.addEventListener("click", () => this.pointed(event));
    return make("li", {}, button);
  }

  /** The event whose frame is shown; pictures take its colours. */
  mark(event) {
    if (this.root.hidden || !this.pictures) return;
    for (const { layer } of this.pictures) layer.paint(this.frames.picture.painting);
    for (const button of this.list.querySelectorAll("button")) button.setAttribute("aria-current", String(Number(button.dataset.event) === event));
  }
}
