// Curves in panels, one a unit, over one x: points in recorded order, a shared cursor and zoom, keys.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import "./plots.css";
import { make, number, resolved, svg, visible } from "./dom.js";
import { isoTime, scaled, tickTexts, timeTexts } from "./ticks.js";

const COLOURS = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6"];
const MARKED_BELOW = 300; // points of a curve: more marks than that hide it
const MARK = 6; // px
const THINNED_FROM = 2000;
const DASH = [7, 4];
const FONT = "12px system-ui, sans-serif";
const HELP = "Drag to zoom, double-click for the whole range. Keys: ← → from point to point, + − zoom, 0 whole range.";

let made = 0;

export function axisStyle() {
  const line = { stroke: resolved("--line"), width: 1 };
  return { stroke: resolved("--dim"), grid: line, ticks: line, font: FONT, labelFont: FONT };
}

/** As wide as the longest number on it. */
export const ticked = {
  values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick))),
  size: (_, texts) => 22 + 7 * Math.max(3, ...(texts ?? []).map((text) => text.length)),
};

/** How a curve looks: a colour, and a mark that tells it from the others without colour. */
export const styleOf = (at) => ({ colour: COLOURS[at % COLOURS.length], mark: at % MARKS.length, dashed: at >= COLOURS.length });

/** Marks as corners around a point, in parts of their size; the first is a circle. */
export const MARKS = [
  null,
  [[-1, -1], [1, -1], [1, 1], [-1, 1]],
  [[0, -1.2], [1.15, 0.9], [-1.15, 0.9]],
  [[0, -1.35], [1.35, 0], [0, 1.35], [-1.35, 0]],
  [[0, 1.2], [1.15, -0.9], [-1.15, -0.9]],
  [[-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4], [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4], [-1.2, -0.4], [-0.4, -0.4]],
];

/** The same as SVG path data around (0, 0). */
export function markPath(mark, radius) {
  const corners = MARKS[mark];
  if (!corners) return `M${-radius},0a${radius},${radius} 0 1,0 ${2 * radius},0a${radius},${radius} 0 1,0 ${-2 * radius},0z`;
  return `M${corners.map(([x, y]) => `${x * radius},${y * radius}`).join("L")}z`;
}

export class Panels {
  /** zoomed: called with a range, or null, when the reader zooms. chosen: with the index of a point that is clicked. */
  constructor(zoomed, chosen = () => {}) {
    Object.assign(this, { zoomed, chosen });
    this.caption = make("figcaption", { className: "plot-title" });
    this.legend = make("ul", { className: "plot-legend" });
    this.where = make("span", { className: "plot-where" });
    this.place = make("div", { className: "plot panels", tabIndex: 0 });
    this.place.setAttribute("role", "group");
    this.readout = make("p", { className: "sr-only" });
    this.readout.setAttribute("role", "status");
    this.root = make("figure", { className: "plot-figure" },
      make("div", { className: "plot-top" }, this.caption, this.tools()), make("div", { className: "plot-head" }, this.legend, this.where), this.place, this.readout,
      make("p", { className: "help", textContent: HELP }));
    this.charts = [];
    this.key = `panels-${(made += 1)}`;
    this.place.addEventListener("keydown", (event) => this.pressed(event));
    new ResizeObserver(() => this.resize()).observe(this.place);
  }

  tools() {
    const button = (textContent, title, act) => {
      const element = make("button", { type: "button", textContent, title });
      element.addEventListener("click", act);
      return element;
    };
    const saver = (kind) => button(kind, `Save what is seen as ${kind}`, async () => {
      const { save } = await import("./figure.js");
      await save(this, kind.toLowerCase());
    });
    return make("div", { className: "plot-tools" }, button("Whole range", "Keys: 0", () => this.zoomTo(null)), ...["PNG", "SVG", "CSV"].map(saver));
  }

