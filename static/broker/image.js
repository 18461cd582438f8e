// A picture of numbers: a detector frame or a map. Colours, contrast, zoom, profiles, a region.
// `root.plotted` tells what is drawn: {width, height, values, rows, columns, low, high, view, …}.
import { COLOUR_MAPS, colourTable, contrast, DIVERGING } from "./colours.js";
import { labelled, make, number, onTheme, select } from "./dom.js";
import { Axis } from "./viewer/axis.js";
import { Figure } from "./viewer/figure.js";
import { Histogram } from "./viewer/histogram.js";
import { Layer } from "./viewer/layer.js";
import { Profiles } from "./viewer/profiles.js";
import { RegionFields, statisticsOf } from "./viewer/region.js";
import { rangeOf, scaleOf, SCALES } from "./viewer/scale.js";

const TOOLS = [["point", "Point"], ["line", "Line"], ["region", "Region"]];
const EMPTY = { low: 0, high: 1, positive: 1 };
const NARROW = 640; // px
let made = 0;

export class Picture {
  /**
   * `upwards`: the first row is at the bottom, as on a graph.
   * actions: pointed(row, column) when a point is chosen, viewed() when another part is seen,
   * measured(cells, above) when a region is chosen, or null for none.
   */
  constructor(root, { upwards = false, describe, actions = {} }) {
    Object.assign(this, { root, upwards, describe, actions, cursor: null, line: null, cells: null, details: [] });
    this.figure = new Figure({
      upwards,
      actions: {
        paint: (context, placeX, placeY) => this.paint(context, placeX, placeY),
        pointed: (x, y) => this.pointAt(x, y, true),
        hovered: (x, y) => this.tell(x, y),
        dragged: (tool, from, to, done) => this.dragged(tool, from, to, done),
        viewed: () => this.actions.viewed?.(),
      },
    });
    this.canvas = this.figure.canvas;
    this.canvas.setAttribute("aria-label", `${describe}, not drawn yet`);
    this.map = select(COLOUR_MAPS.map((name) => [name, name]), "viridis");
    this.scale = select(SCALES, "linear");
    [this.low, this.high] = [0, 1].map(() => make("input", { type: "number", step: "any", className: "contrast" }));
    this.above = make("div", { className: "controls" });
    this.mask = make("input", { type: "number", step: "any", className: "contrast", placeholder: "none" });
    this.mask.title = "Larger values are left out: hot pixels, and marks of dead ones";
    this.auto = make("button", { type: "button", textContent: "Auto", title: "Limits from the values, for each picture anew" });
    this.histogram = new Histogram((end, value) => this.limit(end, value));
    this.profiles = new Profiles();
    this.fields = new RegionFields((cells) => this.choose(cells));
    this.readout = make("p", { className: "legend-readout" });
    this.readout.setAttribute("role", "status");
    this.side = make("div", { className: "side" }, this.histogram.root, this.fields.root, this.profiles.root);
    root.replaceChildren(this.above, this.look(), make("div", { className: "viewer" },
      make("div", {}, this.tools(), this.figure.root, this.readout), this.side));
    this.listen();
  }

  /** How values are coloured; folded where there is little room. */
  look() {
    this.folds = make("details", { className: "look", open: innerWidth >= NARROW }, make("summary", { textContent: "Colours, scale, mask" }),
      make("div", { className: "controls" },
        labelled("Colours", this.map), labelled("Scale", this.scale), labelled("From", this.low), labelled("to", this.high), this.auto,
        labelled("Mask above", this.mask)));
    return this.folds;
  }

  tools() {
    made += 1;
    this.choices = TOOLS.map(([value, text]) => {
      const radio = make("input", { type: "radio", name: `tool-${made}`, value, checked: value === "point" });
      radio.addEventListener("change", () => this.figure.use(value));
      return make("label", {}, radio, make("span", { textContent: text }));
    });
    const choices = make("fieldset", { className: "tool-choice" }, make("legend", { className: "sr-only", textContent: "What a drag does" }), ...this.choices);
    const zoom = (text, name, act) => {
      const button = make("button", { type: "button", textContent: text, title: name, ariaLabel: name });
      button.addEventListener("click", () => this.data && act());
      return button;
    };
    return make("div", { className: "tools" }, choices,
      zoom("+", "Closer", () => this.figure.zoom(0.5)), zoom("−", "Further", () => this.figure.zoom(2)), zoom("Whole", "The whole picture", () => this.figure.whole()));
  }

  listen() {
    const redraw = () => this.data && this.draw();
    this.map.addEventListener("change", redraw);
    this.scale.addEventListener("change", redraw);
    this.mask.addEventListener("change", () => { redraw(); if (this.cells) this.measure(); });
    for (const end of [this.low, this.high]) end.addEventListener("change", () => { this.manual = true; redraw(); });
    this.auto.addEventListener("click", () => { this.manual = false; redraw(); });
    this.canvas.addEventListener("keydown", (event) => this.pressed(event));
    onTheme(redraw);
    let width = 0;
    new ResizeObserver(() => {
      if (this.root.clientWidth === width || !this.data) return;
      width = this.root.clientWidth;
      this.folds.open ||= innerWidth >= NARROW;
      this.figure.arrange();
      this.figure.draw();
    }).observe(this.root);
  }

