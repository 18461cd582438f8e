// Curves: signals over a motor or over time. `root.plotted` tells what is drawn: {x, series: {name: values}}.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { append, columnOf, fetched, getTable } from "./data.js";
import { checkbox, labelled, make, number, onTheme, resolved, select, visible } from "./dom.js";

const SERIES = ["--series-1", "--series-2", "--series-3", "--series-4", "--series-5", "--series-6"];
const POINTS_BELOW = 300;

export function axisStyle() {
  return { stroke: resolved("--dim"), grid: { stroke: resolved("--line"), width: 1 }, ticks: { stroke: resolved("--line"), width: 1 } };
}

/** A path through the points in the order they were recorded, broken where there is no value. */
const recorded = (x, y) => (chart) => {
  const stroke = new Path2D();
  y.forEach((value, i) => {
    if (value === null) return;
    const to = [chart.valToPos(x[i], "x", true), chart.valToPos(value, "y", true)];
    if (i && y[i - 1] !== null) stroke.lineTo(...to);
    else stroke.moveTo(...to);
  });
  return { stroke };
};

/** As wide as the longest number on it. */
export const ticked = {
  values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick))),
  size: (_, texts) => 22 + 7 * Math.max(3, ...(texts ?? []).map((text) => text.length)),
};

export class Lines {
  constructor(root, streamUrl, plan, zone) {
    Object.assign(this, { root, streamUrl, plan, zone });
    this.x = select([["time", "time"], ...plan.numbers.map((name) => [name, visible(name)])], plan.x ?? "time");
    this.log = checkbox();
    this.boxes = plan.numbers.map((name) => [name, checkbox(plan.signals.slice(0, 3).includes(name))]);
    const reset = make("button", { type: "button", textContent: "Whole range" });
    reset.addEventListener("click", () => this.draw());
    const signals = make("fieldset", { className: "signals" }, make("legend", { textContent: "Signals" }));
    for (const [name, box] of this.boxes) signals.append(make("label", {}, box, " " + visible(name)));
    this.place = make("div", { className: "plot" });
    this.place.setAttribute("role", "img");
    this.place.setAttribute("aria-label", "Plot, not drawn yet");
    root.replaceChildren(
      make("div", { className: "controls" }, labelled("Over", this.x), signals, make("label", {}, this.log, " log scale"), reset),
      this.place,
      make("p", { className: "help", textContent: "Drag to zoom, double-click for the whole range. The values are also in the table below." }),
    );
    root.addEventListener("change", () => this.load());
    onTheme(() => this.columns && this.draw(true));
    new ResizeObserver(() => this.chart?.setSize(this.size())).observe(this.place);
  }

  size() {
    const height = this.root.closest(".wall") ? Math.max(280, innerHeight * 0.55) : innerWidth < 640 ? 280 : 360;
    return { width: Math.max(280, this.place.clientWidth), height };
  }

  get chosen() {
    return this.boxes.filter(([, box]) => box.checked).map(([name]) => name);
  }

  /** Fetches what is not there yet, or everything anew, and draws. */
  async load(anew = false) {
    const wanted = new Set([...this.chosen, this.x.value].filter((name) => name !== "time"));
    try {
      if (anew || !this.columns || [...wanted].some((name) => !(columnOf(name) in this.columns))) {
        this.columns = await fetched(this, () => getTable(this.streamUrl, [...wanted]));
      }
      this.draw(anew);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Events have come: they are added, and what is zoomed into stays so. */
  grow(_, pages) {
    this.late?.push(...pages);
    if (!this.columns) return;
    append(this.columns, pages);
    this.draw(true);
  }

  fail(error) {
    this.chart?.destroy();
    this.chart = null;
    this.place.replaceChildren(make("p", { className: "plot-note", textContent: error.message }));
    this.place.setAttribute("aria-label", error.message);
    this.root.dataset.state = "failed";
  }

  column(name) {
    return name === "time" ? this.columns.time : this.columns[columnOf(name)];
  }

  /** The part of x that is zoomed into, null for the whole range. */
  get zoomed() {
    const x = this.root.plotted?.x;
    if (!this.chart || !x?.length) return null;
    const { min, max } = this.chart.scales.x;
    const [first, last] = x.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    return min > first || max < last ? { min, max } : null;
  }

  draw(keepsZoom = false) {
    const zoomed = keepsZoom ? this.zoomed : null;
    const names = this.chosen;
    const x = this.column(this.x.value);
    const usable = x.map((value, at) => at).filter((at) => x[at] !== null);
    const pick = (values) => usable.map((at) => values[at]);
    const series = Object.fromEntries(names.map((name) => [name, pick(this.column(name))]));
    this.show(pick(x), series);
    if (zoomed) this.chart.setScale("x", zoomed);
    this.root.zoomed = zoomed;
    this.root.plotted = { kind: "lines", x: pick(x), xName: this.x.value, series };
    this.root.dataset.state = "drawn";
  }

  show(x, series) {
    this.chart?.destroy();
    this.place.replaceChildren();
    const names = Object.keys(series);
    const drawn = names.map((name) => (this.log.checked ? series[name].map((v) => (v > 0 ? v : null)) : series[name]));
    // A scan may go down, or to and fro; uPlot finds the point under the cursor among ascending x only.
    const order = x.map((_, i) => i).sort((a, b) => x[a] - x[b]);
    const ascending = order.every((i, n) => i === n);
    const sorted = (values) => order.map((i) => values[i]);
    const unit = (name) => (this.plan.units[name] ? ` (${visible(this.plan.units[name])})` : "");
    const time = this.x.value === "time";
    const one = names.length === 1 ? visible(names[0]) + unit(names[0]) : "";
    this.chart = new uPlot({
      ...this.size(),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), this.zone),
      scales: { x: { time }, y: { distr: this.log.checked ? 3 : 1 } },
      axes: [
        { ...axisStyle(), label: time ? null : visible(this.x.value) + unit(this.x.value) },
        { ...axisStyle(), ...ticked, label: one },
      ],
      series: [
        { label: visible(this.x.value), ...(time ? {} : { value: (_, value) => number(value) }) },
        ...names.map((name, at) => ({
          label: visible(name) + unit(name),
          stroke: resolved(SERIES[at % SERIES.length]),
          width: 1.5,
          dash: at >= SERIES.length ? [6, 4] : undefined,
          paths: ascending ? undefined : recorded(x, drawn[at]),
          points: { show: x.length <= POINTS_BELOW, size: 5 },
          value: (_, value) => number(value),
        })),
      ],
    }, [x, ...drawn].map(sorted), this.place);
    this.place.setAttribute("aria-label", `${names.map(visible).join(", ")} over ${visible(this.x.value)}, ${x.length} points`);
  }
}
