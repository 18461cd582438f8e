// Runs together: one signal or expression of each over one x. `plotted` of its place tells what is drawn:
// {xName, x: {uid: values}, series: {uid: values}}.
import { choose, chosen, onBack } from "./address.js";
import { lessFirst, lifted, NORMS } from "./combine.js";
import { columnOf, getTable } from "./data.js";
import { checkbox, labelled, make, onTheme, select, visible } from "./dom.js";
import { check, evaluate, ExpressionError, fieldsOf, parse } from "./expression.js";
import { ExpressionField } from "./expression_field.js";
import { Grid } from "./grid.js";
import { Panels, styleOf } from "./panels.js";
import { peakOf, peakTable } from "./peaks.js";
import "./site.js";
import "./compare.css";

const MODES = [["overlay", "overlay"], ["waterfall", "waterfall"], ["difference", "difference to the first"]];
const NORM_NAMES = [["none", "nothing"], ["max", "maximum"], ["range", "0 to 1"], ["first", "first point"]];
const OFFSET = 0.3; // of the highest curve

class Compared {
  constructor(root, runs) {
    Object.assign(this, { root, runs, tables: new Map() });
    this.stream = select(this.names((run) => run.streams.map(({ name }) => name)).map((name) => [name, visible(name)]));
    this.x = select([]);
    this.signal = select([]);
    this.mode = select(MODES);
    this.norm = select(NORM_NAMES);
    this.offset = make("input", { type: "range", min: 0, max: 1, step: 0.05 });
    this.log = checkbox();
    this.panels = new Panels((range) => this.zoomed(range));
    this.field = new ExpressionField("compare-expression", (text) => this.express(text));
    this.peaks = make("div", { className: "peaks" });
    this.note = make("p", { className: "help" });
    this.note.setAttribute("role", "status");
    this.lift = labelled("offset", this.offset);
    root.replaceChildren(make("div", { className: "controls" },
      labelled("Stream", this.stream), labelled("Over", this.x), labelled("Signal", this.signal), this.field.root,
      labelled("As", this.mode), this.lift, labelled("Divided by", this.norm), make("label", {}, this.log, " log scale")),
    this.panels.root, this.note, this.peaks);
    root.addEventListener("change", (event) => this.changed(event));
    this.offset.addEventListener("input", () => this.draw());
    onTheme(() => { this.panels.shape = null; this.draw(); });
    onBack(() => { this.restore(); this.load(); });
    this.restore();
    this.load();
  }

  /** What `of` gives of the runs, each once, in the order they come. */
  names(of) {
    return [...new Set(this.runs.flatMap(of))];
  }

  /** The chosen stream of a run, with its plan; undefined where it has none. */
  part(run) {
    return run.streams.find(({ name }) => name === this.stream.value);
  }

  get parts() {
    return this.runs.map((run) => this.part(run)).filter(Boolean);
  }

  // -- what is chosen ----------------------------------------------------------------------------

  restore() {
    const at = (name, otherwise) => chosen(name)[0] ?? otherwise;
    this.stream.value = at("stream", this.stream.options[0]?.value);
    this.offer();
    const first = this.parts[0]?.plan;
    pick(this.x, at("x"), first?.kind === "map" ? first.fast : first?.x ?? "time");
    pick(this.signal, at("y"), first?.signals[0]);
    pick(this.mode, at("mode"), "overlay");
    pick(this.norm, at("norm"), "none");
    this.offset.value = at("offset", OFFSET);
    this.log.checked = at("scale") === "log";
    const [min, max] = at("zoom", "").split(",").map(Number);
    this.zoom = max > min ? { min, max } : null;
    this.field.refuse("");
    this.field.input.value = at("expr", "");
    this.tree = null;
    if (at("expr")) this.accept(at("expr"));
  }

  /** The fields of the chosen stream. */
  offer() {
    const fields = [...new Set(this.parts.flatMap(({ plan }) => plan.numbers))];
    const options = (names) => names.map((name) => make("option", { value: name, textContent: visible(name) }));
    this.x.replaceChildren(...options(["time", ...fields.filter((name) => name !== "time")]));
    this.signal.replaceChildren(...options(fields));
  }

  accept(text) {
    this.field.refuse("");
    this.tree = null;
    if (!text) return true;
    try {
      const tree = parse(text);
      check(tree, [...this.names((run) => this.part(run)?.plan.numbers ?? []), "time"]);
      this.tree = tree;
      return true;
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      this.field.refuse(error.message);
      return false;
    }
  }

