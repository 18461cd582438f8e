// A picture of numbers: a detector frame or a map. Colours, contrast, a profile through any point.
// `root.plotted` tells what is drawn: {width, height, values, rows, columns, low, high}.
import uPlot from "uplot";
import { COLOUR_MAPS, colourTable, contrast, levels } from "./colours.js";
import { axisStyle, ticked } from "./lines.js";
import { checkbox, labelled, make, number, onTheme, resolved, select } from "./dom.js";

const UNEVEN_PIXELS = 600;

/** The cell that a part (0 … 1) of the way along an axis is in. */
function cellAt(part, count, bounds) {
  const value = bounds && bounds[0] + part * (bounds[count] - bounds[0]);
  const cell = bounds ? bounds.findIndex((bound) => bound > value) - 1 : Math.floor(part * count);
  return cell < 0 && part > 0 ? count - 1 : Math.min(count - 1, Math.max(0, cell));
}

/** The part of the way along an axis that a cell's position is at. */
const partOf = (cell, count, bounds, positions) =>
  bounds ? (positions[cell] - bounds[0]) / (bounds[count] - bounds[0]) : (cell + 0.5) / count;

/** The cell of each pixel along an axis: one for each, or as wide as they are. */
function pixelCells(count, bounds) {
  const pixels = bounds ? Math.max(count, UNEVEN_PIXELS) : count;
  return Array.from({ length: pixels }, (_, i) => cellAt((i + 0.5) / pixels, count, bounds));
}

