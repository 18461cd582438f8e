// The newest page of the list tells of runs that begin, and of those on it that end.
import htmx from "htmx.org";
import { follow } from "./follow.js";
import { offerArchive } from "./archive.js";
import { pickColumns } from "./columns.js";
import { brush } from "./histogram.js";
import { listenToKeys } from "./keys.js";
import { showPictures } from "./pictures.js";

const news = document.getElementById("news");
const begun = new Set();
let close = null;
const shown = () => [...document.querySelectorAll("#results tr[data-uid]")];
const told = ({ uid, start, stop }) => {
  const row = shown().find((one) => one.dataset.uid === uid);
  if (row && stop) {
    const status = { success: "complete", fail: "failed", abort: "aborted" }[stop.exit_status];
    row.className = status ? stop.exit_status : "unknown";
    const chip = row.querySelector(".chip");
    Object.assign(chip, { className: `chip ${row.className}`, textContent: status ?? "ended" });
  }
  // One that is on a later page has ended.
  const oldest = shown().at(-1)?.querySelector("time")?.dateTime;
  if (row || (oldest && start.time < Date.parse(oldest) / 1000)) return;
  begun.add(uid);
  news.hidden = false;
  news.querySelector("span").textContent = begun.size === 1 ? "A new run has begun." : `${begun.size} new runs have begun.`;
};
/** What has changed since the page was made. */
async function catchUp(path, filters) {
  const wanted = [...filters, ["page_size", Math.max(shown().length, 1)], ["fields", "start.time"], ["fields", "stop.exit_status"]];
  const response = await fetch(`${path.replace(/live\/$/, "")}?${new URLSearchParams(wanted)}`);
  if (response.ok) (await response.json()).results.forEach(told);
}
const again = () => {
  close?.();
  begun.clear();
  news.hidden = true;
  const address = document.getElementById("results").querySelector("[data-follow-address]")?.dataset.followAddress;
  if (!address) return;
  const [path, query] = address.split("?");
  const filters = [...new URLSearchParams(query)];
  close = follow(path, filters, { open: () => catchUp(path, filters), run: told });
};
news.querySelector("button").addEventListener("click", () => {
  htmx.ajax("GET", location.href, { target: "#results", select: "#results", swap: "outerHTML" });
});

/** What is wrong is said at the field that it is about, where that is to be seen. */
function placeErrors() {
  const exact = document.getElementById("exact");
  for (const old of exact.querySelectorAll(".error-text")) old.remove();
  for (const field of document.querySelectorAll("#filter-form [name], #exact [name]")) field.removeAttribute("aria-invalid");
  for (const error of document.querySelectorAll("#filter-errors [data-field]")) {
    const field = document.querySelector(`[name="${CSS.escape(error.dataset.field)}"]:not([type=hidden])`);
    field?.setAttribute("aria-invalid", "true");
    if (!field || !exact.contains(field)) continue;
    exact.open = true;
    field.closest(".field")?.append(error.cloneNode(true));
  }
}

const settle = () => {
  placeErrors();
  brush(document.querySelector(".bars"));
  showPictures();
  offerArchive();
  const total = document.querySelector("[data-shown]");
  const rows = shown().length;
  if (total) total.textContent = rows ? `${rows} shown of ` : "";
};
// The filters may have changed since the page came.
document.querySelector(".saved > form")?.addEventListener("submit", () => {
  document.getElementById("saved-query").value = location.search.slice(1);
});
pickColumns(document.querySelector(".results"));
listenToKeys();
document.addEventListener("htmx:after:swap", () => {
  again();
  settle();
});
again();
settle();
