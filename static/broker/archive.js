// The zip of the runs that are listed, or of those that are ticked: how large it will be is said before.
import { getJson } from "./data.js";
import { copyButtons, make } from "./dom.js";
import { pickedRuns } from "./picked.js";

const UNITS = ["B", "kB", "MB", "GB", "TB"];

function words(bytes) {
  const power = bytes ? Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3)) : 0;
  return `${(bytes / 1000 ** power).toPrecision(2)} ${UNITS[power]}`.replace("e+2", "00");
}

let ticked = pickedRuns();
let asked = 0;

/** Says how many runs and bytes the zip will have; a zip that is too large cannot be asked for. */
async function tell(box) {
  const form = box.querySelector("form");
  const told = box.querySelector("[data-told]");
  const button = form.querySelector("button");
  asked += 1;
  const number = asked;
  const query = new URLSearchParams(new FormData(form));
  if (!query.has("files")) {
    told.textContent = "Choose what to put in.";
    button.disabled = true;
    return;
  }
  told.textContent = "…";
  try {
    const about = await getJson(`${box.dataset.size}?${query}`);
    if (number !== asked) return;
    const many = about.runs > about.most_runs;
    const large = about.bytes > about.most_bytes;
    button.disabled = many || large;
    told.textContent = `${ticked.length ? "ticked: " : ""}${about.runs.toLocaleString("en")} run${about.runs === 1 ? "" : "s"}, ${about.events.toLocaleString("en")} events, about ${words(about.bytes)}`
      + (many ? `; at most ${about.most_runs} runs at once` : large ? `; at most ${words(about.most_bytes)} at once` : "");
  } catch (error) {
    if (number === asked) told.textContent = error.message;
  }
}

/** Of ticked runs the filters do not matter: they may have been ticked on other pages. */
function fill(box) {
  const filters = box.querySelector("#archive-filters");
  filters.dataset.all ??= filters.innerHTML;
  if (ticked.length) filters.replaceChildren(...ticked.map((value) => make("input", { type: "hidden", name: "run", value })));
  else filters.innerHTML = filters.dataset.all;
  if (box.open) tell(box);
}

export function offerArchive() {
  const box = document.getElementById("archive");
  if (!box || box.dataset.ready) return;
  box.dataset.ready = "yes";
  copyButtons(box);
  box.addEventListener("toggle", () => box.open && tell(box));
  box.addEventListener("change", () => tell(box));
  fill(box);
}

document.addEventListener("pickedchange", ({ detail }) => {
  ticked = detail;
  const box = document.getElementById("archive");
  if (box) fill(box);
});
