// An axis of a picture: where its cells are, in pixels or in a motor's units.

export class Axis {
  /**
   * positions: of each cell, ascending. bounds: n + 1 of them, of cells that are not evenly wide.
   * start: where the first cell begins, half a cell before its position unless it is given.
   */
  constructor({ positions, bounds = null, start, step }) {
    const count = positions.length;
    this.step = step ?? (count > 1 ? (positions[count - 1] - positions[0]) / (count - 1) : 1);
    this.start = bounds ? bounds[0] : start ?? positions[0] - this.step / 2;
    Object.assign(this, { count, positions, bounds });
  }

  /** Pixels first, first + step, … of a detector: pixel i reaches from i - ½ to i + ½. */
  static ofPixels(count, step = 1, first = 0) {
    const positions = Array.from({ length: count }, (_, i) => first + i * step);
    return new Axis({ positions, start: first - 0.5, step });
  }

  get end() {
    return this.bounds ? this.bounds[this.count] : this.start + this.count * this.step;
  }

  edge(i) {
    return this.bounds ? this.bounds[i] : this.start + i * this.step;
  }

  /** The cell that a place is in, the nearest one outside. */
  cellAt(value) {
    const cell = this.bounds ? this.bounds.findIndex((bound) => bound > value) - 1 : Math.floor((value - this.start) / this.step);
    const beyond = this.bounds && value >= this.end;
    return beyond ? this.count - 1 : Math.min(this.count - 1, Math.max(0, cell));
  }

  has(value) {
    return value >= this.start && value <= this.end;
  }
}

const NICE = [1, 2, 5, 10];

/** Round numbers between low and high, about `most` of them; whole ones if `whole`. */
export function ticksOf(low, high, most, whole = false) {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = power * NICE.find((nice) => nice * power >= rough * 0.999);
  if (whole) step = Math.max(1, Math.round(step));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(n * step);
  const large = Math.max(Math.abs(low), Math.abs(high)) >= 1e6 || (step < 1e-4);
  return ticks.map((value) => [value, large ? String(+value.toPrecision(5)) : value.toFixed(Math.min(digits, 8))]);
}