  /**
   * Draws. content: {title, x: {label, unit, time, zone}, log, curves: [{label, unit, panel, x, y, style}]};
   * values are in recorded order, null where there is none. Curves with the same `panel` share one.
   * zoom: {min, max} of x, null for the whole range, undefined for what is shown now.
   */
  show(content, zoom) {
    const kept = zoom === undefined ? this.zoom : zoom;
    this.content = content;
    this.caption.textContent = content.title;
    this.order();
    const groups = [...new Set(content.curves.map((curve) => curve.panel))];
    this.groups = groups.map((panel) => content.curves.filter((curve) => curve.panel === panel));
    const shape = JSON.stringify([content.log, content.x, content.curves.map(({ label, unit, panel, style }) => [label, unit, panel, style])]);
    if (shape !== this.shape || !this.charts.length) this.build();
    else this.charts.forEach((chart, at) => chart.setData(this.dataOf(this.groups[at]), false));
    this.shape = shape;
    this.zoom = kept;
    this.scale();
    this.tell();
    const names = content.curves.map((curve) => curve.label).join(", ");
    this.place.setAttribute("aria-label", `Plot of ${names || "nothing"} over ${content.x.label}, ${this.size} points`);
  }

  /** Says why there is nothing to see. */
  fail(text) {
    this.clear();
    this.legend.replaceChildren();
    this.place.replaceChildren(make("p", { className: "plot-note", textContent: text }));
    this.place.setAttribute("aria-label", text);
  }

  clear() {
    for (const chart of this.charts) chart.destroy();
    this.charts = [];
    this.place.replaceChildren();
  }

  // -- points ------------------------------------------------------------------------------------

  /** uPlot wants x ascending; each curve keeps its own order for the line through its points. */
  order() {
    this.xs = [...new Set(this.content.curves.map((curve) => curve.x))];
    const entries = this.xs.flatMap((x, set) => x.map((value, at) => ({ set, at, value })).filter(({ value }) => value !== null));
    this.ascending = this.xs.length < 2 && entries.every(({ value }, n) => !n || entries[n - 1].value <= value);
    if (!this.ascending) entries.sort((a, b) => a.value - b.value);
    this.entries = entries;
    this.ranks = this.xs.map((x) => new Int32Array(x.length).fill(-1));
    entries.forEach(({ set, at }, rank) => { this.ranks[set][at] = rank; });
    this.size = Math.max(0, ...this.xs.map((x) => x.length));
    const values = entries.map(({ value }) => value);
    this.sorted = values;
    this.whole = values.length ? { min: values[0], max: values.at(-1) } : { min: 0, max: 1 };
    if (this.whole.min === this.whole.max) {
      const room = Math.abs(this.whole.min) * 0.01 || 1;
      this.whole = { min: this.whole.min - room, max: this.whole.max + room };
    }
    this.at = this.xs.map(() => null);
  }

  dataOf(curves) {
    return [this.sorted, ...curves.map(({ x, y }) => {
      const own = this.xs.indexOf(x);
      return this.entries.map(({ set, at }) => (set === own ? this.drawn(y[at]) : undefined));
    })];
  }

  drawn(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return null;
    return this.content.log && value <= 0 ? null : Number(value);
  }

  // -- charts ------------------------------------------------------------------------------------

  build() {
    this.clear();
    this.ticks = this.groups.map(() => ({ x: [], y: [], name: "" }));
    this.gutter = 0;
    this.charts = this.groups.map((curves, at) => new uPlot(this.options(curves, at), this.dataOf(curves), this.place));
    for (const chart of this.charts) chart.redraw(false, true);
    if (!this.charts.length) this.place.replaceChildren(make("p", { className: "plot-note", textContent: "Choose a signal." }));
    this.legend.replaceChildren(...this.content.curves.map((curve) => this.entry(curve)));
  }