  get maskAbove() {
    return this.mask.value === "" ? Infinity : Number(this.mask.value);
  }

  /** A handle of the histogram moved one limit; it does not pass the other. */
  limit(end, value) {
    this.manual = true;
    const [low, high] = [Number(this.low.value), Number(this.high.value)];
    if (end) this.high.value = Math.max(value, low);
    else this.low.value = Math.min(value, high);
    this.draw();
  }

  /**
   * data: {width, height, values (row by row), aspect?, rows?: y of each row, columns?: x of each column,
   * rowBounds?, columnBounds?: ascending bounds of cells that are not evenly wide, xName, yName,
   * equal?: x and y are of one unit, its name; x?, y?: Axis instead of rows and columns, extent?: of the
   * whole picture of a detector, in pixels, colours?: {values, channels}, coarse?: not all values are there}
   */
  show(data) {
    this.data = data;
    const { width, height, rows, columns, rowBounds, columnBounds } = data;
    const counted = (count) => Array.from({ length: count }, (_, i) => i);
    const x = data.x ?? new Axis({ positions: columns ?? counted(width), bounds: columnBounds });
    const y = data.y ?? new Axis({ positions: rows ?? counted(height), bounds: rowBounds });
    this.base = new Layer({ x, y, values: data.values, colours: data.colours });
    this.details = [];
    if (!this.cursor || !this.base.has(...this.cursor)) this.cursor = this.start();
    this.figure.show(this.full(x, y));
    this.draw();
    if (this.cells) this.measure();
  }

  /** All that there is to see, and to which measure. */
  full(x, y) {
    const { extent, equal, aspect, width, height, xName = "x", yName = "y" } = this.data;
    const [across, down] = [extent?.x ?? [x.start, x.end], extent?.y ?? [y.start, y.end]];
    const true_ = (across[1] - across[0]) / (down[1] - down[0]);
    const proportion = equal ? true_ : aspect ?? Math.min(2.5, Math.max(0.5, width / height));
    return { x: across, y: down, cells: { x: width, y: height }, aspect: proportion, xName, yName, whole: Boolean(extent) };
  }

  /** A part in more detail, over the rest. */
  addDetail(layer) {
    this.details = [layer];
    this.draw();
  }

  /** The middle, or where there is no value yet, the highest one. */
  start() {
    const { base } = this;
    const middle = base.at(base.y.count >> 1, base.x.count >> 1);
    let at = (base.y.count >> 1) * base.x.count + (base.x.count >> 1);
    if (Number.isNaN(middle)) base.values.forEach((value, i) => { if (value > (Number.isNaN(base.values[at]) ? -Infinity : base.values[at])) at = i; });
    return [base.x.positions[at % base.x.count], base.y.positions[Math.floor(at / base.x.count)]];
  }

  fail(error) {
    this.readout.textContent = error.message;
    this.root.dataset.state = "failed";
  }

  // -- drawing -----------------------------------------------------------------------------------

  /** The limits of the colours, from the values unless they were chosen. */
  setLimits(values) {
    if (this.manual) return;
    let [low, high] = contrast(values, this.maskAbove);
    // Zero is where two colours meet.
    if (DIVERGING.includes(this.map.value) && low < 0 && high > 0) [low, high] = [-Math.max(-low, high), Math.max(-low, high)];
    [this.low.value, this.high.value] = [low, high].map((value) => +value.toPrecision(6));
  }

  draw() {
    const { values, width, height, rows, columns, colours } = this.data;
    const above = this.maskAbove;
    this.setLimits(colours ? colours.values : values);
    const [low, high] = [Number(this.low.value), Number(this.high.value)];
    if (this.known?.values !== values || this.known.above !== above) this.known = { values, above, range: rangeOf(values, above) ?? EMPTY };
    const { range } = this.known;
    const table = colourTable(colours ? "gray" : this.map.value);
    this.map.disabled = Boolean(colours);
    this.painting = {
      name: JSON.stringify([this.map.value, this.scale.value, low, high, this.mask.value]),
      table, above, scale: scaleOf(this.scale.value, low, high, range.positive),
    };
    this.histogram.show({ values, range, low, high, scaleName: this.scale.value, above, table });
    this.canvas.setAttribute("aria-label", `${this.describe}, ${width} by ${height} values; arrow keys move the point that is read, + and - zoom, 0 shows the whole`);
    this.root.plotted = {
      kind: "picture", width, height, values, rows: rows ?? this.data.y?.positions, columns: columns ?? this.data.x?.positions, low, high,
      scale: this.scale.value, map: this.map.value, view: this.figure.view,
    };
    this.root.dataset.state = "drawn";
    this.figure.draw();
    this.follow();
  }

  paint(context, placeX, placeY) {
    for (const layer of [this.base, ...this.details]) {
      layer.paint(this.painting);
      layer.draw(context, placeX, placeY);
    }
    this.root.plotted.view = this.figure.view;
    this.figure.drawMarks(this.cursor, this.line, this.region);
  }

