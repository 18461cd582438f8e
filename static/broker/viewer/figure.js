// The place of a picture: axes around it, what part of it is seen, and the hands that move it.
import { make, visible } from "../dom.js";
import { ticksOf } from "./axis.js";

const TOP = 8;
const RIGHT = 14;
const BOTTOM = 42;
const TALLEST = 0.53; // of the window
const BESIDE = 336; // px for what stands beside the picture
const WIDE = 900; // px from which something does
const CLOSEST = 4; // cells that are seen at the least
const WHEEL = 1.0015;
const STILL = 5; // px: a press that moves no further is a click
const SCROLLING = 350; // ms after which a wheel that moved the page is taken for one that zooms
const EXTREME = 12; // times as long as wide: then axes are not drawn to the same measure

let scrolled = -Infinity;
addEventListener("scroll", () => { scrolled = performance.now(); }, { passive: true });

export const svg = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

export class Figure {
  /**
   * actions: paint(context, placeX, placeY), pointed(x, y), hovered(x, y), dragged(tool, from, to, done),
   * viewed() after another part is seen. tool: "point", "line" or "region".
   */
  constructor({ upwards, actions }) {
    Object.assign(this, { upwards, actions, tool: "point", view: null });
    this.canvas = make("canvas", { className: "image", tabIndex: 0 });
    this.canvas.setAttribute("role", "img");
    this.axes = svg("svg", { class: "axes", "aria-hidden": "true" });
    this.marks = svg("svg", { class: "marks", "aria-hidden": "true" });
    this.mark = make("div", { className: "crosshair", hidden: true });
    this.area = make("div", { className: "area" }, this.canvas, this.marks, this.mark);
    this.root = make("div", { className: "picture" }, this.axes, this.area);
    this.fingers = new Map();
    this.listen();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => { this.press = null; });
    canvas.addEventListener("dblclick", () => this.tool === "point" && this.whole());
    for (const name of ["touchstart", "touchmove"]) canvas.addEventListener(name, (event) => this.pinch(event), { passive: false });
    canvas.addEventListener("touchend", (event) => { if (event.touches.length < 2) this.held = null; });
  }

  use(tool) {
    this.tool = tool;
    this.canvas.dataset.tool = tool;
  }

  // -- what is seen ------------------------------------------------------------------------------

  /** full: {x: [low, high], y: [low, high], xName, yName, aspect, whole: ticks are whole numbers}. */
  show(full) {
    const same = this.full && ["x", "y"].every((axis) => this.full[axis].every((end, i) => end === full[axis][i]));
    this.full = full;
    if (!same) this.view = { x: [...full.x], y: [...full.y] };
    this.arrange();
  }

  get isWhole() {
    return ["x", "y"].every((axis) => this.view[axis].every((end, i) => end === this.full[axis][i]));
  }

  /** Room for the axes and the picture between them, all of it within the window. */
  arrange() {
    const around = this.root.parentElement?.parentElement?.clientWidth || innerWidth;
    const room = around >= WIDE ? around - BESIDE : around;
    this.left = 29 + 7 * Math.max(3, ...this.ticks("y", 400).map(([, text]) => text.length));
    const [most, tallest] = [Math.max(160, room - this.left - RIGHT), Math.max(220, innerHeight * TALLEST)];
    const aspect = Math.min(EXTREME, Math.max(1 / EXTREME, this.full.aspect));
    this.width = Math.round(Math.min(most, tallest * aspect));
    this.height = Math.round(Math.max(24, this.width / aspect));
    const ratio = devicePixelRatio || 1;
    Object.assign(this.canvas, { width: Math.round(this.width * ratio), height: Math.round(this.height * ratio) });
    Object.assign(this.area.style, { left: `${this.left}px`, top: `${TOP}px`, width: `${this.width}px`, height: `${this.height}px` });
    Object.assign(this.root.style, { width: `${this.left + this.width + RIGHT}px`, height: `${TOP + this.height + BOTTOM}px` });
    this.marks.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); });
  }

  draw() {
    if (!this.full) return;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const place = (axis, size) => (value) => this.part(axis, value) * size;
    this.actions.paint(context, place("x", this.canvas.width), place("y", this.canvas.height));
    this.drawAxes();
  }

  /** The part of the way along an axis, from the left or from the top, that a place is at. */
  part(axis, value) {
    const [low, high] = this.view[axis];
    const part = (value - low) / (high - low);
    return axis === "y" && this.upwards ? 1 - part : part;
  }

  /** The place of a point of the window, within the picture. */
  placeOf({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    const clamp = (part) => Math.min(1, Math.max(0, part));
    const [across, down] = [clamp((clientX - box.left) / box.width), clamp((clientY - box.top) / box.height)];
    const at = ([low, high], part) => low + part * (high - low);
    return [at(this.view.x, across), at(this.view.y, this.upwards ? 1 - down : down)];
  }

  // -- moving ------------------------------------------------------------------------------------

  /** Closer (factor < 1) or further, what is at this place staying where it is. */
  zoom(factor, [x, y] = this.middle) {
    const step = (axis) => (this.full[axis][1] - this.full[axis][0]) / this.full.cells[axis];
    const span = (axis) => this.view[axis][1] - this.view[axis][0];
    const least = Math.max(...["x", "y"].map((axis) => Math.min(1, (CLOSEST * step(axis)) / span(axis))));
    const by = Math.max(factor, least);
    const around = (axis, at) => this.view[axis].map((end) => at + (end - at) * by);
    this.see({ x: around("x", x), y: around("y", y) });
  }

  get middle() {
    return ["x", "y"].map((axis) => (this.view[axis][0] + this.view[axis][1]) / 2);
  }

  /** Sees this part, moved or cut to what there is. */
  see(view) {
    for (const axis of ["x", "y"]) {
      const [low, high] = this.full[axis];
      const span = Math.min(high - low, view[axis][1] - view[axis][0]);
      const from = Math.min(high - span, Math.max(low, view[axis][0]));
      this.view[axis] = span >= (high - low) * 0.9999 ? [low, high] : [from, from + span];
    }
    this.soon();
    this.actions.viewed();
  }

  whole() {
    this.see({ x: [...this.full.x], y: [...this.full.y] });
  }

  wheel(event) {
    const leaving = this.isWhole && event.deltaY > 0;
    if (!this.full || leaving || (!event.ctrlKey && performance.now() - scrolled < SCROLLING)) return;
    event.preventDefault();
    this.zoom(WHEEL ** (event.deltaY * (event.deltaMode ? 30 : 1)), this.placeOf(event));
  }

  down(event) {
    if (!this.full || event.button) return;
    this.press = { at: [event.clientX, event.clientY], from: this.placeOf(event), view: structuredClone(this.view), moved: false };
    if (event.pointerType !== "touch" || this.tool !== "point") this.canvas.setPointerCapture(event.pointerId);
    if (this.tool === "point" && this.isWhole && event.pointerType !== "touch") this.actions.pointed(...this.press.from);
  }

  move(event) {
    if (!this.full || this.held) return;
    if (!this.press) {
      if (event.pointerType === "mouse") this.actions.hovered(...this.placeOf(event));
      return;
    }
    const [x, y] = this.press.at;
    this.press.moved ||= Math.hypot(event.clientX - x, event.clientY - y) > STILL;
    if (!this.press.moved) return;
    if (this.tool !== "point") this.actions.dragged(this.tool, this.press.from, this.placeOf(event), false);
    else if (this.isWhole) this.actions.pointed(...this.placeOf(event));
    else this.pan(event.clientX - x, event.clientY - y);
  }

  up(event) {
    const { press } = this;
    this.press = null;
    if (!press || this.held) return;
    if (this.tool !== "point") {
      if (press.moved) this.actions.dragged(this.tool, press.from, this.placeOf(event), true);
    } else if (!press.moved) this.actions.pointed(...press.from);
  }

  /** From what was seen when the hand came down, moved by so many px. */
  pan(right, down) {
    const moved = (axis, px, size) => {
      const [low, high] = this.press.view[axis];
      const by = (px / size) * (high - low);
      return [low - by, high - by];
    };
    this.see({ x: moved("x", right, this.width), y: moved("y", this.upwards ? -down : down, this.height) });
  }

  /** Two fingers: what is under them stays under them. One is the page's. */
  pinch(event) {
    if (!this.full || event.touches.length !== 2) return;
    if (event.cancelable) event.preventDefault();
    this.press = null;
    const [one, two] = event.touches;
    const middle = { clientX: (one.clientX + two.clientX) / 2, clientY: (one.clientY + two.clientY) / 2 };
    const apart = Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY) || 1;
    const held = this.held;
    this.held = { apart, middle };
    if (!held) return;
    this.press = { view: structuredClone(this.view) };
    this.pan(middle.clientX - held.middle.clientX, middle.clientY - held.middle.clientY);
    this.press = null;
    this.zoom(held.apart / apart, this.placeOf(middle));
  }

  // -- axes --------------------------------------------------------------------------------------

  ticks(axis, size) {
    const [low, high] = this.view[axis];
    return ticksOf(low, high, size / (axis === "x" ? 75 : 45), this.full.whole);
  }

  drawAxes() {
    const { left, width, height, full } = this;
    const line = (x1, y1, x2, y2) => svg("line", { x1, y1, x2, y2 });
    const text = (x, y, content, attributes) => {
      const element = svg("text", { x, y, ...attributes });
      element.textContent = content;
      return element;
    };
    const across = this.ticks("x", width).flatMap(([value, label]) => {
      const x = left + this.part("x", value) * width;
      return [line(x, TOP + height, x, TOP + height + 5), text(x, TOP + height + 17, label, { "text-anchor": "middle" })];
    });
    const up = this.ticks("y", height).flatMap(([value, label]) => {
      const y = TOP + this.part("y", value) * height;
      return [line(left - 5, y, left, y), text(left - 8, y + 4, label, { "text-anchor": "end" })];
    });
    const yName = text(12, TOP + height / 2, visible(full.yName), { "text-anchor": "middle", transform: `rotate(-90 12 ${TOP + height / 2})`, class: "name" });
    this.axes.replaceChildren(
      svg("rect", { x: left - 0.5, y: TOP - 0.5, width: width + 1, height: height + 1 }), ...across, ...up,
      text(left + width / 2, TOP + height + 36, visible(full.xName), { "text-anchor": "middle", class: "name" }), yName,
    );
  }

  /** px within the picture of a place. */
  spot([x, y]) {
    return [this.part("x", x) * this.width, this.part("y", y) * this.height];
  }

  /** Shows the point that is read, a line and a region, each null if there is none. */
  drawMarks(point, line, region) {
    const inside = point && ["x", "y"].every((axis, i) => point[i] >= this.view[axis][0] && point[i] <= this.view[axis][1]);
    this.mark.hidden = !inside;
    if (inside) {
      this.mark.style.left = `${this.part("x", point[0]) * 100}%`;
      this.mark.style.top = `${this.part("y", point[1]) * 100}%`;
    }
    const shapes = [];
    if (line) {
      const [[x1, y1], [x2, y2]] = line.map((end) => this.spot(end));
      for (const name of ["under", "over"]) shapes.push(svg("line", { x1, y1, x2, y2, class: name }));
    }
    if (region) {
      const [[xa, ya], [xb, yb]] = region.map((corner) => this.spot(corner));
      const box = { x: Math.min(xa, xb), y: Math.min(ya, yb), width: Math.abs(xb - xa), height: Math.abs(yb - ya) };
      for (const name of ["under", "over"]) shapes.push(svg("rect", { ...box, class: name }));
    }
    this.marks.replaceChildren(...shapes);
  }
}