  options(curves, at) {
    const last = at === this.groups.length - 1;
    return {
      ...this.dimensions(at),
      legend: { show: false },
      padding: [10, 14, last ? 0 : 2, 0],
      scales: { x: { time: false, auto: false, range: () => [this.shown.min, this.shown.max] }, y: { distr: this.content.log ? 3 : 1 } },
      axes: [this.xAxis(at, last), this.yAxis(at)],
      series: [{}, ...curves.map((_, n) => this.series(at, n))],
      cursor: {
        y: false,
        drag: { x: true, y: false },
        points: { size: 11, fill: "transparent", width: 2, stroke: (_, n) => resolved(curves[n - 1].style.colour) },
        sync: { key: this.key, setSeries: false, scales: ["x", null], filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
        dataIdx: (chart, n, nearest) => (n ? this.pointAt(chart, this.groups[at][n - 1], nearest) : nearest),
        bind: { dblclick: () => () => this.zoomTo(null) },
      },
      hooks: {
        setSelect: [(chart) => this.selected(chart)],
        setCursor: [(chart) => chart === this.hovered && this.tell()],
        ready: [(chart) => this.ready(chart)],
      },
    };
  }

  ready(chart) {
    chart.over.addEventListener("mouseenter", () => { this.hovered = chart; });
    chart.over.addEventListener("click", () => this.picked && this.chosen(this.picked.at));
  }

  get shown() {
    return this.zoom ?? this.whole;
  }

  dimensions(at) {
    const count = this.groups.length;
    const narrow = innerWidth < 640;
    const total = this.root.closest(".wall") ? Math.max(280, innerHeight * 0.5) : narrow ? 280 : 360;
    const each = count === 1 ? total - 30 : Math.max(narrow ? 120 : 130, Math.min(190, total / count));
    return { width: Math.max(240, this.place.clientWidth), height: Math.round(each + (at === count - 1 ? 48 : 12)) };
  }

  resize() {
    this.charts.forEach((chart, at) => {
      const { width, height } = this.dimensions(at);
      if (width !== chart.width || height !== chart.height) chart.setSize({ width, height });
    });
  }

  xAxis(at, last) {
    const { label, unit, time, zone } = this.content.x;
    const name = (shownUnit) => visible(label) + (shownUnit ? ` (${shownUnit})` : "");
    const axis = {
      ...axisStyle(),
      space: time ? 90 : 60,
      values: (_, ticks) => {
        const scale = scaled(Math.max(Math.abs(this.shown.min), Math.abs(this.shown.max)), unit);
        const texts = time ? timeTexts(ticks, zone) : tickTexts(ticks, scale);
        this.ticks[at].x = ticks.map((tick, n) => [tick, texts[n]]);
        this.xName = time ? name("") : name(scale.unit);
        return last ? texts : texts.map(() => "");
      },
    };
    if (time) axis.incrs = TIME_STEPS;
    return last ? { ...axis, label: () => this.xName, labelSize: 20, size: 38 } : { ...axis, size: 8 };
  }

  yAxis(at) {
    return {
      ...axisStyle(),
      labelSize: 20,
      label: (chart) => fitting(this.ticks[at].name, chart.height),
      values: (chart, ticks) => {
        const curves = this.groups[at];
        const { min, max } = chart.scales.y;
        const scale = scaled(Math.max(Math.abs(min), Math.abs(max)), this.content.log ? "" : curves[0].unit);
        if (this.content.log) scale.unit = curves[0].unit ? visible(curves[0].unit) : "";
        const texts = this.content.log ? ticks.map(powerText) : tickTexts(ticks, scale);
        this.ticks[at].y = ticks.map((tick, n) => [tick, texts[n]]);
        const one = curves.length === 1 ? visible(curves[0].label) : "";
        this.ticks[at].name = one && scale.unit ? `${one} (${scale.unit})` : one || scale.unit || " ";
        return texts;
      },
      size: (_, texts) => {
        this.gutter = Math.max(this.gutter, 16 + 7 * Math.max(3, ...(texts ?? []).map((text) => text.length)));
        return this.gutter;
      },
    };
  }

  series(at, n) {
    const curve = this.groups[at][n];
    const now = () => this.groups[at][n];
    const stroke = resolved(curve.style.colour);
    return {
      label: visible(curve.label),
      stroke,
      width: 1.5,
      dash: curve.style.dashed ? DASH : undefined,
      paths: (chart) => ({ stroke: this.path(chart, now()) }),
      points: {
        show: curve.y.length <= MARKED_BELOW, size: MARK, stroke, fill: stroke,
        paths: (chart) => marks(chart, this.places(chart, now()), curve.style.mark),
      },
    };
  }

  /** {x, y}: where each point is, in px of the canvas or, without `onCanvas`, of the plot; NaN without a value. */
  places(chart, curve, onCanvas = true) {
    const [toX, toY] = [placing(chart, "x", onCanvas), placing(chart, "y", onCanvas)];
    const y = Float64Array.from(curve.y, (raw, i) => {
      const value = curve.x[i] === null ? null : this.drawn(raw);
      return value === null ? NaN : toY(value);
    });
    return { x: Float64Array.from(curve.x, (value) => (value === null ? NaN : toX(value))), y };
  }

  path(chart, curve) {
    const path = new Path2D();
    const { x, y } = this.places(chart, curve);
    let open = false;
    for (const at of thinned(x, y, chart.bbox)) {
      if (Number.isNaN(y[at])) open = false;
      else if (open) path.lineTo(x[at], y[at]);
      else path.moveTo(x[at], y[at]);
      open = !Number.isNaN(y[at]);
    }
    return path;
  }

  // -- zoom and cursor ---------------------------------------------------------------------------

  scale() {
    for (const chart of this.charts) chart.setScale("x", this.shown);
  }

  selected(chart) {
    const { left, width } = chart.select;
    if (chart !== this.hovered || width < 2) return;
    const [min, max] = [chart.posToVal(left, "x"), chart.posToVal(left + width, "x")];
    for (const one of this.charts) one.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.zoomTo({ min, max });
  }

  zoomTo(range) {
    this.zoom = range;
    this.scale();
    this.zoomed(range);
  }

  /** The index in uPlot's data of the point that the cursor shows of a curve. */
  pointAt(chart, curve, nearest) {
    const set = this.xs.indexOf(curve?.x);
    if (set < 0) return nearest;
    if (chart === this.hovered) this.find(chart, nearest);
    const at = this.at[set];
    return at === null ? null : this.ranks[set][at];
  }

  find(chart, nearest) {
    const { left, top } = chart.cursor;
    const spot = `${left} ${top} ${this.shown.min} ${this.shown.max}`;
    if (spot === this.spot) return;
    this.spot = spot;
    if (left < 0) return;
    const found = this.ascending ? this.entries[nearest] : this.closest(chart, left, top);
    if (found) this.pick(found);
  }

  /** Of a loop, the nearest point is one on the branch under the cursor. */
  closest(chart, left, top) {
    const curves = this.groups[this.charts.indexOf(chart)];
    let [best, found] = [Infinity, null];
    for (const curve of curves) {
      const { x, y } = this.places(chart, curve, false);
      for (let at = 0; at < x.length; at++) {
        const distance = (x[at] - left) ** 2 + (y[at] - top) ** 2;
        if (distance < best) [best, found] = [distance, { set: this.xs.indexOf(curve.x), at, value: curve.x[at] }];
      }
    }
    return found;
  }

  /** Shows this point, and of other curves' x the nearest one. */
  pick({ set, at, value }) {
    this.picked = { set, at };
    this.at = this.xs.map((x, other) => (other === set ? at : nearestTo(x, value)));
  }

  pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !this.charts.length) return;
    const keys = {
      ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1),
      Home: () => this.step(-Infinity), End: () => this.step(Infinity),
      "+": () => this.closer(0.5), "=": () => this.closer(0.5), "-": () => this.closer(2), 0: () => this.zoomTo(null),
      Enter: () => this.picked && this.chosen(this.picked.at),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  /** The next point in recorded order. */
  step(by) {
    const { set, at } = this.picked ?? { set: 0, at: by > 0 ? -1 : this.xs[0].length };
    const x = this.xs[set];
    let next = Math.min(Math.max(at + by, 0), x.length - 1);
    while (x[next] === null && next + Math.sign(by) in x) next += Math.sign(by);
    if (x[next] === null || x[next] === undefined) return;
    this.point(set, next);
    this.readout.textContent = `${this.where.textContent}. ${this.content.curves.map((curve) => `${curve.label} ${this.valueOf(curve)}`).join(", ")}`;
  }

