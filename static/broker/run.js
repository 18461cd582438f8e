// The page of one run: plots, pictures and tables of its streams; an open run is kept up to date.
import { copyButtons } from "./dom.js";
import { getJson } from "./data.js";
import { Frames, Spectra } from "./frames.js";
import { Grid } from "./grid.js";
import { Lines } from "./lines.js";
import { EventTable } from "./table.js";
import { searchable } from "./tree.js";
import "./site.js";

const REFRESH = 5000; // ms

class Stream {
  constructor(section, zone) {
    this.section = section;
    const { url, events } = section.dataset;
    this.name = section.dataset.stream;
    this.events = Number(events);
    this.parts = [];
    const place = section.querySelector("[data-plot]");
    if (place) this.plot(place, url, zone);
    for (const element of section.querySelectorAll("[data-viewer]")) {
      const Kind = element.dataset.kind === "line" ? Spectra : Frames;
      this.parts.push(new Kind(element, url, element.dataset.field, this.events));
    }
    this.table(url, zone);
    for (const part of this.parts) if (this.events) this.whenSeen(part);
  }

  plot(place, url, zone) {
    const plan = JSON.parse(this.section.querySelector("script[type='application/json']").textContent);
    this.parts.push(plan.kind === "map" ? new Grid(place, url, plan, zone) : new Lines(place, url, plan, zone));
  }

  table(url, zone) {
    const fold = this.section.querySelector("[data-table]");
    if (!fold) return; // nothing of the stream is in a table
    const fields = JSON.parse(fold.dataset.table);
    let shown = null;
    const show = () => {
      if (!fold.open || shown === this.events) return;
      shown = this.events;
      new EventTable(fold.querySelector("[data-table-body]"), url, fields, this.events, zone).load();
    };
    fold.addEventListener("toggle", show);
    show();
  }

  /** Data is fetched when its place comes into view, not before. */
  whenSeen(part) {
    const watch = new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting) return;
      watch.disconnect();
      part.load();
    }, { rootMargin: "300px" });
    watch.observe(part.root);
  }

  grow(events) {
    if (events === this.events) return;
    this.events = events;
    for (const part of this.parts) part.grow ? part.grow(events) : part.load(true);
  }
}

const run = document.getElementById("run");
const streams = [...run.querySelectorAll("[data-stream]")].map((section) => new Stream(section, run.dataset.zone));
searchable(document.getElementById("metadata"));
copyButtons();

async function refresh() {
  if (document.hidden) return;
  const now = await getJson(run.dataset.url);
  if (now.stop || now.streams.length !== streams.length) {
    location.reload();
    return;
  }
  for (const { name, event_count: count } of now.streams) {
    streams.find((stream) => stream.name === name)?.grow(count);
    for (const element of run.querySelectorAll("[data-count]")) if (element.dataset.count === name) element.textContent = count;
  }
}

if (run.dataset.status === "open") {
  const told = document.getElementById("refreshed");
  setInterval(async () => {
    try {
      await refresh();
      told.textContent = "refreshes by itself";
    } catch (error) {
      told.textContent = `not refreshed: ${error.message}`;
    }
  }, REFRESH);
}
