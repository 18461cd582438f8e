// Detector frames, one at a time: as a whole first, in full where one looks closer.
import { arrayUrl, getArray, getShape } from "../data.js";
import { checkbox, labelled, make, select, visible } from "../dom.js";
import { Picture } from "../image.js";
import { Axis } from "./axis.js";
import { keep, keptOf } from "./kept.js";
import { Layer } from "./layer.js";
import { onChosen, tellShown } from "./linking.js";
import { AllEvents } from "./overall.js";
import { STATISTICS } from "./region.js";
import { Sheet } from "./sheet.js";

const PREVIEW_PIXELS = 1024;
const COARSE_PIXELS = 128; // that come at once over any line
const SLOW = 500; // ms after which a coarse frame is fetched meanwhile
const PAUSE = 80; // ms that a slider must rest before its frame is fetched
const REST = 250; // ms that a view must rest before its detail is fetched, and a region before it is measured
const RATES = [1, 2, 5, 10];
const COLOURED = ["colours", "red", "green", "blue"];
const USED = ["input", "change", "click", "pointerup", "touchend", "wheel", "keyup"];
const PNG_MAPS = { "gray, inverted": "gray_r", "vik, diverging": "vik", "berlin, diverging": "berlin" };

export class Frames {
  /** isOpen: events are still to come, and the newest one is shown until another one is chosen. */
  constructor(root, streamUrl, field, events, isOpen = false) {
    Object.assign(this, { root, streamUrl, field, events, stride: null });
    this.newest = checkbox(isOpen);
    this.newest.addEventListener("change", () => this.newest.checked && this.showNewest());
    this.heading = root.querySelector("h3");
    const [place, below] = [make("div"), make("div")];
    root.replaceChildren(this.heading, place, below);
    this.picture = new Picture(place, {
      describe: `Frame of ${visible(field)}`,
      actions: { viewed: () => this.viewed(), measured: (cells, above) => this.measured(cells, above) },
    });
    this.frame = this.slider(events, "Event");
    if (isOpen) this.frame.to(events);
    this.frame.range.addEventListener("input", () => { this.newest.checked = false; });
    this.picture.above.append(this.frame.row, this.player(), make("label", { hidden: !isOpen }, this.newest, " the newest"), ...this.tools());
    this.overall = new AllEvents(this, (event) => this.go(event));
    this.picture.fields.root.after(this.overall.root);
    this.sheet = new Sheet(this, (event) => this.go(event));
    below.append(this.sheet.root);
    onChosen(root, (event) => { this.go(event); this.used(); });
    this.kept = keptOf(root, field);
    if (this.kept) this.restore(this.kept);
    for (const name of USED) root.addEventListener(name, () => this.used(), { passive: true });
  }

  // -- the address -------------------------------------------------------------------------------

  restore({ frame, cmap, contrast, limits, mask }) {
    this.newest.checked = false;
    this.frame.to(frame[0]);
    const { picture } = this;
    [picture.map.value, picture.scale.value, picture.mask.value] = [cmap, contrast, mask ?? ""];
    if (limits) [picture.low.value, picture.high.value] = limits;
    picture.manual = Boolean(limits);
  }

