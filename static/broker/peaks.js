// What a peak is like, by the definitions of bluesky's PeakStats.
import { make, number, visible } from "./dom.js";

const HEAD = ["", "max at", "max", "com", "cen", "FWHM", "min at", "min"];

/** {max, min: [x, y], com, cen, fwhm} of points in recorded order; null without points, or where there is none. */
export function peakOf(xs, ys) {
  const at = [...ys.keys()].filter((i) => ys[i] !== null && xs[i] !== null);
  if (!at.length) return null;
  const [x, y] = [at.map((i) => xs[i]), at.map((i) => ys[i])];
  const low = y.reduce((best, value, i) => (value < y[best] ? i : best), 0);
  const high = y.reduce((best, value, i) => (value > y[best] ? i : best), 0);
  const crossed = crossings(x, y, (y[high] + y[low]) / 2);
  return {
    max: [x[high], y[high]],
    min: [x[low], y[low]],
    com: finite(between(x, y.reduce((sum, value, i) => sum + value * i, 0) / y.reduce((sum, value) => sum + value, 0))),
    cen: crossed.length ? finite(crossed.reduce((sum, value) => sum + value, 0) / crossed.length) : null,
    fwhm: crossed.length > 1 ? finite(Math.abs(crossed.at(-1) - crossed[0])) : null,
  };
}

const finite = (value) => (Number.isFinite(value) ? value : null);

/** Where the curve goes through a height, by straight lines between its points. */
function crossings(x, y, height) {
  const found = [];
  for (let i = 0; i + 1 < y.length; i++) {
    if (y[i] > height === y[i + 1] > height) continue;
    const slope = (y[i + 1] - y[i]) / (x[i + 1] - x[i]);
    found.push(x[i] - (y[i] - height) / slope);
  }
  return found;
}

/** x at a position between its points, at its ends beyond them. */
function between(x, position) {
  if (Number.isNaN(position)) return NaN;
  const place = Math.min(Math.max(position, 0), x.length - 1);
  const before = Math.min(Math.floor(place), x.length - 2);
  return x.length === 1 ? x[0] : x[before] + (x[before + 1] - x[before]) * (place - before);
}

/** [name, peak] of each curve as a table with a button that copies it. */
export function peakTable(caption, peaks) {
  const rows = peaks.map(([name, { max, min, com, cen, fwhm }]) => [visible(name), ...max, com, cen, fwhm, ...min]);
  const body = rows.map(([name, ...values]) => make("tr", {},
    make("th", { scope: "row" }, make("bdi", { textContent: name })), ...values.map((value) => make("td", { className: "num", textContent: number(value) }))));
  const table = make("table", {}, make("caption", { textContent: caption }),
    make("thead", {}, make("tr", {}, make("td"), ...HEAD.slice(1).map((text) => make("th", { scope: "col", className: "num", textContent: text })))),
    make("tbody", {}, ...body));
  const scroll = make("div", { className: "scroll", tabIndex: 0 }, table);
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", caption);
  const copy = make("button", { type: "button", textContent: "Copy", title: "Copy as tab-separated values" });
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText([HEAD, ...rows].map((row) => row.map((cell) => cell ?? "").join("\t")).join("\n"));
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  return make("div", { className: "peaks-box" }, scroll, ...(navigator.clipboard ? [copy] : []));
}
