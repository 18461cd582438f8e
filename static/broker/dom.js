// Small helpers for building pages. Text is always set as text, never as markup.

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** The same of SVG. */
export const svg = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

export const labelled = (text, control) => make("label", {}, text + " ", control);

export function select(options, chosen) {
  const element = make("select");
  for (const [value, text] of options) element.append(make("option", { value, textContent: text, selected: value === chosen }));
  return element;
}

export const checkbox = (checked = false) => make("input", { type: "checkbox", checked });

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A colour as canvases take it: light-dark() resolved for the theme in force. */
export function resolved(name) {
  const probe = make("span", { hidden: true });
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** Calls back when the theme changes, by the button or by the system. */
export function onTheme(callback) {
  document.addEventListener("themechange", callback);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback);
}

/** Marks in a text that are invisible or turn its direction, written out as ‹U+202E›. */
export const visible = (text) =>
  String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (mark) => `‹U+${mark.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`);

export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e9) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(4) : String(+value.toPrecision(6));
}

export function copyButtons(root = document) {
  for (const box of root.querySelectorAll(".snippet-box")) {
    if (box.querySelector("button") || !navigator.clipboard) continue;
    const button = make("button", { type: "button", textContent: "Copy" });
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(box.querySelector("pre").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    box.append(button);
  }
}
