// What a part of a page shows while its data are fetched, and when they did not come.
import { make } from "./dom.js";

/** Grey bars where data will be. */
export function loading(what, bars = 5) {
  const place = make("div", { className: "skeleton" }, make("span", { className: "sr-only", textContent: `Loading ${what} …` }));
  place.setAttribute("role", "status");
  for (let i = 0; i < bars; i += 1) place.append(make("i"));
  return place;
}

/** What went wrong, and a button that tries once more. */
export function failed(error, again) {
  const button = make("button", { type: "button", textContent: "Try again" });
  button.addEventListener("click", again);
  const note = make("div", { className: "failed" }, make("p", { className: "plot-note", textContent: error.message }), button);
  note.setAttribute("role", "alert");
  return note;
}

/** A button below a part of the page while its data-state is "failed". */
export function offerRetry(root, again) {
  const button = make("button", { type: "button", textContent: "Try again", hidden: true });
  button.addEventListener("click", () => {
    button.hidden = true;
    again();
  });
  root.after(button);
  new MutationObserver(() => { button.hidden = root.dataset.state !== "failed"; }).observe(root, { attributeFilter: ["data-state"] });
}
