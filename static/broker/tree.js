// Search in the metadata: opens what matches, hides what does not.

export function searchable(section) {
  const box = section.querySelector("[data-tree-search]");
  const input = box.querySelector("input");
  const told = box.querySelector("[role=status]");
  const folds = [...section.querySelectorAll("details")].map((fold) => [fold, fold.open]);
  box.hidden = false;

  function find() {
    const wanted = input.value.trim().toLowerCase();
    section.querySelector(".human").hidden = Boolean(wanted); // it is in the documents, too
    const items = [...section.querySelectorAll(".tree li")];
    for (const item of items) item.hidden = Boolean(wanted);
    let hits = 0;
    for (const item of wanted ? items : []) {
      if (!own(item).includes(wanted)) continue;
      hits += 1;
      for (const inside of item.querySelectorAll("li")) inside.hidden = false;
      for (let place = item; place !== section; place = place.parentElement) if (place.matches("li")) place.hidden = false;
    }
    for (const [fold, open] of folds) fold.open = wanted ? Boolean(fold.querySelector("li:not([hidden])")) : open;
    told.textContent = wanted ? `${hits} found` : "";
  }

  input.addEventListener("input", find);
}

/** The text of an item without that of the items inside of it. */
function own(item) {
  const inner = item.querySelector(":scope > details > ul");
  const text = inner ? item.querySelector(":scope > details > summary").textContent : item.textContent;
  return text.toLowerCase();
}
