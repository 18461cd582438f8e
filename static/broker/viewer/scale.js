// How values become parts of a colour scale, and back.

export const SCALES = [["linear", "linear"], ["log", "log"], ["sqrt", "square root"], ["symlog", "symlog"]];
const LINEAR_PART = 1e-3; // of the largest limit: where symlog is linear around zero
const DEEPEST = 1e-9; // of the high limit: the least that a logarithm begins at

/** Is this value shown? Neither what is no number, nor what is above the limit of the mask. */
export const isShown = (value, above) => Number.isFinite(value) && !(value > above);

/** {low, high, positive (the least value above 0)} of the values that are shown; null if none is. */
export function rangeOf(values, above = Infinity) {
  let [low, high, positive] = [Infinity, -Infinity, Infinity];
  for (const value of values) {
    if (!isShown(value, above)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
    if (value > 0 && value < positive) positive = value;
  }
  return low <= high ? { low, high, positive } : null;
}

const FORMS = {
  linear: () => [(value) => value, (part) => part],
  log: () => [Math.log, Math.exp],
  sqrt: (low) => [(value) => Math.sqrt(Math.max(0, value - low)), (part) => low + part * part],
  symlog: (low, high) => {
    const unit = LINEAR_PART * Math.max(Math.abs(low), Math.abs(high)) || 1;
    return [
      (value) => Math.sign(value) * Math.log1p(Math.abs(value) / unit),
      (part) => Math.sign(part) * unit * Math.expm1(Math.abs(part)),
    ];
  },
};

/**
 * {to(value): 0 at low, 1 at high; from(part): the value there}. A logarithm begins at `positive`
 * where `low` is none that it takes; values below that are at 0.
 */
export function scaleOf(name, low, high, positive = 1) {
  const logarithmic = name === "log";
  const least = Math.min(positive, high);
  const bottom = logarithmic && low <= 0 ? Math.max(least, high * DEEPEST, Number.MIN_VALUE) : low;
  const [forward, back] = FORMS[logarithmic && high <= 0 ? "linear" : name](bottom, high);
  const first = forward(bottom);
  const span = forward(high) - first || 1;
  const to = (value) => (logarithmic && value <= 0 && high > 0 ? 0 : (forward(value) - first) / span);
  return { to, from: (part) => back(first + part * span) };
}