  /** Puts the cursor on a point of the x that has this number among all. */
  point(set, at) {
    const value = this.xs?.[set]?.[at];
    if (value === null || value === undefined) return;
    this.hovered = null;
    this.pick({ set, at, value });
    const { min, max } = this.shown;
    if (value < min || value > max) this.zoomTo({ min: value - (max - min) / 2, max: value + (max - min) / 2 });
    for (const chart of this.charts) chart.setCursor({ left: chart.valToPos(value, "x"), top: 10 }, false, false);
    this.tell();
  }

  closer(by) {
    const { min, max } = this.shown;
    const at = this.picked ? this.xs[this.picked.set][this.picked.at] : (min + max) / 2;
    const range = { min: at - (at - min) * by, max: at + (max - at) * by };
    const all = range.min <= this.whole.min && range.max >= this.whole.max;
    this.zoomTo(all ? null : { min: Math.max(range.min, this.whole.min), max: Math.min(range.max, this.whole.max) });
  }

  // -- what is told ------------------------------------------------------------------------------

  entry(curve) {
    const { colour, mark, dashed } = curve.style;
    const paint = { stroke: `var(${colour})`, fill: `var(${colour})` };
    const swatch = svg("svg", { width: 26, height: 12, viewBox: "-13 -6 26 12", "aria-hidden": "true" },
      svg("path", { d: "M-13,0H13", "stroke-width": 1.5, style: `stroke:var(${colour})`, ...(dashed ? { "stroke-dasharray": DASH.join(" ") } : {}) }),
      svg("path", { d: markPath(mark, 4), style: `stroke:${paint.stroke};fill:${paint.fill}` }));
    const unit = curve.unit ? ` (${visible(curve.unit)})` : "";
    return make("li", {}, swatch, make("bdi", { textContent: visible(curve.label) + unit }), make("output", { className: "mono" }));
  }

