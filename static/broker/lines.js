// Curves of a stream: signals and expressions over a motor or over time.
// `root.plotted` tells what is drawn: {x, series: {name: values}}.
import { chosen, onBack, stateOf } from "./address.js";
import { columnOf, fetched, getTable, grown } from "./data.js";
import { checkbox, labelled, make, onTheme, select, visible } from "./dom.js";
import { check, evaluate, ExpressionError, fieldsOf, parse } from "./expression.js";
import { ExpressionField } from "./expression_field.js";
import { Panels, styleOf } from "./panels.js";
import { peakOf, peakTable } from "./peaks.js";
import { choose, onShown } from "./viewer/linking.js";

export { axisStyle, ticked } from "./panels.js";

const DEFAULT_SIGNALS = 3;
const MOST_EXPRESSIONS = 8;

export class Lines {
  constructor(root, streamUrl, plan, zone) {
    Object.assign(this, { root, streamUrl, plan, zone });
    this.expressions = new Map(); // text → its tree
    const fields = plan.numbers.filter((name) => name !== "time");
    this.x = select([["time", "time"], ...fields.map((name) => [name, visible(name)])], plan.x ?? "time");
    this.timeAs = select([["iso", "ISO time"], ["seconds", "seconds"]], "iso");
    this.log = checkbox();
    this.panels = new Panels((range) => this.zoomed(range), (at) => choose(root, this.usable[at]));
    this.field = new ExpressionField(`expression-${this.panels.key}`, (text) => this.add(text));
    this.peaks = make("div", { className: "peaks" });
    root.replaceChildren(this.controls(), this.panels.root, this.peaks);
    this.state = stateOf(root);
    this.restore();
    root.addEventListener("change", (event) => this.changed(event));
    onTheme(() => { this.panels.shape = null; if (this.columns) this.draw(); });
    onShown(root, (event) => this.panels.point(0, this.usable?.indexOf(event)));
    if (this.state) onBack(() => { this.restore(); this.load(); });
  }

  controls() {
    this.signals = make("fieldset", { className: "signals" }, make("legend", { textContent: "Signals" }));
    this.timeChoice = labelled("as", this.timeAs);
    return make("div", { className: "controls" },
      labelled("Over", this.x), this.timeChoice, this.signals, this.field.root,
      make("label", {}, this.log, " log scale"));
  }

  // -- what is chosen ----------------------------------------------------------------------------

  /** As the address has it, else as the plan proposes. */
  restore() {
    const own = this.state?.isOwn() ? chosen : () => [];
    const at = (name, otherwise) => own(name)[0] ?? otherwise;
    const x = at("x", this.plan.x ?? "time");
    this.x.value = x === "time" || this.plan.numbers.includes(x) ? x : "time";
    this.timeAs.value = at("time", "iso") === "seconds" ? "seconds" : "iso";
    this.log.checked = at("scale") === "log";
    this.expressions.clear();
    this.field.refuse("");
    for (const text of own("expr").slice(0, MOST_EXPRESSIONS)) this.accept(text);
    const [min, max] = at("zoom", "").split(",").map(Number);
    this.zoom = max > min ? { min, max } : null;
    const signals = own("y").filter((name) => this.plan.numbers.includes(name));
    const nothing = !own("y").length && !this.expressions.size;
    this.offer(nothing ? this.plan.signals.slice(0, DEFAULT_SIGNALS) : signals);
  }

  /** The boxes of signals, these ones ticked. */
  offer(ticked) {
    this.boxes = this.plan.numbers.map((name) => [name, checkbox(ticked.includes(name))]);
    this.signals.replaceChildren(this.signals.firstChild, ...this.boxes.map(([name, box]) => make("label", {}, box, " " + visible(name))));
    for (const text of this.expressions.keys()) {
      const box = checkbox(true);
      box.dataset.expression = text;
      this.signals.append(make("label", { className: "expr" }, box, " " + visible(text)));
    }
  }

  accept(text) {
    try {
      const tree = parse(text);
      check(tree, [...this.plan.numbers, "time"]);
      this.expressions.set(text, tree);
      return true;
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      this.field.refuse(error.message);
      this.field.input.value = text;
      return false;
    }
  }

  add(text) {
    this.field.refuse("");
    if (this.expressions.size >= MOST_EXPRESSIONS) return this.field.refuse(`${MOST_EXPRESSIONS} expressions are drawn; untick one first.`);
    if (!this.accept(text)) return undefined;
    this.field.input.value = "";
    // What it is made of steps aside: the result is what is asked for.
    const parts = fieldsOf(this.expressions.get(text));
    this.offer(this.chosen.filter((name) => !parts.has(name)));
    return this.settle();
  }

  changed(event) {
    if (event.target === this.field.input) return;
    const { expression } = event.target.dataset;
    if (expression) {
      this.expressions.delete(expression);
      this.field.refuse("");
      event.target.parentElement.remove();
    }
    if (event.target === this.x || event.target === this.timeAs) this.zoom = null;
    this.settle();
  }

  /** Draws what is chosen now and puts it into the address. */
  settle() {
    this.remember();
    return this.load();
  }

