// Curves of several runs brought together: normalised, lifted above one another, less the first one.

const values = (y) => y.filter((value) => value !== null);
const least = (y) => values(y).reduce((a, b) => Math.min(a, b), Infinity);
const most = (y) => values(y).reduce((a, b) => Math.max(a, b), -Infinity);
const finite = (value) => (Number.isFinite(value) ? value : null);
const each = (y, f) => y.map((value) => (value === null ? null : finite(f(value))));

/** name → what a curve is divided by or fitted into. */
export const NORMS = {
  none: (y) => y,
  max: (y) => each(y, (value) => value / most(y)),
  range: (y) => each(y, (value) => (value - least(y)) / (most(y) - least(y))),
  first: (y) => each(y, (value) => value / values(y)[0]),
};

/** Curves, each by `part` of the highest one's height above the last. */
export function lifted(curves, part) {
  const step = part * Math.max(0, ...curves.map(({ y }) => finite(most(y) - least(y)) ?? 0));
  return curves.map((curve, n) => ({ ...curve, y: each(curve.y, (value) => value + n * step) }));
}

/** Curves less the first one, which is interpolated by straight lines; null where the first has no points. */
export function lessFirst([first, ...others]) {
  const points = first.x.map((x, i) => [x, first.y[i]]).filter(([x, y]) => x !== null && y !== null).sort((a, b) => a[0] - b[0]);
  return others.map((curve) => ({
    ...curve,
    y: curve.y.map((value, i) => {
      const base = value === null || curve.x[i] === null ? null : interpolated(points, curve.x[i]);
      return base === null ? null : value - base;
    }),
  }));
}

/** y at x between points in ascending x; null outside of them. */
function interpolated(points, x) {
  if (!points.length || x < points[0][0] || x > points.at(-1)[0]) return null;
  let [low, high] = [0, points.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] <= x) low = middle;
    else high = middle;
  }
  const [[x0, y0], [x1, y1]] = [points[low], points[high]];
  if (x === x1) return y1;
  return x1 === x0 ? y0 : y0 + ((y1 - y0) * (x - x0)) / (x1 - x0);
}
