// A region of a picture: its bounds as numbers, and what its values come to.
import { labelled, make, number } from "../dom.js";
import { isShown } from "./scale.js";

export const STATISTICS = ["sum", "mean", "max", "min"];

/** {sum, mean, max, min, count} of the values shown of a layer's cells. */
export function statisticsOf(layer, { columns, rows }, above) {
  let [sum, max, min, count] = [0, -Infinity, Infinity, 0];
  for (let row = rows[0]; row < rows[1]; row++) {
    for (let column = columns[0]; column < columns[1]; column++) {
      const value = layer.at(row, column);
      if (!isShown(value, above)) continue;
      sum += value;
      count += 1;
      if (value > max) max = value;
      if (value < min) min = value;
    }
  }
  return count ? { sum, mean: sum / count, max, min, count } : { sum: NaN, mean: NaN, max: NaN, min: NaN, count };
}

export class RegionFields {
  /** changed(cells): {columns: [first, behind the last], rows: the same}, or null for none. */
  constructor(changed) {
    const field = (name) => make("input", { type: "number", min: 0, step: 1, ariaLabel: name });
    this.fields = ["First column", "Behind the last column", "First row", "Behind the last row"].map(field);
    const [left, right, top, bottom] = this.fields;
    const clear = make("button", { type: "button", textContent: "Clear", className: "quiet" });
    clear.addEventListener("click", () => changed(null));
    for (const input of this.fields) input.addEventListener("change", () => this.cells && changed(this.cells));
    this.told = make("dl", { className: "statistics" });
    const status = make("div", {}, this.told);
    status.setAttribute("role", "status");
    this.root = make("fieldset", { className: "region" }, make("legend", { textContent: "Region" }),
      make("div", { className: "row" }, labelled("columns", left), ":", right, labelled("rows", top), ":", bottom, clear), status);
  }

  get cells() {
    const [left, right, top, bottom] = this.fields.map((input) => (input.value === "" ? NaN : Math.round(Number(input.value))));
    return left < right && top < bottom ? { columns: [left, right], rows: [top, bottom] } : null;
  }

  show(cells) {
    const values = cells ? [...cells.columns, ...cells.rows] : ["", "", "", ""];
    this.fields.forEach((input, i) => { input.value = values[i]; });
    this.told.hidden = !cells;
  }

  tell(statistics, unit = "values") {
    const entry = (name, text) => make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: text }));
    const counted = statistics.count === undefined ? [] : [entry("of", `${statistics.count} ${unit}`)];
    this.told.replaceChildren(...STATISTICS.map((name) => entry(name, number(statistics[name]))), ...counted);
  }

  refuse(text) {
    this.told.replaceChildren(make("div", {}, make("dt", { textContent: "not measured" }), make("dd", { textContent: text })));
  }
}
