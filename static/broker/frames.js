// Arrays in a picture: detector frames one at a time, or a field of one axis over all events.
import { arrayUrl, getArray, getShape } from "./data.js";
import { checkbox, labelled, make, visible } from "./dom.js";
import { Picture } from "./image.js";

const PREVIEW_PIXELS = 1024;
const MAX_VALUES = 4e6;
const PAUSE = 80; // ms that a slider must rest before its frame is fetched

export class Frames {
  /** isOpen: events are still to come, and the newest one is shown until another one is chosen. */
  constructor(root, streamUrl, field, events, isOpen = false) {
    Object.assign(this, { root, streamUrl, field, events, stride: null });
    this.newest = checkbox(isOpen);
    this.newest.addEventListener("change", () => this.newest.checked && this.showNewest());
    this.heading = root.querySelector("h3");
    const place = make("div");
    root.replaceChildren(this.heading, place);
    this.picture = new Picture(place, { describe: `Frame of ${visible(field)}` });
    this.frame = this.slider(events, "Event");
    this.note = make("span", { className: "dim" });
    this.full = make("button", { type: "button", textContent: "Full resolution", hidden: true });
    this.full.addEventListener("click", () => { this.stride = 1; this.load(); });
    this.files = ["png", "tiff"].map((format) => make("a", { textContent: format, download: "" }));
    const files = make("span", { className: "row" }, "This frame:", ...this.files);
    const newest = make("label", { hidden: !isOpen }, this.newest, " the newest");
    if (isOpen) this.frame.to(events);
    this.frame.range.addEventListener("input", () => { this.newest.checked = false; });
    this.picture.above.append(this.frame.row, newest, this.note, this.full, files);
  }

  slider(count, name) {
    const range = make("input", { type: "range", min: 1, max: Math.max(1, count), value: 1, step: 1 });
    const output = make("output", { className: "nowrap" });
    const tell = () => { output.textContent = `${range.value} of ${range.max}`; };
    range.addEventListener("input", () => {
      tell();
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.load(), PAUSE);
    });
    tell();
    const row = make("div", { className: "frame" }, labelled(name, range), output);
    const to = (value) => { range.value = value; tell(); };
    return { row, range, tell, to, index: () => range.value - 1 };
  }

  /** More events have come: the slider reaches further. */
  grow(events) {
    this.events = events;
    this.frame.range.max = Math.max(1, events);
    this.frame.tell();
    if (this.newest.checked) this.showNewest();
    else if (!this.shape) this.load();
  }

  showNewest() {
    this.frame.to(this.events);
    this.load();
  }

  async load() {
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    try {
      this.shape ??= await this.learn(signal);
      const inner = this.inner ? `${this.inner.index()},` : "0,".repeat(Math.max(0, this.shape.length - 2));
      const step = this.stride ?? this.preview;
      const slice = `${this.frame.index()},${inner}::${step},::${step}`;
      for (const file of this.files) {
        file.href = arrayUrl(this.streamUrl, this.field, `${this.frame.index()},${inner}:,:`, file.textContent);
      }
      const { shape, values } = await getArray(this.streamUrl, this.field, slice, signal);
      const [height, width] = shape.slice(-2);
      const ticks = (count) => Array.from({ length: count }, (_, i) => i * step);
      this.note.textContent = step > 1 ? `at 1/${step} of its resolution` : "";
      this.full.hidden = step === 1;
      this.picture.show({ width, height, values, aspect: width / height, rows: ticks(height), columns: ticks(width) });
      this.root.dataset.state = "drawn";
      this.root.dataset.frame = this.frame.index();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.picture.fail(error);
      this.root.dataset.state = "failed";
    }
  }

  /** The true shape of one event, which descriptors do not always tell. */
  async learn(signal) {
    const shape = await getShape(this.streamUrl, this.field, "0", signal);
    if (shape.length < 2) throw new Error("This is not an image.");
    const [height, width] = shape.slice(-2);
    this.preview = Math.max(1, Math.ceil(Math.max(height, width) / PREVIEW_PIXELS));
    if (shape.length === 3 && shape[0] > 1) {
      this.inner = this.slider(shape[0], "Frame");
      this.frame.row.after(this.inner.row);
    }
    return shape;
  }
}

export class Spectra {
  constructor(root, streamUrl, field, events) {
    Object.assign(this, { root, streamUrl, field, events });
    const place = make("div");
    root.replaceChildren(root.querySelector("h3"), place);
    this.picture = new Picture(place, { upwards: true, describe: `${visible(field)} of every event` });
  }

  grow(events) {
    this.events = events;
    this.load();
  }

  async load() {
    try {
      const [length] = await getShape(this.streamUrl, this.field, "0");
      const step = Math.max(1, Math.ceil((length * this.events) / MAX_VALUES));
      const { shape, values } = await getArray(this.streamUrl, this.field, `::${step}`);
      const [height, width] = shape;
      const rows = Array.from({ length: height }, (_, i) => i * step + 1);
      this.picture.show({ width, height, values, aspect: 2, rows, xName: "channel", yName: "event" });
      this.root.dataset.state = "drawn";
    } catch (error) {
      this.picture.fail(error);
      this.root.dataset.state = "failed";
    }
  }
}
