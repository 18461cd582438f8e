// The page of one run: plots, pictures and tables of its streams, followed while it is open.
import "./run_page.css";
import { copyButtons } from "./dom.js";
import { showNeighbours } from "./neighbours.js";
import { Stream } from "./stream.js";
import { searchable } from "./tree.js";
import "./site.js";

const run = document.getElementById("run");
const isOpen = run.dataset.status === "open";
const streams = [...run.querySelectorAll("[data-stream]")].map((section) => new Stream(section, run.dataset.zone, isOpen));
searchable(document.getElementById("metadata"));
copyButtons();
showNeighbours(run.querySelector("[data-neighbours]"));
if (isOpen) import("./live.js").then(({ followRun }) => followRun(run, streams, { changed: addStop }));

/** The stop document, which the metadata get when there is one; what is unfolded there stays so. */
function addStop(fresh) {
  const own = document.getElementById("metadata");
  if (own.querySelector("[data-document='Stop']")) return;
  const stop = fresh.querySelector("[data-document='Stop']");
  if (stop) own.querySelector("[data-document='Start']").after(document.adoptNode(stop));
}
