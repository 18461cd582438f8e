// The newest page of the list tells of runs that begin, and of those on it that end.
import htmx from "htmx.org";
import { follow } from "./follow.js";

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