  valueOf({ x, y }) {
    const at = this.at[this.xs.indexOf(x)];
    return at === null || at === undefined ? "" : number(y[at]);
  }

  xText(value) {
    const { time, zone, unit } = this.content.x;
    return time ? isoTime(value, zone) : number(value) + (unit ? ` ${visible(unit)}` : "");
  }

  tell() {
    this.legend.querySelectorAll("output").forEach((output, n) => { output.textContent = this.valueOf(this.content.curves[n]); });
    const value = this.picked && this.xs[this.picked.set]?.[this.picked.at];
    const shown = this.at.some((at) => at !== null) && value !== null && value !== undefined;
    this.where.textContent = shown ? `${visible(this.content.x.label)} ${this.xText(value)} · point ${this.picked.at + 1} of ${this.xs[this.picked.set].length}` : "";
  }
}

const TIME_STEPS = [0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000, 31536000];

/** A tick of a logarithmic scale; only powers of ten have a text. */
function powerText(tick) {
  if (tick === null) return "";
  const power = Math.log10(tick);
  return Math.abs(power - Math.round(power)) > 1e-6 ? "" : tick >= 0.001 && tick < 1e5 ? number(tick) : `1e${Math.round(power)}`;
}

const fitting = (text, height) => {
  const room = Math.max(6, Math.floor(height / 7.5));
  return text.length > room ? `${text.slice(0, room - 1)}…` : text;
};

/** A function from values of a scale to px. */
function placing(chart, scale, onCanvas) {
  const { min, max, distr } = chart.scales[scale];
  const own = distr === 3 ? Math.log10 : (value) => value;
  const [from, to] = [chart.valToPos(min, scale, onCanvas), chart.valToPos(max, scale, onCanvas)];
  const [low, factor] = [own(min), (to - from) / (own(max) - own(min))];
  return (value) => from + (own(value) - low) * factor;
}

/**
 * The indices of points that make the line through all of them: of those that follow one another within a
 * column of pixels, or beside what is shown, the first, the lowest, the highest and the last.
 */
function thinned(x, y, { left, width }) {
  if (x.length < THINNED_FROM) return x.keys();
  const column = (at) => (Number.isNaN(y[at]) ? NaN : Math.min(Math.max(Math.floor(x[at]), left - 1), left + width + 1));
  const kept = [];
  for (let begin = 0, end; begin < x.length; begin = end) {
    const own = column(begin);
    let [low, high] = [begin, begin];
    for (end = begin + 1; end < x.length && column(end) === own; end++) {
      if (y[end] < y[low]) low = end;
      if (y[end] > y[high]) high = end;
    }
    kept.push(...[...new Set([begin, Math.min(low, high), Math.max(low, high), end - 1])]);
  }
  return kept;
}

function nearestTo(x, wanted) {
  let [best, found] = [Infinity, null];
  x.forEach((value, at) => {
    if (value !== null && Math.abs(value - wanted) < best) [best, found] = [Math.abs(value - wanted), at];
  });
  return found;
}

function marks(chart, { x, y }, mark) {
  const path = new Path2D();
  const shape = new Path2D(markPath(mark, (MARK / 2) * uPlot.pxRatio));
  const { left, top, width, height } = chart.bbox;
  const within = (value, from, size) => value >= from - 1 && value <= from + size + 1;
  x.forEach((at, i) => {
    if (within(at, left, width) && within(y[i], top, height)) path.addPath(shape, new DOMMatrix([1, 0, 0, 1, at, y[i]]));
  });
  return { stroke: null, fill: path };
}
