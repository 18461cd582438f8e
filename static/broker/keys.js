// The list by keys: j and k walk, x ticks, p previews, c compares, ? tells of them.
import { getText } from "./fragments.js";
import { keyOf } from "./rows.js";

const rows = () => [...document.querySelectorAll("#results tr[data-uid]")];
const chosen = () => document.querySelector("#results tr.selected");
const pane = document.getElementById("preview");
const browse = document.querySelector(".browse");
const help = document.getElementById("keys");
let asked = 0;

function choose(row) {
  chosen()?.classList.remove("selected");
  if (!row) return;
  row.classList.add("selected");
  row.querySelector("a.what")?.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
  if (!pane.hidden) preview(row);
}

function walk(step) {
  const all = rows();
  const at = all.indexOf(chosen());
  choose(all[at < 0 ? 0 : Math.min(Math.max(at + step, 0), all.length - 1)]);
}

async function preview(row) {
  if (!row?.querySelector("a.what")) return;
  asked += 1;
  const number = asked;
  pane.hidden = false;
  browse.classList.add("previewing");
  pane.setAttribute("aria-busy", "true");
  const text = await getText(`/runs/${keyOf(row)}/preview/`);
  if (number !== asked || pane.hidden) return;
  pane.removeAttribute("aria-busy");
  pane.innerHTML = text;
  pane.querySelector("[data-close-preview]")?.addEventListener("click", close);
}

function close() {
  pane.hidden = true;
  browse.classList.remove("previewing");
  chosen()?.querySelector("a.what")?.focus({ preventScroll: true });
}

const ACTIONS = {
  j: () => walk(1),
  k: () => walk(-1),
  x: () => chosen()?.querySelector("input.pick")?.click(),
  c: () => document.querySelector(".picked-bar a[href]")?.click(),
  p: () => (pane.hidden ? preview(chosen() ?? rows()[0]) : close()),
  "/": () => document.getElementById("f-find").focus(),
  "?": () => help.showModal(),
};

// What is written in the preview is sent without leaving the list.
pane.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { target: form, submitter } = event;
  await fetch(form.action, { method: "POST", body: new FormData(form, submitter), credentials: "same-origin" });
  await preview(chosen());
});

const isTyping = (element) => element.closest("input:not([type=checkbox]), textarea, select, [contenteditable], dialog");

export function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const action = ACTIONS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  document.querySelector("[data-keys]").addEventListener("click", () => help.showModal());
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.thumb");
    if (!button) return;
    const row = button.closest("tr");
    chosen()?.classList.remove("selected");
    row.classList.add("selected");
    preview(row);
  });
}