  express(text) {
    if (!this.accept(text)) return;
    this.remember();
    this.load();
  }

  changed(event) {
    if (event.target === this.field.input) return;
    if (event.target === this.stream) {
      this.offer();
      const { plan } = this.parts[0];
      pick(this.x, plan.x, "time");
      pick(this.signal, plan.signals[0]);
    }
    if (event.target === this.signal || event.target === this.stream) {
      this.tree = null;
      this.field.input.value = "";
      this.field.refuse("");
    }
    if (event.target === this.x || event.target === this.stream) this.zoom = null;
    this.remember();
    this.load();
  }

  remember(silently) {
    const first = this.parts[0]?.plan;
    const unless = (value, usual) => (value === usual ? null : value);
    choose({
      stream: unless(this.stream.value, this.stream.options[0]?.value),
      x: unless(this.x.value, first?.kind === "map" ? first.fast : first?.x),
      y: unless(this.signal.value, first?.signals[0]),
      expr: this.tree ? this.field.input.value.trim() : null,
      mode: unless(this.mode.value, "overlay"),
      norm: unless(this.norm.value, "none"),
      offset: this.mode.value === "waterfall" ? unless(this.offset.value, String(OFFSET)) : null,
      scale: this.log.checked ? "log" : null,
      zoom: this.zoom ? `${this.zoom.min},${this.zoom.max}` : null,
    }, silently);
    for (const link of document.querySelectorAll("[data-keeps-state]")) keepState(link);
  }

  zoomed(range) {
    this.zoom = range;
    this.remember(true);
    this.showPeaks();
  }

  // -- data --------------------------------------------------------------------------------------

  get wanted() {
    return [...new Set([this.x.value, ...(this.tree ? fieldsOf(this.tree) : [this.signal.value])])];
  }

  async load() {
    this.root.dataset.state = "loading";
    const asked = (this.asked = Symbol("asked"));
    await Promise.all(this.runs.map((run) => this.fetch(run)));
    if (asked === this.asked) this.draw();
  }

  /** The columns of a run that are needed now; what goes wrong is kept to be told. */
  async fetch(run) {
    const part = this.part(run);
    const known = this.tables.get(run) ?? {};
    const needed = this.wanted.filter((name) => part?.plan.numbers.includes(name));
    const has = known.stream === part?.name && known.columns && needed.every((name) => columnOf(name) in known.columns);
    if (!part || has) return;
    try {
      const columns = await getTable(part.url, needed);
      this.tables.set(run, { stream: part.name, columns: { ...(known.stream === part.name ? known.columns : {}), ...columns } });
    } catch (error) {
      this.tables.set(run, { stream: part.name, error: error.message });
    }
  }

  /** {x, y} of a run, or {lacks: why there is none}. */
  curveOf(run) {
    const part = this.part(run);
    if (!part) return { lacks: `has no plot of ${this.stream.value}` };
    const { columns, error } = this.tables.get(run) ?? {};
    if (!columns) return { lacks: error ?? "is not there yet" };
    const own = (name) => part.plan.numbers.includes(name);
    const missing = this.wanted.find((name) => name !== "time" && !own(name));
    if (missing) return { lacks: `has no ${missing}` };
    const column = (name) => (name === "time" && !own("time") ? columns.time : columns[columnOf(name)]);
    const over = this.x.value === "time" ? sinceFirst(columns.time) : column(this.x.value);
    const usable = over.map((_, at) => at).filter((at) => typeof over[at] === "number");
    const picked = (values) => usable.map((at) => (typeof values[at] === "number" ? values[at] : null));
    const x = picked(over);
    return { x, y: this.tree ? evaluate(this.tree, (name) => picked(column(name)), x) : picked(column(this.signal.value)) };
  }

  // -- drawing -----------------------------------------------------------------------------------

  draw() {
    this.lift.hidden = this.mode.value !== "waterfall";
    try {
      this.combine();
      this.show();
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      this.field.refuse(error.message);
    }
  }

