// What is chosen in a viewer of frames, in the page's address: one viewer's, the one used last.
// The service knows the names (headers/view_state.py).
import { choose, chosen, isChosenImage, streamOf } from "../address.js";
import { COLOUR_MAPS } from "../colours.js";
import { SCALES } from "./scale.js";

const PLAIN = { cmap: COLOUR_MAPS[0], contrast: SCALES[0][0] };
const DIGITS = 6; // of numbers in the address

/** So many numbers at a name of the address; null where there are none. */
function numbers(name, ...counts) {
  const found = (chosen(name)[0] ?? "").split(",").map((text) => (text === "" ? NaN : Number(text)));
  return counts.includes(found.length) && found.every(Number.isFinite) ? found : null;
}

/** {frame: [event from 1, frame of it from 1?], cmap, contrast, limits, mask, region, view}; null if it is another viewer's. */
export function keptOf(root, field) {
  if (!isChosenImage(root, field)) return null;
  const known = (parameter, values) => values.find((value) => value === chosen(parameter)[0]) ?? PLAIN[parameter];
  const [region, view] = ["region", "view"].map((parameter) => numbers(parameter, 4));
  return {
    frame: numbers("frame", 1, 2) ?? [1],
    cmap: known("cmap", COLOUR_MAPS), contrast: known("contrast", SCALES.map(([scale]) => scale)),
    limits: numbers("limits", 2), mask: numbers("mask", 1)?.[0],
    region: region && { columns: region.slice(0, 2), rows: region.slice(2) },
    view: view && { x: view.slice(0, 2), y: view.slice(2) },
  };
}

/** Puts it there: frame as above, and what is chosen in the picture. */
export function keep(root, field, frame, { map, scale, low, high, manual, mask, cells, figure }) {
  const stream = streamOf(root);
  if (stream === null) return;
  const changed = (parameter, value) => (value === PLAIN[parameter] ? null : value);
  const rounded = (values) => values.map((value) => +value.toPrecision(DIGITS)).join();
  choose({
    image: [stream, field], frame: frame.join(), cmap: changed("cmap", map.value), contrast: changed("contrast", scale.value),
    limits: manual ? `${low.value},${high.value}` : null, mask: mask.value || null,
    region: cells ? [...cells.columns, ...cells.rows].join() : null,
    view: figure.isWhole ? null : rounded([...figure.view.x, ...figure.view.y]),
  }, true);
}
