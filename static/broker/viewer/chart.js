// A small curve beside a picture: a profile, or a region over all events.
import uPlot from "uplot";
import { axisStyle, ticked } from "../lines.js";
import { make, number, resolved } from "../dom.js";

const HEIGHT = 150;

export class Chart {
  /** pointed(index): a point was clicked. */
  constructor(title, { pointed = null } = {}) {
    this.pointed = pointed;
    this.title = make("figcaption", { textContent: title });
    this.place = make("div");
    this.place.setAttribute("role", "img");
    this.root = make("figure", { className: "chart", hidden: true }, this.title, this.place);
    new ResizeObserver(() => this.chart?.setSize(this.size())).observe(this.place);
  }

  size() {
    return { width: Math.max(220, this.place.clientWidth), height: HEIGHT };
  }

  hide() {
    this.root.hidden = true;
  }

  /** x ascending; NaN is a gap. marked: the index of a point that is pointed out. */
  show(title, label, x, values, marked = null) {
    this.root.hidden = false;
    this.title.textContent = title;
    this.marked = marked;
    this.place.setAttribute("aria-label", `${title}: ${values.length} values over ${label}`);
    const drawn = [x, Array.from(values, (value) => (Number.isFinite(value) ? value : null))];
    const theme = resolved("--text");
    if (this.chart && this.label === label && this.theme === theme) this.chart.setData(drawn);
    else this.build(label, theme, drawn);
  }

  build(label, theme, drawn) {
    this.chart?.destroy();
    Object.assign(this, { label, theme });
    this.chart = new uPlot({
      ...this.size(),
      scales: { x: { time: false } },
      legend: { show: false },
      cursor: { y: false, drag: { x: !this.pointed } },
      padding: [8, 12, 0, 0],
      axes: [{ ...axisStyle(), label, labelSize: 18, size: 34 }, { ...axisStyle(), ...ticked }],
      series: [{}, { stroke: resolved("--series-1"), width: 1.5, points: { show: (chart) => chart.data[0].length <= 60, size: 5 } }],
      hooks: {
        setCursor: [(chart) => this.tell(chart)],
        draw: [(chart) => this.drawMark(chart)],
        ready: [(chart) => this.pointed && chart.over.addEventListener("click", () => chart.cursor.idx !== null && this.pointed(chart.cursor.idx))],
      },
    }, drawn, this.place);
  }

  /** The point under the cursor, in the title's place. */
  tell({ cursor: { idx, left }, data }) {
    const text = left < 0 || idx === null || idx === undefined ? "" : `${number(data[0][idx])}: ${number(data[1][idx])}`;
    this.title.dataset.point = text;
  }

  drawMark(chart) {
    if (this.marked === null || this.marked < 0) return;
    const { ctx, bbox } = chart;
    const x = Math.round(chart.valToPos(chart.data[0][this.marked], "x", true));
    ctx.save();
    ctx.strokeStyle = resolved("--series-2");
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }
}
