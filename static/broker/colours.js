// Colour maps as tables of 256 RGB entries, interpolated between a few stops.

const STOPS = {
  viridis: ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"],
  inferno: ["000004", "1f0c48", "550f6d", "88226a", "ba3655", "e35933", "f98c0a", "f9c932", "fcffa4"],
  gray: ["000000", "ffffff"],
  "gray, inverted": ["ffffff", "000000"],
};

export const COLOUR_MAPS = Object.keys(STOPS);

/** 256 × [r, g, b, 255] in one array, for a name of COLOUR_MAPS. */
export function colourTable(name) {
  const stops = STOPS[name].map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const table = new Uint8ClampedArray(256 * 4);
  for (let level = 0; level < 256; level++) {
    const place = (level / 255) * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    for (let part = 0; part < 3; part++) {
      const [from, to] = [stops[below][part], stops[below + 1][part]];
      table[level * 4 + part] = from + (to - from) * (place - below);
    }
    table[level * 4 + 3] = 255;
  }
  return table;
}

/** Indices 0–255 into a colour table; NaN becomes -1. `log` spreads values above the minimum. */
export function levels(values, low, high, log) {
  const scale = (value) => (log ? Math.log1p(Math.max(0, value - low)) : value - low);
  const span = scale(high) || 1;
  const found = new Int16Array(values.length);
  for (let at = 0; at < values.length; at++) {
    const value = values[at];
    found[at] = value === null || Number.isNaN(value) ? -1 : Math.max(0, Math.min(255, (scale(value) / span) * 255));
  }
  return found;
}

/** [low, high] that leave out the darkest 1 % and the brightest 0.5 % of the values. */
export function contrast(values) {
  const step = Math.max(1, Math.floor(values.length / 20000));
  const sample = [];
  for (let at = 0; at < values.length; at += step) if (Number.isFinite(values[at])) sample.push(values[at]);
  if (!sample.length) return [0, 1];
  sample.sort((a, b) => a - b);
  const low = sample[Math.floor(sample.length * 0.01)];
  const high = sample[Math.min(sample.length - 1, Math.floor(sample.length * 0.995))];
  return high > low ? [low, high] : [sample[0], sample[sample.length - 1] > sample[0] ? sample[sample.length - 1] : sample[0] + 1];
}
