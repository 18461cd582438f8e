// Where the points of a grid scan were measured: positions along its axes, from readings with noise.

const CLEAR = 1.5; // times the widest position: the least gap between two positions
const STILL = 5; // the same, where an axis came back to a place and only one of its values can be shown
const EVEN = 0.05; // of a step: positions so near to even ones are drawn as even

/** Ways to take values as few positions: {positions (ascending), at (index of each value, -1: none), clear}. */
function readings(values) {
  const order = [...values.keys()].filter((i) => Number.isFinite(values[i])).sort((a, b) => values[a] - values[b]);
  const gaps = order.slice(1).map((i, n) => values[i] - values[order[n]]).filter((gap) => gap > 0).sort((a, b) => b - a);
  const steps = gaps.filter((gap, i) => gap >= CLEAR * (gaps[i + 1] ?? 0));
  return steps.map((step) => grouped(values, order, step)).filter(({ clear }) => clear >= CLEAR);
}

/** Values nearer to their neighbour than `step` share a position: the middle one of theirs. */
function grouped(values, order, step) {
  const groups = [];
  for (const i of order) {
    const group = groups.at(-1);
    if (group && values[i] - values[group.at(-1)] < step) group.push(i);
    else groups.push([i]);
  }
  const at = new Int32Array(values.length).fill(-1);
  groups.forEach((group, index) => { for (const i of group) at[i] = index; });
  const widest = groups.reduce((most, group) => Math.max(most, values[group.at(-1)] - values[group[0]]), 0);
  return { positions: groups.map((group) => values[group[group.length >> 1]]), at, clear: step / widest };
}

/**
 * {rows, columns (positions), cell (of each point, -1: it has no position)} of the grid that the points
 * were measured on, null if they were not on one. `planned` ([rows, columns] or null) only decides between
 * grids that both fit: a plan tells neither where relative scans were nor how far an aborted one came.
 */
export function gridOf(slow, fast, planned) {
  let best = null;
  for (const rows of readings(slow)) {
    for (const columns of readings(fast)) {
      const grid = crossed(rows, columns, planned);
      if (grid && grid.score > (best?.score ?? 0)) best = grid;
    }
  }
  return best;
}

function crossed(rows, columns, planned) {
  const [height, width] = [rows.positions.length, columns.positions.length];
  const cell = rows.at.map((row, i) => (row < 0 || columns.at[i] < 0 ? -1 : row * width + columns.at[i]));
  const points = cell.filter((at) => at >= 0);
  if (height * width >= 2 * points.length) return null;
  const places = new Set(points).size;
  const repeats = places < points.length;
  if (2 * places <= height * width || (repeats && Math.min(rows.clear, columns.clear) < STILL)) return null;
  const asPlanned = planned && width === planned[1] && height <= planned[0];
  const score = (places * places) / (height * width) + (asPlanned ? points.length : 0);
  return { rows: rows.positions, columns: columns.positions, cell, places, score };
}

/** The bounds of the cells around positions, half-way between neighbours; null for even positions. */
export function boundsOf(positions) {
  const last = positions.length - 1;
  const step = (positions[last] - positions[0]) / last;
  if (positions.every((position, i) => Math.abs(position - positions[0] - i * step) <= EVEN * step)) return null;
  const between = positions.slice(1).map((position, i) => (position + positions[i]) / 2);
  return [2 * positions[0] - between[0], ...between, 2 * positions[last] - between.at(-1)];
}