  remember(silently) {
    const standard = this.plan.signals.slice(0, DEFAULT_SIGNALS).join("\n") === this.chosen.join("\n");
    this.state?.keep({
      x: this.x.value === (this.plan.x ?? "time") ? null : this.x.value,
      y: standard && !this.expressions.size ? null : this.chosen.length ? this.chosen : "",
      expr: [...this.expressions.keys()],
      scale: this.log.checked ? "log" : null,
      time: this.timeAs.value === "seconds" ? "seconds" : null,
      zoom: this.zoom ? `${this.zoom.min},${this.zoom.max}` : null,
    }, silently);
  }

  zoomed(range) {
    this.zoom = range;
    this.root.zoomed = range;
    this.remember(true);
    this.showPeaks();
  }

  get chosen() {
    return this.boxes.filter(([, box]) => box.checked).map(([name]) => name);
  }

  /** The fields that are needed for what is chosen. */
  get wanted() {
    const inside = [...this.expressions.values()].flatMap((tree) => [...fieldsOf(tree)]);
    return [...new Set([...this.chosen, ...inside, this.x.value])].filter((name) => name !== "time" || this.plan.numbers.includes("time"));
  }

  // -- data --------------------------------------------------------------------------------------

  /** Fetches what is not there yet, or everything anew, and draws. */
  async load(anew = false) {
    const { wanted } = this;
    this.timeChoice.hidden = this.x.value !== "time";
    try {
      if (anew || !this.columns || wanted.some((name) => !(columnOf(name) in this.columns))) {
        this.root.dataset.state = "loading";
        this.columns = await fetched(this, () => getTable(this.streamUrl, wanted));
      }
      this.draw();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Events have come: they are added, and what is zoomed into stays so. */
  grow(_, pages) {
    if (grown(this, pages)) this.draw();
  }

  fail(error) {
    this.panels.fail(error.message);
    this.peaks.replaceChildren();
    this.root.dataset.state = "failed";
  }

  column(name) {
    return name === "time" && !this.plan.numbers.includes("time") ? this.columns.time : this.columns[columnOf(name)];
  }

  get overTime() {
    return this.x.value === "time";
  }

  get overClock() {
    return this.overTime && this.timeAs.value === "iso";
  }

  xColumn() {
    const values = this.overTime ? this.columns.time : this.column(this.x.value);
    const first = values.find((value) => value !== null);
    return this.overTime && !this.overClock ? values.map((value) => (value === null ? null : value - first)) : values;
  }

  // -- drawing -----------------------------------------------------------------------------------

  draw() {
    const all = this.xColumn();
    this.usable = all.map((_, at) => at).filter((at) => typeof all[at] === "number");
    const pick = (values) => this.usable.map((at) => values[at]);
    const x = pick(all);
    const fields = this.chosen.map((name) => ({ label: name, unit: this.plan.units[name] ?? "", y: pick(this.column(name)) }));
    const results = [...this.expressions].map(([text, tree]) => ({ label: text, unit: "", own: true, y: this.result(tree, pick, x) }));
    this.curves = [...fields, ...results.filter(({ y }) => y)].map((curve, at) => ({
      ...curve, x, style: styleOf(at), panel: curve.own ? `expression ${curve.label}` : `unit ${curve.unit}`,
    }));
    this.panels.show({
      title: this.root.closest("[data-caption]")?.dataset.caption ?? "",
      x: { label: this.overTime && !this.overClock ? "time since the first point" : this.x.value, time: this.overClock, zone: this.zone,
        unit: this.overTime ? (this.overClock ? "" : "s") : this.plan.units[this.x.value] ?? "" },
      log: this.log.checked,
      curves: this.curves,
    }, this.zoom);
    this.showPeaks();
    this.root.zoomed = this.zoom;
    const series = Object.fromEntries(this.curves.map(({ label, y }) => [label, y]));
    this.root.plotted = { kind: "lines", x, xName: this.x.value, series };
    this.root.dataset.state = "drawn";
  }

  result(tree, pick, x) {
    try {
      return evaluate(tree, (name) => pick(this.column(name)), x);
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      this.field.refuse(error.message);
      return null;
    }
  }

  /** max, com, cen and FWHM of the part that is shown, by the definitions of bluesky's PeakStats. */
  showPeaks() {
    const rows = this.overClock ? [] : this.curves.map((curve) => [curve, peakOf(...this.seen(curve))]).filter(([, peak]) => peak);
    if (!rows.length) return this.peaks.replaceChildren();
    const unit = this.overTime ? "s" : this.plan.units[this.x.value];
    this.peaks.peaks = Object.fromEntries(rows.map(([{ label }, peak]) => [label, peak]));
    const caption = `Peaks over ${visible(this.x.value)}${unit ? ` (${visible(unit)})` : ""}${this.zoom ? ", in the part shown" : ""}`;
    return this.peaks.replaceChildren(peakTable(caption, rows.map(([{ label }, peak]) => [label, peak])));
  }

  /** [x, y] of the points inside of what is shown. */
  seen({ x, y }) {
    const { min, max } = this.zoom ?? { min: -Infinity, max: Infinity };
    const inside = [...x.keys()].filter((i) => x[i] >= min && x[i] <= max && typeof y[i] === "number");
    return [inside.map((i) => x[i]), inside.map((i) => y[i])];
  }
}
