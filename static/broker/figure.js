// What a plot shows, as a file: SVG drawn from its panels, PNG from the SVG, CSV of the points in view.
import uPlot from "uplot";
import { resolved, svg, visible } from "./dom.js";
import { markPath } from "./panels.js";
import { isoTime } from "./ticks.js";

const MARGIN = 12;
const LINE = 18;
const SCALE = 2; // px of a PNG for each of the page
const FONT = "system-ui, sans-serif";

export async function save(panels, kind) {
  const name = (panels.content.title || "plot").replace(/[^\p{L}\p{N}._-]+/gu, "_").slice(0, 80);
  if (kind === "csv") return download(new Blob([csvOf(panels)], { type: "text/csv" }), `${name}.csv`);
  const picture = svgOf(panels);
  const blob = new Blob([new XMLSerializer().serializeToString(picture)], { type: "image/svg+xml" });
  return download(kind === "svg" ? blob : await pngOf(blob, picture), `${name}.${kind}`);
}

function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// -- SVG ----------------------------------------------------------------------------------------

export function svgOf(panels) {
  const width = Math.max(...panels.charts.map((chart) => chart.width)) + 2 * MARGIN;
  const head = headOf(panels, width);
  let top = head.height + MARGIN;
  const parts = panels.charts.map((chart, at) => {
    const part = svg("g", { transform: `translate(${MARGIN},${top})` }, ...panelOf(panels, chart, at));
    top += chart.height;
    return part;
  });
  const height = top + MARGIN;
  return svg("svg", { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}`, "font-family": FONT, "font-size": 12 },
    svg("rect", { width, height, fill: resolved("--panel") }), ...head.parts, ...parts);
}

const text = (content, attributes) => svg("text", { fill: resolved("--text"), ...attributes }, visible(content));

/** The title and the legend, in lines of the width there is. */
function headOf(panels, width) {
  const ruler = document.createElement("canvas").getContext("2d");
  const wide = (content, font) => Object.assign(ruler, { font }) && ruler.measureText(content).width;
  const parts = [];
  let y = MARGIN + 12;
  for (const line of wrapped(panels.content.title, width - 2 * MARGIN, (some) => wide(some, `600 14px ${FONT}`))) {
    parts.push(text(line, { x: MARGIN, y, "font-size": 14, "font-weight": 600 }));
    y += LINE;
  }
  let x = MARGIN;
  for (const { label, unit, style } of panels.content.curves) {
    const name = visible(label) + (unit ? ` (${visible(unit)})` : "");
    const needed = 34 + wide(name, `12px ${FONT}`) + 16;
    if (x > MARGIN && x + needed > width) [x, y] = [MARGIN, y + LINE];
    const paint = resolved(style.colour);
    parts.push(
      svg("path", { d: `M${x},${y - 4}h26`, stroke: paint, "stroke-width": 1.5, ...(style.dashed ? { "stroke-dasharray": "7 4" } : {}) }),
      svg("path", { d: markPath(style.mark, 4), transform: `translate(${x + 13},${y - 4})`, fill: paint }),
      text(name, { x: x + 32, y }),
    );
    x += needed;
  }
  return { parts, height: y + 6 };
}

function wrapped(content, width, measure) {
  const lines = [""];
  for (const word of content.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (measure(longer) > width && lines.at(-1)) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines.filter(Boolean);
}

function panelOf(panels, chart, at) {
  const box = Object.fromEntries(Object.entries(chart.bbox).map(([name, value]) => [name, value / uPlot.pxRatio]));
  const [right, bottom] = [box.left + box.width, box.top + box.height];
  const [grid, dim] = [resolved("--line"), resolved("--dim")];
  const x = (value) => box.left + chart.valToPos(value, "x");
  const y = (value) => box.top + chart.valToPos(value, "y");
  const { x: across, y: up, name } = panels.ticks[at];
  const last = at === panels.charts.length - 1;
  const clip = `clip-${at}`;
  return [
    svg("clipPath", { id: clip }, svg("rect", { x: box.left, y: box.top, width: box.width, height: box.height })),
    ...across.filter(([tick]) => tick !== null && x(tick) >= box.left - 1 && x(tick) <= right + 1).flatMap(([tick, label]) => [
      svg("path", { d: `M${x(tick)},${box.top}V${bottom}`, stroke: grid }),
      ...(last ? label.split("\n").map((line, n) => text(line, { x: x(tick), y: bottom + 18 + 13 * n, fill: dim, "text-anchor": "middle" })) : []),
    ]),
    ...up.filter(([tick]) => tick !== null && y(tick) >= box.top - 1 && y(tick) <= bottom + 1).flatMap(([tick, label]) => [
      svg("path", { d: `M${box.left},${y(tick)}H${right}`, stroke: grid }),
      text(label, { x: box.left - 8, y: y(tick) + 4, fill: dim, "text-anchor": "end" }),
    ]),
    text(name, { transform: `translate(12,${box.top + box.height / 2}) rotate(-90)`, fill: dim, "text-anchor": "middle" }),
    ...(last ? [text(panels.xName ?? "", { x: box.left + box.width / 2, y: chart.height - 4, fill: dim, "text-anchor": "middle" })] : []),
    svg("g", { "clip-path": `url(#${clip})` }, ...panels.groups[at].flatMap((curve, n) => curveOf(panels, chart, curve, n))),
  ];
}

function curveOf(panels, chart, curve, n) {
  const paint = resolved(curve.style.colour);
  const { x, y } = panels.places(chart, curve);
  const places = Array.from(y, (height, i) => (Number.isNaN(height) ? null : [x[i], height].map((px) => (px / uPlot.pxRatio).toFixed(2))));
  const line = places.map((place, i) => (place ? `${i && places[i - 1] ? "L" : "M"}${place}` : "")).join("");
  const shown = chart.series[n + 1].points.show(chart, n + 1);
  const marks = shown ? places.filter(Boolean).map((place) => svg("path", { d: markPath(curve.style.mark, 3), transform: `translate(${place})`, fill: paint })) : [];
  return [svg("path", { d: line, fill: "none", stroke: paint, "stroke-width": 1.5, ...(curve.style.dashed ? { "stroke-dasharray": "7 4" } : {}) }), ...marks];
}

async function pngOf(blob, picture) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  await image.decode();
  URL.revokeObjectURL(image.src);
  const canvas = document.createElement("canvas");
  const [width, height] = ["width", "height"].map((name) => Number(picture.getAttribute(name)));
  Object.assign(canvas, { width: width * SCALE, height: height * SCALE });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => { canvas.toBlob(done, "image/png"); });
}

// -- CSV ----------------------------------------------------------------------------------------

/** The points in view in recorded order: a column a curve, or, where each has an x of its own, a row a point. */
export function csvOf(panels) {
  const { x, curves } = panels.content;
  const { min, max } = panels.shown;
  const name = ({ label, unit }) => label + (unit ? ` (${unit})` : "");
  const at = (value) => (x.time ? isoTime(value, x.zone) : value);
  const seen = (values) => [...values.keys()].filter((i) => values[i] !== null && values[i] >= min && values[i] <= max);
  const rows = panels.xs.length === 1
    ? [[name(x), ...curves.map(name)], ...seen(panels.xs[0]).map((i) => [at(panels.xs[0][i]), ...curves.map(({ y }) => y[i])])]
    : [["curve", name(x), "value"], ...curves.flatMap((curve) => seen(curve.x).map((i) => [name(curve), at(curve.x[i]), curve.y[i]]))];
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Quoted where needed; a text that a spreadsheet would run as a formula is made a plain one. */
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const plain = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}