  /** What was chosen goes into the address when the hands rest. */
  used() {
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => {
      if (this.playing || this.root.dataset.state !== "drawn") return;
      this.nameFiles();
      keep(this.root, this.field, [this.frame, ...(this.inner ? [this.inner] : [])].map((slider) => slider.index() + 1), this.picture);
    }, REST);
  }

  // -- controls ----------------------------------------------------------------------------------

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

  player() {
    this.play = make("button", { type: "button", textContent: "Play" });
    this.play.setAttribute("aria-pressed", "false");
    this.play.addEventListener("click", () => (this.playing ? this.stop() : this.run()));
    this.rate = select(RATES.map((rate) => [rate, `${rate} a second`]), 5);
    this.rate.setAttribute("aria-label", "Speed");
    return make("span", { className: "row player" }, this.play, this.rate);
  }

  tools() {
    this.note = make("span", { className: "dim" });
    this.full = make("button", { type: "button", textContent: "Full resolution", hidden: true });
    this.full.addEventListener("click", () => { this.stride = 1; this.load(); });
    const sheet = make("button", { type: "button", textContent: "All frames" });
    sheet.setAttribute("aria-pressed", "false");
    sheet.addEventListener("click", () => sheet.setAttribute("aria-pressed", String(this.sheet.toggle())));
    this.files = ["png", "tiff", "npy"].map((format) => make("a", { textContent: format, download: "" }));
    return [this.note, this.full, sheet, make("span", { className: "row files" }, "This frame:", ...this.files)];
  }

  /** Shows the frame of this event, counted from 0. */
  go(event) {
    if (event < 0 || event >= this.events) return;
    this.newest.checked = false;
    this.frame.to(event + 1);
    if (this.shape) this.load();
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

  /** Frame after frame, with the limits of the colours that the first one has. */
  async run() {
    this.playing = true;
    this.picture.manual = true;
    this.newest.checked = false;
    this.tellPlaying();
    if (this.frame.index() >= this.events - 1) this.frame.to(0);
    else this.frame.to(this.frame.index() + 2);
    while (this.playing && this.root.isConnected) {
      const due = performance.now() + 1000 / Number(this.rate.value);
      await this.load();
      await new Promise((resolve) => { setTimeout(resolve, Math.max(0, due - performance.now())); });
      if (this.frame.index() >= this.events - 1 || this.root.dataset.state !== "drawn") break;
      if (this.playing) this.frame.to(this.frame.index() + 2);
    }
    this.stop();
  }

  stop() {
    this.playing = false;
    this.tellPlaying();
  }

  tellPlaying() {
    this.play.textContent = this.playing ? "Stop" : "Play";
    this.play.setAttribute("aria-pressed", String(this.playing));
  }

  // -- data --------------------------------------------------------------------------------------

  async load() {
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    try {
      this.shape ??= await this.learn(signal);
      const step = this.stride ?? this.preview;
      this.nameFiles();
      await this.show(step, signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.picture.fail(error);
      this.root.dataset.state = "failed";
    }
  }

  /** What comes first is shown: the frame, or where a line is slow, a coarse one until it is there. */
  async show(step, signal) {
    const coarse = Math.max(step, Math.ceil(Math.max(this.height, this.width) / COARSE_PIXELS));
    let done = false;
    const meanwhile = setTimeout(async () => {
      if (coarse === step || this.playing) return;
      const fetched = await this.fetch(coarse, signal).catch(() => null); // the frame itself tells why
      if (fetched && !done && !signal.aborted) this.draw(fetched, coarse, true);
    }, SLOW);
    try {
      const fetched = await this.fetch(step, signal);
      done = true;
      this.draw(fetched, step, false);
    } finally {
      clearTimeout(meanwhile);
    }
  }

  fetch(step, signal) {
    return getArray(this.streamUrl, this.field, this.slice(`::${step}`, `::${step}`), signal);
  }

  /** The slice of rows and columns of a frame of this event, or of these. */
  slice(rows, columns, event = this.frame.index()) {
    const inner = this.inner ? [this.inner.index()] : Array(this.lead).fill(0);
    const channel = COLOURED.indexOf(this.channel?.value);
    const last = this.channels ? [channel > 0 ? channel - 1 : ":"] : [];
    return [event, ...inner, rows, columns, ...last].join();
  }

  nameFiles() {
    for (const file of this.files) {
      const format = file.textContent;
      file.href = arrayUrl(this.streamUrl, this.field, this.slice(":", ":"), format, format === "png" ? this.pngLook() : {});
      file.hidden = (this.inColours && format !== "npy") || (format === "png" && !["linear", "log"].includes(this.picture.scale.value));
    }
  }

  /** The service's picture in the colours of this one. */
  pngLook() {
    const { map, scale, low, high } = this.picture;
    const limits = this.root.dataset.state === "drawn" ? { min: low.value, max: high.value } : {};
    return { cmap: PNG_MAPS[map.value] ?? map.value, ...limits, ...(scale.value === "log" ? { log: true } : {}) };
  }

  get inColours() {
    return this.channel?.value === "colours";
  }

  draw({ shape, values }, step, isCoarse) {
    const [height, width] = this.inColours ? shape.slice(-3) : shape.slice(-2);
    const colours = this.inColours ? { values, channels: this.channels } : null;
    this.note.textContent = isCoarse ? "coarse, the rest is coming" : step > 1 ? `at 1/${step} of its resolution` : "";
    this.full.hidden = step === 1;
    this.step = step;
    this.picture.show({
      width, height, colours, values: colours ? greys(values, this.channels) : values, coarse: step > 1 || this.inColours,
      x: Axis.ofPixels(width, step), y: Axis.ofPixels(height, step), equal: "pixels", xName: "x (pixel)", yName: "y (pixel)",
      extent: { x: [-0.5, this.width - 0.5], y: [-0.5, this.height - 0.5] },
    });
    this.root.dataset.state = "drawn";
    this.root.dataset.frame = this.frame.index();
    if (isCoarse) return;
    this.nameFiles();
    this.restorePlaces();
    tellShown(this.root, this.frame.index(), this.field);
    this.overall.mark(this.frame.index());
    this.sheet.mark(this.frame.index());
    if (!this.picture.figure.isWhole) this.viewed();
  }

  /** Once there is a picture for them. */
  restorePlaces() {
    const { region, view } = this.kept ?? {};
    this.kept = null;
    if (region) this.picture.choose(region);
    if (view) this.picture.figure.see(view);
  }

  /** Of what is looked at closer, as much as there are pixels on the screen. */
  viewed() {
    clearTimeout(this.closer);
    const { figure } = this.picture;
    if (!(this.step > 1) || figure.isWhole) return;
    this.closer = setTimeout(() => this.detail(figure), REST);
  }

  async detail(figure) {
    const span = (axis, count) => [Math.max(0, Math.floor(figure.view[axis][0])), Math.min(count, Math.ceil(figure.view[axis][1] + 1))];
    const [x, y] = [span("x", this.width), span("y", this.height)];
    const step = Math.max(1, Math.floor((x[1] - x[0]) / figure.canvas.width));
    if (step >= this.step || this.inColours) return;
    const event = this.frame.index();
    try {
      const slice = this.slice(`${y[0]}:${y[1]}:${step}`, `${x[0]}:${x[1]}:${step}`);
      const { shape, values } = await getArray(this.streamUrl, this.field, slice, this.asking.signal);
      const [height, width] = shape.slice(-2);
      if (event !== this.frame.index()) return;
      this.picture.addDetail(new Layer({ x: Axis.ofPixels(width, step, x[0]), y: Axis.ofPixels(height, step, y[0]), values }));
      this.root.dataset.detail = slice;
    } catch (error) {
      if (error.name !== "AbortError") this.note.textContent = error.message;
    }
  }

  /** The true shape of one event, which descriptors do not always tell. */
  async learn(signal) {
    const shape = await getShape(this.streamUrl, this.field, "0", signal);
    if (shape.length < 2) throw new Error("This is not an image.");
    const isColoured = shape.length > 2 && [3, 4].includes(shape.at(-1)) && shape.at(-2) > 4;
    this.channels = isColoured ? shape.at(-1) : 0;
    const plain = isColoured ? shape.slice(0, -1) : shape;
    [this.height, this.width] = plain.slice(-2);
    this.lead = plain.length - 2;
    this.preview = Math.max(1, Math.ceil(Math.max(this.height, this.width) / PREVIEW_PIXELS));
    if (this.lead === 1 && plain[0] > 1) {
      this.inner = this.slider(plain[0], "Frame");
      this.frame.row.after(this.inner.row);
      if (this.kept?.frame[1]) this.inner.to(this.kept.frame[1]);
    }
    if (isColoured) {
      this.channel = select(COLOURED.map((name) => [name, name]), "colours");
      this.channel.addEventListener("change", () => { this.picture.manual = false; this.load(); });
      this.picture.above.append(labelled("Show", this.channel));
    }
    return shape;
  }

  // -- a region ----------------------------------------------------------------------------------

  /** Of a frame that is not all here, the service tells what a region comes to. */
  measured(cells, above) {
    this.overall.choose(cells, above);
    this.measuring?.abort();
    clearTimeout(this.measure);
    if (!cells || (this.step === 1 && !this.inColours)) return;
    this.measuring = new AbortController();
    const { signal } = this.measuring;
    this.measure = setTimeout(async () => {
      try {
        const found = await Promise.all(STATISTICS.map((how) => this.reduced(cells, above, how, this.frame.index(), signal)));
        this.picture.fields.tell(Object.fromEntries(STATISTICS.map((how, i) => [how, found[i].values[0]])));
      } catch (error) {
        if (error.name !== "AbortError") this.picture.fields.refuse(error.message);
      }
    }, REST);
  }

  /** A region of an event, or of several ("0:10"), as numbers. */
  reduced(cells, above, how, events, signal) {
    return getArray(this.streamUrl, this.field, this.slice(cells.rows.join(":"), cells.columns.join(":"), events), signal, reduction(how, above));
  }

  reducedUrl(cells, above, how, format) {
    const slice = this.slice(cells.rows.join(":"), cells.columns.join(":"), ":");
    return arrayUrl(this.streamUrl, this.field, slice, format, reduction(how, above));
  }
}

const reduction = (how, above) => ({ reduce: how, ...(Number.isFinite(above) ? { mask_above: above } : {}) });

/** The mean of the three colours of each pixel. */
function greys(values, channels) {
  return Float32Array.from({ length: values.length / channels }, (_, i) => (values[i * channels] + values[i * channels + 1] + values[i * channels + 2]) / 3);
}
