// What every scripted page does; on the list of runs, filters apply while one types.
import htmx from "htmx.org";
import { follow } from "./follow.js";

// Nothing of a page is kept by the browser beyond its own cache.
htmx.config.history = "reload";

document.documentElement.classList.add("scripted");

for (const button of document.querySelectorAll("[data-toggle]")) {
  const panel = document.getElementById(button.dataset.toggle);
  button.addEventListener("click", () => {
    const shown = panel.classList.toggle("shown");
    button.setAttribute("aria-expanded", String(shown));
  });
}

// Fields that are empty stay out of the address, so that it can be read and shared.
document.addEventListener("htmx:config:request", (event) => {
  const { request } = event.detail.ctx;
  if (!(request.body instanceof FormData)) return;
  for (const [name, value] of [...request.body]) if (value === "") request.body.delete(name);
});

for (const form of document.querySelectorAll("#filter-form, [data-drop-empty]")) {
  form.addEventListener("submit", () => {
    for (const field of form.elements) if (field.value === "") field.disabled = true;
  });
  addEventListener("pageshow", () => {
    for (const field of form.elements) field.disabled = false;
  });
}

document.addEventListener("htmx:error", () => {
  const results = document.getElementById("results");
  const note = Object.assign(document.createElement("div"), {
    className: "note bad",
    textContent: "The server did not answer. What is shown here may be out of date.",
  });
  note.setAttribute("role", "alert");
  if (!results?.querySelector(".note.bad")) results?.prepend(note);
});

// The newest page of the list tells of runs that begin, and of those on it that end.
const list = document.querySelector("[data-follow]");
if (list) {
  const news = document.getElementById("news");
  const begun = new Set();
  let close = null;
  const told = ({ uid, stop }) => {
    const row = document.querySelector(`#results tr[data-uid="${CSS.escape(uid)}"]`);
    if (row && stop) {
      const status = { success: "complete", fail: "failed", abort: "aborted" }[stop.exit_status];
      row.className = status ? stop.exit_status : "unknown";
      const chip = row.querySelector(".chip");
      Object.assign(chip, { className: `chip ${row.className}`, textContent: status ?? "ended" });
    }
    if (row) return;
    begun.add(uid);
    news.hidden = false;
    news.querySelector("span").textContent = begun.size === 1 ? "A new run has begun." : `${begun.size} new runs have begun.`;
  };
  const again = () => {
    close?.();
    begun.clear();
    news.hidden = true;
    const address = document.getElementById("results").querySelector("[data-follow-address]")?.dataset.followAddress;
    if (!address) return;
    const [path, query] = address.split("?");
    close = follow(path, [...new URLSearchParams(query)], { run: told });
  };
  news.querySelector("button").addEventListener("click", () => {
    htmx.ajax("GET", location.href, { target: "#results", select: "#results", swap: "outerHTML" });
  });
  document.addEventListener("htmx:after:swap", again);
  again();
}