export class Picture {
  /** `upwards`: the first row is at the bottom, as on a graph. */
  constructor(root, { upwards = false, describe }) {
    Object.assign(this, { root, upwards, describe, cursor: null });
    this.map = select(COLOUR_MAPS.map((name) => [name, name]), "viridis");
    this.log = checkbox();
    [this.low, this.high] = [0, 1].map(() => make("input", { type: "number", step: "any", className: "contrast" }));
    this.auto = make("button", { type: "button", textContent: "Auto contrast" });
    this.across = select([["row", "along the row"], ["column", "along the column"]], "row");
    this.canvas = make("canvas", { className: "image", tabIndex: 0 });
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${describe}, not drawn yet`);
    this.bar = make("canvas", { width: 256, height: 1 });
    this.bar.setAttribute("aria-hidden", "true");
    [this.lowText, this.highText] = [make("span"), make("span")];
    this.readout = make("p", { className: "legend-readout" });
    this.readout.setAttribute("role", "status");
    this.profile = make("div");
    this.above = make("div", { className: "controls" });
    this.mark = make("div", { className: "crosshair", hidden: true });
    root.replaceChildren(
      this.above,
      make("div", { className: "controls" },
        labelled("Colours", this.map), make("label", {}, this.log, " log"),
        labelled("From", this.low), labelled("to", this.high), this.auto, labelled("Profile", this.across)),
      make("div", { className: "viewer" },
        make("div", {}, make("div", { className: "picture" }, this.canvas, this.mark),
          make("div", { className: "scale" }, this.lowText, this.bar, this.highText), this.readout),
        this.profile),
    );
    this.listen();
  }

  listen() {
    const redraw = () => this.data && this.draw();
    this.map.addEventListener("change", redraw);
    this.log.addEventListener("change", redraw);
    this.across.addEventListener("change", () => this.data && this.drawProfile());
    for (const end of [this.low, this.high]) end.addEventListener("change", () => { this.manual = true; redraw(); });
    this.auto.addEventListener("click", () => { this.manual = false; redraw(); });
    const point = (event) => this.pointAt(event);
    this.canvas.addEventListener("pointerdown", point);
    this.canvas.addEventListener("pointermove", (event) => (event.buttons || event.pointerType === "mouse") && this.hover(event));
    this.canvas.addEventListener("keydown", (event) => this.step(event));
    onTheme(redraw);
    new ResizeObserver(() => this.chart?.setSize(this.profileSize())).observe(this.profile);
  }

  /**
   * data: {width, height, values (row by row), aspect?, rows?: y of each row, columns?: x of each column,
   * rowBounds?, columnBounds?: ascending bounds of cells that are not evenly wide, xName, yName}
   */
  show(data) {
    const before = this.data;
    this.data = data;
    if (before && this.cursor) this.stay(before);
    const inside = this.cursor && this.cursor.row < data.height && this.cursor.column < data.width;
    if (!inside) this.cursor = this.start();
    this.draw();
  }

  /** The point that is read stays where it was measured, though a map has grown. */
  stay({ rows, columns }) {
    const moved = (old, now, at) => {
      const found = old && now ? now.indexOf(old[at]) : at;
      return found < 0 ? at : found;
    };
    const { row, column } = this.cursor;
    this.cursor = { row: moved(rows, this.data.rows, row), column: moved(columns, this.data.columns, column) };
  }

  /** The middle, or where there is no value yet, the highest one. */
  start() {
    const { width, height, values } = this.data;
    const middle = { row: height >> 1, column: width >> 1 };
    if (!Number.isNaN(values[middle.row * width + middle.column])) return middle;
    const at = values.reduce((best, value, i) => (value > (values[best] ?? -Infinity) || Number.isNaN(values[best]) ? i : best), 0);
    return { row: Math.floor(at / width), column: at % width };
  }

  fail(error) {
    this.readout.textContent = error.message;
    this.root.dataset.state = "failed";
  }

  draw() {
    const { width, height, values, aspect, rows, columns, rowBounds, columnBounds } = this.data;
    if (!this.manual) [this.low.value, this.high.value] = contrast(values).map((value) => +value.toPrecision(6));
    const [low, high] = [Number(this.low.value), Number(this.high.value)];
    const table = colourTable(this.map.value);
    const found = levels(values, low, high, this.log.checked);
    const [across, down] = [pixelCells(width, columnBounds), pixelCells(height, rowBounds)];
    if (this.upwards) down.reverse();
    const pixels = new ImageData(across.length, down.length);
    down.forEach((row, y) => across.forEach((column, x) => {
      const level = found[row * width + column];
      if (level < 0) return; // no value: see-through
      pixels.data.set(table.subarray(level * 4, level * 4 + 4), (y * across.length + x) * 4);
    }));
    Object.assign(this.canvas, { width: across.length, height: down.length });
    this.canvas.style.aspectRatio = aspect ?? Math.min(3, Math.max(0.4, width / height));
    this.canvas.getContext("2d").putImageData(pixels, 0, 0);
    this.bar.getContext("2d").putImageData(new ImageData(table, 256, 1), 0, 0);
    [this.lowText.textContent, this.highText.textContent] = [number(low), number(high)];
    this.canvas.setAttribute("aria-label", `${this.describe}, ${width} by ${height} values; arrow keys move the point that is read`);
    this.root.plotted = { kind: "picture", width, height, values, rows, columns, low, high };
    this.root.dataset.state = "drawn";
    this.drawProfile();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    const { width, height, rowBounds, columnBounds } = this.data;
    const part = (offset, size) => Math.min(1, Math.max(0, offset / size));
    const [x, y] = [part(event.clientX - box.left, box.width), part(event.clientY - box.top, box.height)];
    return { column: cellAt(x, width, columnBounds), row: cellAt(this.upwards ? 1 - y : y, height, rowBounds) };
  }

  hover(event) {
    if (!this.data) return;
    if (event.buttons) this.pointAt(event);
    else this.tell(this.place(event));
  }

  pointAt(event) {
    if (!this.data) return;
    this.cursor = this.place(event);
    this.drawProfile();
  }

  step(event) {
    const up = this.upwards ? 1 : -1;
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [up, 0], ArrowDown: [-up, 0] }[event.key];
    if (!move || !this.data) return;
    event.preventDefault();
    const far = event.shiftKey ? 10 : 1;
    const clamp = (value, count) => Math.min(count - 1, Math.max(0, value));
    this.cursor = {
      row: clamp(this.cursor.row + move[0] * far, this.data.height),
      column: clamp(this.cursor.column + move[1] * far, this.data.width),
    };
    this.drawProfile();
  }

  tell({ row, column }) {
    const { rows, columns, xName = "x", yName = "y", values, width } = this.data;
    const at = (list, index) => (list ? number(list[index]) : index);
    this.readout.textContent = `${xName} ${at(columns, column)}  ${yName} ${at(rows, row)}  value ${number(values[row * width + column])}`;
  }

  profileSize() {
    return { width: Math.max(240, this.profile.clientWidth), height: 240 };
  }

  drawProfile() {
    const { width, height, values, rows, columns, xName = "x", yName = "y" } = this.data;
    const { row, column } = this.cursor;
    const along = this.across.value === "row";
    const count = along ? width : height;
    const value = (i) => values[along ? row * width + i : i * width + column];
    const x = Array.from({ length: count }, (_, i) => (along ? columns : rows)?.[i] ?? i);
    const order = x.map((_, i) => i).sort((a, b) => x[a] - x[b]);
    const drawn = [order.map((i) => x[i]), order.map((i) => (Number.isNaN(value(i)) ? null : value(i)))];
    this.root.profile = { x: drawn[0], values: drawn[1] };
    this.tell(this.cursor);
    this.markCursor();
    const label = along ? xName : yName;
    if (this.chart && this.chart.axes[0].label === label && this.theme === resolved("--text")) {
      this.chart.setData(drawn);
      return;
    }
    this.chart?.destroy();
    this.theme = resolved("--text");
    this.chart = new uPlot({
      ...this.profileSize(),
      scales: { x: { time: false } },
      legend: { show: false },
      axes: [{ ...axisStyle(), label }, { ...axisStyle(), ...ticked }],
      series: [{}, { stroke: resolved("--series-1"), width: 1.5, points: { show: false } }],
    }, drawn, this.profile);
  }

  markCursor() {
    const { width, height, rows, columns, rowBounds, columnBounds } = this.data;
    const y = partOf(this.cursor.row, height, rowBounds, rows);
    this.mark.hidden = false;
    this.mark.style.left = `${partOf(this.cursor.column, width, columnBounds, columns) * 100}%`;
    this.mark.style.top = `${(this.upwards ? 1 - y : y) * 100}%`;
  }
}