  combine() {
    const all = this.runs.map((run, at) => ({ run, label: run.title, style: styleOf(at), ...this.curveOf(run) }));
    this.lacking = all.filter(({ lacks }) => lacks);
    const curves = all.filter(({ lacks }) => !lacks).map((curve) => ({ ...curve, y: NORMS[this.norm.value](curve.y) }));
    if (this.mode.value === "waterfall") this.curves = lifted(curves, Number(this.offset.value));
    else if (this.mode.value === "difference" && curves.length) this.curves = lessFirst(curves);
    else this.curves = curves;
    this.first = curves[0]?.label;
  }

  show() {
    const plan = this.parts[0]?.plan;
    const unit = (name) => plan?.units[name] ?? "";
    const what = this.tree ? this.field.input.value.trim() : this.signal.value;
    const own = this.tree || this.norm.value !== "none" ? "" : unit(this.signal.value);
    const time = this.x.value === "time";
    const mode = { waterfall: ", each above the last", difference: `, less ${this.first}` }[this.mode.value] ?? "";
    const norm = this.norm.value === "none" ? "" : `, divided by ${NORM_NAMES.find(([name]) => name === this.norm.value)[1]}`;
    this.panels.show({
      title: `${visible(what)}${own ? ` (${visible(own)})` : ""} over ${visible(this.x.value)}${norm}${mode} · ${[...new Set(this.runs.map(({ caption }) => caption.split(" · ").at(-1)))].join(", ")}`,
      x: { label: time ? "time since the first point" : this.x.value, unit: time ? "s" : unit(this.x.value), time: false },
      log: this.log.checked,
      curves: this.curves.map((curve) => ({ ...curve, unit: own, panel: "all" })),
    }, this.zoom);
    this.note.textContent = this.lacking.map(({ label, lacks }) => `${label} ${visible(lacks)}.`).join(" ");
    this.showPeaks();
    const by = (part) => Object.fromEntries(this.curves.map((curve) => [curve.run.uid, curve[part]]));
    this.root.plotted = { kind: "compare", xName: this.x.value, x: by("x"), series: by("y") };
    this.root.dataset.state = "drawn";
  }

  showPeaks() {
    const { min, max } = this.zoom ?? { min: -Infinity, max: Infinity };
    const rows = this.curves.map(({ label, x, y }) => {
      const inside = [...x.keys()].filter((i) => x[i] >= min && x[i] <= max);
      return [label, peakOf(inside.map((i) => x[i]), inside.map((i) => y[i]))];
    }).filter(([, peak]) => peak);
    const caption = `Peaks over ${visible(this.x.value)}, as drawn${this.zoom ? ", in the part shown" : ""}`;
    this.peaks.replaceChildren(...(rows.length ? [peakTable(caption, rows)] : []));
  }
}

const sinceFirst = (times) => times.map((time) => (time === null ? null : time - times[0]));

/** Chooses a value where there is such an option, else the usual one. */
function pick(control, value, usual) {
  const has = (wanted) => [...control.options].some((option) => option.value === wanted);
  control.value = has(value) ? value : has(usual) ? usual : control.options[0]?.value;
}

/** A link to fewer runs keeps what is chosen. */
function keepState(link) {
  const address = new URL(link.href);
  for (const name of [...address.searchParams.keys()]) if (name !== "run") address.searchParams.delete(name);
  for (const [name, value] of new URLSearchParams(location.search)) if (name !== "run") address.searchParams.append(name, value);
  link.href = address.href;
}

/** Maps beside one another, each fetched when it comes into view. */
function showMaps(section, runs) {
  const scans = runs.flatMap((run) => run.streams.filter(({ plan }) => plan.kind === "map").map((stream) => ({ run, stream })));
  if (!scans.length) return;
  section.hidden = false;
  for (const { run, stream } of scans) {
    const place = make("div");
    place.dataset.map = run.uid;
    section.querySelector(".maps").append(make("figure", { className: "plot-figure" }, make("figcaption", { className: "plot-title", textContent: run.caption }), place));
    const watch = new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting) return;
      watch.disconnect();
      new Grid(place, stream.url, stream.plan, run.zone).load();
    }, { rootMargin: "300px" });
    watch.observe(place);
  }
}

const runs = JSON.parse(document.getElementById("compared").textContent);
const place = document.querySelector("[data-compare]");
if (runs.some((run) => run.streams.length)) new Compared(place, runs);
else place.querySelector("p").textContent = "None of these runs has numbers to draw.";
for (const link of document.querySelectorAll("[data-keeps-state]")) keepState(link);
showMaps(document.getElementById("maps"), runs);
