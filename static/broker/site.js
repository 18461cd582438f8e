// What every scripted page does; on the list of runs, filters apply while one types.
import htmx from "htmx.org";

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
  const filled = new FormData();
  for (const [name, value] of request.body) if (value !== "") filled.append(name, value);
  request.body = filled;
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

for (const button of document.querySelectorAll("[data-share]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const { share } = await import("./share.js");
    share(document.getElementById("share"));
  });
}

if (document.getElementById("results")) import("./picked.js");
if (document.querySelector("[data-follow]")) import("./list.js");
