// Runs of the list that are ticked, to be compared. They stay ticked while one looks at other pages of it.
import { checkbox, make } from "./dom.js";

const KEY = "picked-runs";
const MOST = 12; // that the page to compare takes
const picked = new Set(read());

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return []; // somebody else's text under this name
  }
}

/** The uids of the ticked runs, in the order they were ticked. */
export const pickedRuns = () => [...picked];

const bar = make("div", { className: "picked-bar", hidden: true });
const told = make("span");
told.setAttribute("role", "status");
const compare = make("a", { className: "button primary", textContent: "Compare" });
const clear = make("button", { type: "button", className: "quiet", textContent: "Untick all" });
bar.append(told, compare, clear);
clear.addEventListener("click", () => {
  picked.clear();
  settle();
});

/** Shows what is ticked and says so to the rest of the page: `pickedchange` of the document. */
function settle() {
  sessionStorage.setItem(KEY, JSON.stringify([...picked]));
  for (const box of document.querySelectorAll("#results input.pick")) box.checked = picked.has(box.value);
  const uids = pickedRuns();
  const few = uids.length < 2;
  const many = uids.length > MOST;
  bar.hidden = !uids.length;
  told.textContent = `${uids.length} run${uids.length === 1 ? "" : "s"} ticked${few ? "; tick one more to compare" : many ? `; at most ${MOST} can be compared` : ""}`;
  compare.toggleAttribute("aria-disabled", few || many);
  if (few || many) compare.removeAttribute("href");
  else compare.href = `/compare/?${new URLSearchParams(uids.map((uid) => ["run", uid]))}`;
  document.dispatchEvent(new CustomEvent("pickedchange", { detail: uids }));
}

function tick({ target }) {
  if (!target.matches?.("input.pick")) return;
  if (target.checked) picked.add(target.value);
  else picked.delete(target.value);
  settle();
}

/** A box in front of each run of the page. */
function addBoxes() {
  for (const row of document.querySelectorAll("#results tr[data-uid]")) {
    const { uid } = row.dataset;
    const what = row.querySelector(".what");
    if (!uid || !what || row.querySelector("input.pick")) continue;
    const box = Object.assign(checkbox(), { className: "pick", value: uid });
    box.setAttribute("aria-label", `Tick ${what.textContent}`);
    what.before(box, " ");
  }
  settle();
}

document.getElementById("results").before(bar);
document.addEventListener("change", tick);
document.addEventListener("htmx:after:swap", addBoxes);
addBoxes();
