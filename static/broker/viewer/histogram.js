// How often each value is in a picture, with a handle for either limit of the colours.
import { make, number, resolved } from "../dom.js";
import { isShown, scaleOf } from "./scale.js";

const BINS = 128;
const STEPS = 1000; // of a handle
const ENDS = [["Darkest at", 0], ["Brightest at", 1]];

/** Counts of the values that are shown, in bins of the same width on a scale. */
export function histogramOf(values, scale, above) {
  const counts = new Array(BINS).fill(0);
  for (const value of values) {
    if (!isShown(value, above)) continue;
    counts[Math.max(0, Math.min(BINS - 1, Math.floor(scale.to(value) * BINS)))] += 1;
  }
  return counts;
}

export class Histogram {
  /** moved(end, value): a handle is at another value; end 0 is the low one. */
  constructor(moved) {
    this.canvas = make("canvas", { width: 2 * BINS, height: 64 });
    this.canvas.setAttribute("role", "img");
    this.handles = ENDS.map(([name, end]) => {
      const handle = make("input", { type: "range", min: 0, max: STEPS, step: 1, className: "handle" });
      handle.setAttribute("aria-label", name);
      handle.addEventListener("input", () => moved(end, this.valueAt(handle)));
      return handle;
    });
    this.texts = [make("span"), make("span")];
    const box = make("div", { className: "histogram" }, this.canvas, ...this.handles);
    this.bar = make("canvas", { width: 256, height: 1, className: "colour-bar" });
    this.bar.setAttribute("aria-hidden", "true");
    this.root = make("div", { className: "histogram-box" }, box, this.bar, make("div", { className: "ends" }, ...this.texts));
  }

  valueAt(handle) {
    return +this.scale.from(handle.value / STEPS).toPrecision(5);
  }

  /** range: as rangeOf gives it; table: the colours between low and high. */
  show({ values, range, low, high, scaleName, above, table }) {
    this.scale = scaleOf(scaleName, range.low, range.high, range.positive);
    const same = this.counted?.values === values && this.counted.name === `${scaleName} ${above}`;
    if (!same) this.counted = { values, name: `${scaleName} ${above}`, counts: histogramOf(values, this.scale, above) };
    const { counts } = this.counted;
    this.root.counts = counts;
    [low, high].forEach((limit, end) => {
      this.handles[end].value = Math.round(this.scale.to(limit) * STEPS);
      this.handles[end].setAttribute("aria-valuetext", number(limit));
      this.texts[end].textContent = number(end ? range.high : range.low);
    });
    this.canvas.setAttribute("aria-label", `Histogram of values from ${number(range.low)} to ${number(range.high)}`);
    this.drawBars(counts);
    this.drawBar(low, high, table);
  }

  /** Bars as high as the logarithm of their counts: a single hot pixel is seen beside a million. */
  drawBars(counts) {
    const { width, height } = this.canvas;
    const context = this.canvas.getContext("2d");
    const most = Math.log1p(Math.max(1, ...counts));
    context.clearRect(0, 0, width, height);
    context.fillStyle = resolved("--dim");
    counts.forEach((count, i) => {
      const tall = count && Math.max(2, (Math.log1p(count) / most) * (height - 4));
      context.fillRect((i * width) / BINS, height - tall, width / BINS, tall);
    });
  }

  /** The colours at their values along the same axis. */
  drawBar(low, high, table) {
    const pixels = new ImageData(256, 1);
    const [from, to] = [this.scale.to(low), this.scale.to(high)];
    for (let i = 0; i < 256; i++) {
      const level = Math.round(Math.max(0, Math.min(1, (i / 255 - from) / (to - from || 1))) * 255);
      pixels.data.set(table.subarray(level * 4, level * 4 + 4), i * 4);
    }
    this.bar.getContext("2d").putImageData(pixels, 0, 0);
  }
}
