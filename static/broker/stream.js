// One stream on a page: its plot, its pictures and its table, which grow while the run is taken.
import { BeforeAfter } from "./baseline.js";
import { Frames, Spectra } from "./frames.js";
import { Grid } from "./grid.js";
import { Lines } from "./lines.js";
import { offerRetry } from "./retry.js";
import { EventTable } from "./table.js";

const REDRAW = 400; // ms, at the most so often
const SOON = 30; // ms, after which what came behind a pause is drawn, together with what came with it

export class Stream {
  constructor(section, zone, isOpen) {
    Object.assign(this, { section, zone, isOpen });
    const { url, events } = section.dataset;
    this.name = section.dataset.stream;
    this.events = Number(events);
    this.parts = [];
    this.news = [];
    this.drawn = -REDRAW;
    const place = section.querySelector("[data-plot]");
    if (place) this.plot(place, url);
    for (const element of section.querySelectorAll("[data-viewer]")) {
      const Kind = element.dataset.kind === "line" ? Spectra : Frames;
      this.parts.push(new Kind(element, url, element.dataset.field, this.events, isOpen));
    }
    this.table(url);
    for (const part of this.parts) if (this.events) this.whenSeen(part);
    for (const part of this.parts) if (part !== this.shown) offerRetry(part.root, () => this.load(part, true));
  }

  plot(place, url) {
    const plan = JSON.parse(this.section.querySelector("script[type='application/json']").textContent);
    this.parts.push(plan.kind === "map" ? new Grid(place, url, plan, this.zone) : new Lines(place, url, plan, this.zone));
  }

  table(url) {
    const fold = this.section.querySelector("[data-table]");
    if (!fold) return; // nothing of the stream is in a table
    const fields = JSON.parse(fold.dataset.table);
    const show = () => {
      if (!fold.open || this.shown) return;
      const [place, units] = [fold.querySelector("[data-table-body]"), JSON.parse(this.section.dataset.units)];
      this.shown = "aside" in this.section.dataset
        ? new BeforeAfter(place, url, fields, this.events, units)
        : new EventTable(place, url, fields, this.events, this.zone, units);
      this.shown.load();
      this.parts.push(this.shown);
    };
    fold.addEventListener("toggle", show);
    show();
  }

  /** Data is fetched when its place comes into view, not before. */
  whenSeen(part) {
    if (part === this.shown) return; // it was fetched when it was opened
    const watch = new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting) return;
      watch.disconnect();
      this.load(part);
    }, { rootMargin: "300px" });
    watch.observe(part.root);
  }

  load(part, anew = false) {
    part.asked = true;
    part.load(anew);
  }

  /** What was fetched before the run was followed may lack what came in between. */
  again() {
    for (const part of this.parts) if (part.asked || part === this.shown) this.load(part, true);
  }

  /** Events have come, as an event_page. They are drawn soon, with others that come until then. */
  add(page) {
    this.news.push(page);
    this.reach(Math.max(...page.seq_num));
  }

  /** There are so many rows now. */
  reach(events) {
    const first = !this.events;
    this.events = Math.max(this.events, events);
    if (first) for (const part of this.parts) this.whenSeen(part);
    this.waiting ??= setTimeout(() => {
      this.waiting = null;
      this.drawn = performance.now();
      const news = this.news.splice(0);
      for (const part of this.parts) if (part.asked || part === this.shown) part.grow(this.events, news);
    }, Math.max(SOON, this.drawn + REDRAW - performance.now()));
  }
}
