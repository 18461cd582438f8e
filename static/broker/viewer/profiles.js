// Values along a row, along a column, and along a line between two points.
import { make, number } from "../dom.js";
import { Chart } from "./chart.js";
import { isShown } from "./scale.js";

/** The cells that a line goes through, one a step of a cell along its longer side. */
export function cellsAlong(layer, [[x1, y1], [x2, y2]]) {
  const [from, to] = [[layer.x.cellAt(x1), layer.y.cellAt(y1)], [layer.x.cellAt(x2), layer.y.cellAt(y2)]];
  const steps = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
  return Array.from({ length: steps + 1 }, (_, n) =>
    [0, 1].map((axis) => Math.round(from[axis] + ((to[axis] - from[axis]) * n) / (steps || 1))));
}

export class Profiles {
  constructor() {
    this.row = new Chart("Row");
    this.column = new Chart("Column");
    this.line = new Chart("Line");
    this.root = make("div", { className: "profiles" }, this.row.root, this.column.root, this.line.root);
  }

  /** Of the layer that has the point; `names` of the axes. Gives what is drawn. */
  show(layer, [x, y], line, names, above) {
    const kept = (value) => (isShown(value, above) ? value : NaN);
    const [row, column] = [layer.y.cellAt(y), layer.x.cellAt(x)];
    const along = { x: layer.x.positions, values: layer.x.positions.map((_, i) => kept(layer.at(row, i))) };
    const up = { x: layer.y.positions, values: layer.y.positions.map((_, i) => kept(layer.at(i, column))) };
    this.row.show(`Along the row at ${names.y} ${number(layer.y.positions[row])}`, names.x, along.x, along.values);
    this.column.show(`Along the column at ${names.x} ${number(layer.x.positions[column])}`, names.y, up.x, up.values);
    return { row: along, column: up, line: line && this.along(layer, line, names, kept) };
  }

  hideLine() {
    this.line.hide();
  }

  along(layer, line, names, kept) {
    const cells = cellsAlong(layer, line);
    const places = cells.map(([column, row]) => [layer.x.positions[column], layer.y.positions[row]]);
    const [x0, y0] = places[0];
    const x = places.map(([px, py], n) => (names.measured ? Math.hypot(px - x0, py - y0) : n));
    const values = cells.map(([column, row]) => kept(layer.at(row, column)));
    const ends = [places[0], places.at(-1)].map((place) => place.map(number).join(", "));
    this.line.show(`Line from ${ends[0]} to ${ends[1]}`, names.measured ? `distance (${names.measured})` : "cell", x, values);
    return { x, values };
  }
}
