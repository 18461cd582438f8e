// The newest run of a beamline, and then the next one, on a screen of its own.
import { getJson } from "./data.js";
import { follow } from "./follow.js";
import { followRun } from "./live.js";
import { Stream } from "./stream.js";
import "./site.js";

const wall = document.getElementById("newest");
const place = document.getElementById("place");
const waiting = document.getElementById("waiting");
const { beamline, runs, live, pages } = wall.dataset;
let shown = null;
let close = null;

/** Of the run's page, what is to be seen from afar: its name, how far it is, and its main stream. */
async function show(uid) {
  if (uid === shown) return;
  shown = uid;
  const page = `${pages}${encodeURIComponent(uid)}/`;
  const response = await fetch(page, { credentials: "same-origin" });
  if (!response.ok || shown !== uid) return;
  const run = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("run");
  const [, ...others] = run.querySelectorAll("[data-stream]");
  for (const part of [...others, ...run.querySelectorAll("#downloads, #metadata, #programs, .jump, .neighbours")]) part.remove();
  run.querySelector("h1").replaceWith(title(run.querySelector("h1").textContent, page));
  close?.();
  place.replaceChildren(document.adoptNode(run));
  run.dataset.page = page;
  waiting.textContent = "";
  const isOpen = run.dataset.status === "open";
  const streams = [...run.querySelectorAll("[data-stream]")].map((section) => new Stream(section, run.dataset.zone, isOpen));
  close = isOpen ? followRun(run, streams, { one: true, ended: waitForNext }) : null;
  if (!isOpen) waitForNext();
}

function title(text, page) {
  const heading = document.createElement("h2");
  const link = Object.assign(document.createElement("a"), { href: page, textContent: text });
  heading.append(link);
  return heading;
}

function waitForNext() {
  waiting.textContent = "This run has ended; the next one comes here when it begins.";
}

async function newest() {
  const { results } = await getJson(`${runs}?${new URLSearchParams({ beamline, page_size: 1 })}`);
  if (results.length) await show(results[0].uid);
}

document.getElementById("full-screen").addEventListener("click", () => wall.requestFullscreen());
follow(live, [["beamline", beamline]], {
  open: newest,
  run: ({ uid, stop }) => { if (!stop) show(uid); },
  lost: () => { waiting.textContent = "The server does not answer."; },
});
