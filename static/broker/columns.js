// Which columns of the list are shown: remembered by this browser.

const KEY = "runs.columns.hidden";

function stored() {
  try {
    return new Set(JSON.parse(localStorage.getItem(KEY) ?? "[]"));
  } catch {
    return new Set(); // not ours, or storage is switched off
  }
}

export function pickColumns(results) {
  const hidden = stored();
  for (const box of document.querySelectorAll("[data-column]")) {
    const name = box.dataset.column;
    const show = () => results.classList.toggle(`hide-${name}`, !box.checked);
    box.checked = !hidden.has(name);
    show();
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(name);
      else hidden.add(name);
      show();
      try {
        localStorage.setItem(KEY, JSON.stringify([...hidden]));
      } catch {
        // Without storage it holds for this page.
      }
    });
  }
}
