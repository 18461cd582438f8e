// A grid scan as a map: each event's value at the place its motors say, however the grid was walked.
import { columnOf, getTable } from "./data.js";
import { labelled, make, select, visible } from "./dom.js";
import { Picture } from "./image.js";

export class Grid {
  constructor(root, streamUrl, plan) {
    Object.assign(this, { root, streamUrl, plan });
    this.picture = new Picture(root, { upwards: true, describe: "Map" });
    this.signal = select(plan.signals.map((name) => [name, visible(name)]), plan.signals[0]);
    this.signal.addEventListener("change", () => this.load());
    this.points = make("span", { className: "dim" });
    this.picture.above.append(labelled("Signal", this.signal), this.points);
  }

  async load() {
    const { slow, fast } = this.plan;
    const name = this.signal.value;
    try {
      const columns = await getTable(this.streamUrl, [slow, fast, name]);
      this.draw(columns[columnOf(slow)], columns[columnOf(fast)], columns[columnOf(name)]);
    } catch (error) {
      this.picture.fail(error);
    }
  }

  draw(slow, fast, signal) {
    const [height, width] = this.plan.shape;
    const [rows, columns] = [this.positions(0, slow, height), this.positions(1, fast, width)];
    const values = new Float64Array(height * width).fill(NaN);
    for (let at = 0; at < signal.length; at++) {
      const row = nearest(rows, slow[at]);
      const column = nearest(columns, fast[at]);
      if (row >= 0 && column >= 0 && signal[at] !== null) values[row * width + column] = signal[at];
    }
    const name = (field) => visible(field) + (this.plan.units[field] ? ` (${visible(this.plan.units[field])})` : "");
    this.points.textContent = `${signal.length} of ${height * width} points`;
    this.picture.show({ width, height, values, rows, columns, xName: name(this.plan.fast), yName: name(this.plan.slow) });
  }

  /** Where the points of an axis are: as planned, else evenly over what was measured. */
  positions(axis, measured, count) {
    const known = measured.filter((value) => value !== null);
    const [first, last] = this.plan.extents?.[axis] ?? [Math.min(...known), Math.max(...known)];
    return Array.from({ length: count }, (_, i) => first + ((last - first) * i) / Math.max(1, count - 1));
  }
}

function nearest(positions, value) {
  if (value === null || !positions.length) return -1;
  const span = positions[positions.length - 1] - positions[0];
  const at = span ? Math.round(((value - positions[0]) / span) * (positions.length - 1)) : 0;
  return at >= 0 && at < positions.length ? at : -1;
}
