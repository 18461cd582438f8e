// A scan of two motors: a map where the measured positions make a grid, else curves.
import { chosen, onBack, stateOf } from "../address.js";
import { boundsOf, gridOf } from "../axes.js";
import { columnOf, fetched, getTable, grown } from "../data.js";
import { checkbox, labelled, make, select, visible } from "../dom.js";
import { Picture } from "../image.js";
import { Lines } from "../lines.js";
import { choose, onShown } from "./linking.js";

const LONGEST = 8; // times as long as wide: a map of one unit that is longer fills its place all the same

export class Grid {
  constructor(root, streamUrl, plan, zone) {
    Object.assign(this, { root, streamUrl, plan, zone });
    this.signal = select(plan.signals.map((name) => [name, visible(name)]), plan.signals[0]);
    this.state = stateOf(root);
    this.restore();
    this.signal.addEventListener("change", () => this.change());
    if (this.state) onBack(() => { this.restore(); if (!this.lines) this.load(); });
    this.points = make("span", { className: "dim" });
    this.equal = checkbox(true);
    this.equal.addEventListener("change", () => this.redraw());
    this.equalLabel = make("label", { hidden: true }, this.equal, " true proportions");
    onShown(root, (event) => this.mark(event));
    this.asMap();
  }

  /** The signal that the address names, else the plan's first one. */
  restore() {
    const [own] = this.state?.isOwn() ? chosen("y") : [];
    this.signal.value = this.plan.signals.includes(own) ? own : this.plan.signals[0];
  }

  change() {
    const { value } = this.signal;
    this.state?.keep({ y: value === this.plan.signals[0] ? null : value });
    this.load();
  }

  asMap() {
    const place = make("div");
    this.root.replaceChildren(place);
    this.lines = null;
    const pointed = (row, column) => this.pointed(row, column);
    this.picture = new Picture(place, { upwards: true, describe: "Map", actions: { pointed } });
    this.picture.above.append(labelled("Signal", this.signal), this.equalLabel, this.points);
  }

  asLines(slow, fast) {
    const still = (positions) => positions.every((position) => position === positions[0]);
    const x = still(slow) ? this.plan.fast : still(fast) ? this.plan.slow : "time";
    const place = make("div");
    this.root.replaceChildren(place);
    this.lines = new Lines(place, this.streamUrl, { ...this.plan, x }, this.zone);
  }

  async load() {
    const names = [this.plan.slow, this.plan.fast, this.signal.value];
    try {
      this.columns = await fetched(this, () => getTable(this.streamUrl, names));
      await this.redraw();
    } catch (error) {
      (this.lines ?? this.picture).fail(error);
      this.root.dataset.state = "failed";
    }
  }

  /** Events have come. */
  async grow(events, pages) {
    if (!grown(this, pages)) return;
    if (this.lines) this.lines.grow(events, pages);
    await this.redraw();
  }

  async redraw() {
    const names = [this.plan.slow, this.plan.fast, this.signal.value];
    await this.draw(...names.map((name) => this.columns[columnOf(name)]));
  }

  async draw(slow, fast, signal) {
    const grid = gridOf(slow, fast, this.plan.shape);
    if (grid) {
      if (this.lines) this.asMap();
      this.show(grid, signal);
    } else {
      if (!this.lines) this.asLines(slow, fast);
      await this.lines.load();
    }
    this.root.dataset.state = this.lines?.root.dataset.state ?? "drawn";
  }

  /** Of points at the same place, the last one that has a value is shown. */
  show({ rows, columns, cell, places }, signal) {
    const values = new Float64Array(rows.length * columns.length).fill(NaN);
    cell.forEach((at, i) => { if (at >= 0 && signal[i] !== null) values[at] = signal[i]; });
    const { shape, units, slow, fast } = this.plan;
    const name = (field) => visible(field) + (units[field] ? ` (${visible(units[field])})` : "");
    const planned = shape && shape[0] * shape[1] > signal.length ? ` of ${shape[0] * shape[1]}` : "";
    const repeated = places < signal.length ? ` at ${places} places` : "";
    this.points.textContent = `${signal.length}${planned} points${repeated}`;
    this.cells = cell;
    const unit = units[slow] && units[slow] === units[fast] ? visible(units[slow]) : null;
    const bounds = { rowBounds: boundsOf(rows), columnBounds: boundsOf(columns) };
    const isOffered = unit && proportion(rows, columns) <= LONGEST;
    this.equalLabel.hidden = !isOffered;
    const equal = isOffered && this.equal.checked ? unit : null;
    this.picture.show({
      width: columns.length, height: rows.length, values, rows, columns, ...bounds, equal, xName: name(fast), yName: name(slow),
    });
  }

  /** A cell was clicked: the event that was measured there last is looked at. */
  pointed(row, column) {
    const event = this.cells.lastIndexOf(row * this.picture.data.width + column);
    if (event >= 0) choose(this.root, event);
  }

  /** The frame of this event is shown: its place is marked. */
  mark(event) {
    const { data } = this.picture;
    const cell = this.lines || !data ? -1 : this.cells[event] ?? -1;
    if (cell < 0) return;
    this.picture.pointAt(data.columns[cell % data.width], data.rows[Math.floor(cell / data.width)]);
  }
}

/** How many times longer than wide a map is, or wider than long. */
function proportion(rows, columns) {
  const [high, wide] = [rows, columns].map((positions) => Math.abs(positions.at(-1) - positions[0]));
  return Math.max(high, wide) / Math.min(high, wide);
}
