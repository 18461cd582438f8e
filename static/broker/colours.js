// Colour maps as tables of 256 RGB entries, interpolated between a few stops. All of them are even in
// lightness and told apart by the colour-blind: viridis, cividis, inferno and magma are matplotlib's,
// vik and berlin Fabio Crameri's (doi:10.5281/zenodo.1243862).

const STOPS = {
  viridis: "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725",
  cividis: "00224e 002e6a 1a386f 32436d 434e6c 535a6d 61656f 6f7073 7d7c78 8c8878 9b9476 aba072 bcae6c cdbb63 dec958 f0d846 fee838",
  inferno: "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 d24644 e45a31 f1731d f98e09 fcac11 f9cb35 f2ea69 fcffa4",
  magma: "000004 0a0822 1d1147 36106b 51127c 6a1c81 832681 9c2e7f b73779 d0416f e75263 f56b5c fc8961 fea772 fec488 fde2a3 fcfdbf",
  gray: "000000 ffffff",
  "gray, inverted": "ffffff 000000",
  "vik, diverging": "001261 022b71 034481 0c5e92 307da6 619ebd 94bed2 c6dbe6 ece5e0 e9cab8 dbaa8d cf8c66 c27041 b2511d 912d06 731406 590008",
  "berlin, diverging": "9eb0ff 79abed 519fd3 3685ad 286886 1d4b61 14303e 111a20 190c09 2b0e01 411201 5b1d08 7d341e 9e513f be6f63 df8f89 ffadad",
};

export const COLOUR_MAPS = Object.keys(STOPS);

/** Those of two colours that meet in the middle: for values on both sides of zero. */
export const DIVERGING = COLOUR_MAPS.filter((name) => name.endsWith("diverging"));

/** 256 × [r, g, b, 255] in one array, for a name of COLOUR_MAPS. */
export function colourTable(name) {
  const stops = STOPS[name].split(" ").map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
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

/**
 * [low, high] that leave out the darkest 1 % and the brightest 0.5 % of the values, and those above
 * the limit of a mask.
 */
export function contrast(values, above = Infinity) {
  const step = Math.max(1, Math.floor(values.length / 20000));
  const sample = [];
  for (let at = 0; at < values.length; at += step) if (Number.isFinite(values[at]) && !(values[at] > above)) sample.push(values[at]);
  if (!sample.length) return [0, 1];
  sample.sort((a, b) => a - b);
  const low = sample[Math.floor(sample.length * 0.01)];
  const high = sample[Math.min(sample.length - 1, Math.floor(sample.length * 0.995))];
  return high > low ? [low, high] : [sample[0], sample[sample.length - 1] > sample[0] ? sample[sample.length - 1] : sample[0] + 1];
}