  /** The layer that tells most of a place. */
  layerAt(x, y) {
    return this.details.find((layer) => layer.has(x, y)) ?? this.base;
  }

  get names() {
    const { xName = "x", yName = "y", equal } = this.data;
    return { x: xName, y: yName, measured: equal };
  }

  // -- the point that is read --------------------------------------------------------------------

  pointAt(x, y, chosen = false) {
    if (!this.data) return;
    const layer = this.layerAt(x, y);
    const [row, column] = [layer.y.cellAt(y), layer.x.cellAt(x)];
    this.cursor = [layer.x.positions[column], layer.y.positions[row]];
    this.follow();
    if (chosen) this.actions.pointed?.(this.base.y.cellAt(y), this.base.x.cellAt(x));
  }

  follow() {
    const [x, y] = this.cursor;
    const drawn = this.profiles.show(this.layerAt(x, y), this.cursor, this.line, this.names, this.maskAbove);
    if (!this.line) this.profiles.hideLine();
    this.root.profile = drawn.row;
    this.root.profiles = drawn;
    this.tell(x, y);
    this.figure.drawMarks(this.cursor, this.line, this.region);
  }

  tell(x, y) {
    if (!this.data) return;
    const layer = this.layerAt(x, y);
    const [row, column] = [layer.y.cellAt(y), layer.x.cellAt(x)];
    const { xName = "x", yName = "y", colours } = this.data;
    const at = row * layer.x.count + column;
    const own = layer.colours ?? colours;
    const value = own ? Array.from(own.values.slice(at * own.channels, (at + 1) * own.channels), number).join(", ") : number(layer.values[at]);
    this.readout.textContent = `${xName} ${number(layer.x.positions[column])}  ${yName} ${number(layer.y.positions[row])}  value ${value}`;
  }

  pressed(event) {
    if (!this.data || event.altKey || event.ctrlKey || event.metaKey) return;
    const up = this.upwards ? 1 : -1;
    const far = event.shiftKey ? 10 : 1;
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [up, 0], ArrowDown: [-up, 0] }[event.key];
    const zoom = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
    if (!move && !zoom && event.key !== "0") return;
    event.preventDefault();
    if (zoom) this.figure.zoom(zoom, zoom < 1 ? this.cursor : undefined);
    else if (move) this.step(...move.map((by) => by * far));
    else this.figure.whole();
  }

  step(down, right) {
    const layer = this.layerAt(...this.cursor);
    const clamp = (value, count) => Math.min(count - 1, Math.max(0, value));
    const column = clamp(layer.x.cellAt(this.cursor[0]) + right, layer.x.count);
    const row = clamp(layer.y.cellAt(this.cursor[1]) + down, layer.y.count);
    this.pointAt(layer.x.positions[column], layer.y.positions[row], true);
  }

  // -- line and region ---------------------------------------------------------------------------

  dragged(tool, from, to, done) {
    if (tool === "line") {
      this.line = [from, to];
      this.follow();
      return;
    }
    this.cells = this.snapped(from, to);
    this.figure.drawMarks(this.cursor, this.line, this.region);
    this.fields.show(this.cells);
    if (done) this.measure();
  }

  /** The cells, or pixels of a detector, between the ones that two places are in. */
  snapped(from, to) {
    const { x, y } = this.base;
    const { extent } = this.data;
    const cell = (axis, end, place) => (extent ? Math.min(end - 0.5, Math.max(0, Math.floor(place + 0.5))) : axis.cellAt(place));
    const span = (axis, end, at) => {
      const cells = [from, to].map((place) => cell(axis, end, place[at]));
      return [Math.min(...cells), Math.max(...cells) + 1];
    };
    return { columns: span(x, extent?.x[1], 0), rows: span(y, extent?.y[1], 1) };
  }

  /** The corners of the region, the lower ones first. */
  get region() {
    if (!this.cells) return null;
    const { columns, rows } = this.cells;
    const edge = (axis, n) => (this.data.extent ? n - 0.5 : axis.edge(n));
    return [0, 1].map((end) => [edge(this.base.x, columns[end]), edge(this.base.y, rows[end])]);
  }

  /** cells: {columns: [first, behind the last], rows: the same}, cut to what there is; null for none. */
  choose(cells) {
    const { x, y } = this.base;
    const [wide, high] = this.data.extent ? [this.data.extent.x[1] + 0.5, this.data.extent.y[1] + 0.5] : [x.count, y.count];
    const cut = ([from, to], most) => [Math.max(0, Math.min(most - 1, from)), Math.max(1, Math.min(most, to))];
    this.cells = cells && { columns: cut(cells.columns, wide), rows: cut(cells.rows, high) };
    this.figure.drawMarks(this.cursor, this.line, this.region);
    this.measure();
  }

  /** What the region's values come to; who shows less than there is measures for itself. */
  measure() {
    this.fields.show(this.cells);
    if (this.cells && !this.data.coarse) this.fields.tell(statisticsOf(this.base, this.cells, this.maskAbove));
    this.actions.measured?.(this.cells, this.maskAbove);
  }
}
