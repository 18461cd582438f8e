// The field for an expression; what is wrong with one is said below it.
import { make, visible } from "./dom.js";
import { FUNCTION_NAMES } from "./expression.js";

const HINT = `Names of fields, numbers, + - * / ^ and ${FUNCTION_NAMES.join(", ")}. Press Enter to draw it.`;

export class ExpressionField {
  /** submitted: called with the text when the reader wants it drawn. */
  constructor(id, submitted) {
    this.input = make("input", { type: "text", id, placeholder: "diode / ring_current", title: HINT, spellcheck: false, autocomplete: "off", maxLength: 300 });
    this.input.setAttribute("autocapitalize", "off");
    this.wrong = make("p", { className: "error-text", id: `${id}-error`, hidden: true });
    this.wrong.setAttribute("role", "alert");
    this.root = make("form", { className: "expression" }, make("label", { htmlFor: id, textContent: "Expression" }), this.input,
      make("button", { type: "submit", textContent: "Draw" }), this.wrong);
    this.root.addEventListener("submit", (event) => {
      event.preventDefault();
      submitted(this.input.value.trim());
    });
  }

  /** Says what is wrong; nothing for an empty text. */
  refuse(message) {
    this.wrong.textContent = visible(message);
    this.wrong.hidden = !message;
    this.input.setAttribute("aria-invalid", String(Boolean(message)));
    if (message) this.input.setAttribute("aria-describedby", this.wrong.id);
    else this.input.removeAttribute("aria-describedby");
  }
}
