// What was recorded before and after a run, side by side: what differs comes first.
import { fetched, fieldOf, getTable, grown } from "./data.js";
import { make, number, visible } from "./dom.js";
import { failed, loading } from "./retry.js";

const OWN = new Set(["seq_num", "time"]); // the table's own columns

export class BeforeAfter {
  constructor(root, streamUrl, fields, events, units) {
    Object.assign(this, { root, streamUrl, fields, events, units });
  }

  async load() {
    this.root.replaceChildren(loading("what was recorded before and after"));
    try {
      this.columns = await fetched(this, () => getTable(this.streamUrl, this.fields));
      this.draw();
    } catch (error) {
      this.root.replaceChildren(failed(error, () => this.load()));
    }
  }

  grow(events, pages) {
    this.events = events;
    if (grown(this, pages)) this.draw();
  }

  draw() {
    const last = this.columns.time.length - 1;
    const rows = Object.keys(this.columns)
      .filter((name) => !OWN.has(name))
      .map((name) => ({ name, before: this.columns[name][0], after: last > 0 ? this.columns[name][last] : undefined }));
    const changed = rows.filter((row) => row.after !== undefined && !same(row.before, row.after));
    const rest = rows.filter((row) => !changed.includes(row));
    changed.sort((a, b) => change(b) - change(a));
    const parts = [];
    if (last < 1) parts.push(make("p", { className: "dim", textContent: "Nothing was recorded after the run so far." }));
    else if (!changed.length) parts.push(make("p", { className: "dim", textContent: "Nothing differs between before and after." }));
    if (changed.length) parts.push(this.table(changed, "What differs"));
    if (rest.length && last < 1) parts.push(this.table(rest, "Before"));
    else if (rest.length) {
      const fold = make("details", {}, make("summary", { textContent: `${rest.length} without a difference` }), this.table(rest, "What does not differ"));
      parts.push(fold);
    }
    this.root.replaceChildren(...parts);
    this.root.compared = { changed, same: rest };
  }

  table(rows, label) {
    const heads = ["Field", "Before", "After", "Difference"].map((text, i) => make("th", { scope: "col", className: i ? "num" : "", textContent: text }));
    const body = make("tbody", {}, ...rows.map((row) => this.row(row)));
    const scroll = make("div", { className: "scroll", tabIndex: 0 }, make("table", { className: "compared" }, make("thead", {}, make("tr", {}, ...heads)), body));
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", label);
    return scroll;
  }

  row({ name, before, after }) {
    const unit = this.units[fieldOf(name)] ? make("span", { className: "dim", textContent: ` ${visible(this.units[fieldOf(name)])}` }) : "";
    const cells = [text(before), text(after), difference(before, after)];
    const head = make("th", { scope: "row", className: "mono" }, make("bdi", { textContent: visible(name) }), unit);
    return make("tr", {}, head, ...cells.map((content) => make("td", { className: "num" }, make("bdi", { textContent: content }))));
  }
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

const text = (value) => {
  if (value === undefined) return "";
  if (Array.isArray(value)) return `${value.length} values`;
  return typeof value === "string" ? visible(value) : number(value);
};

const numbers = (a, b) => typeof a === "number" && typeof b === "number";

function difference(before, after) {
  if (!numbers(before, after) || before === after) return "";
  return (after > before ? "+" : "−") + number(Math.abs(+(after - before).toPrecision(6)));
}

/** How much a value changed, relative to its size; a text that changed comes before all numbers. */
function change({ before, after }) {
  if (!numbers(before, after)) return Infinity;
  return Math.abs(after - before) / (Math.max(Math.abs(before), Math.abs(after)) || 1);
}
