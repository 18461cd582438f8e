// Tokens on the account page, made and revoked through the API.
import { copyButtons, make } from "./dom.js";
import "./site.js";

const section = document.getElementById("tokens");
const form = section.querySelector("[data-token-form]");
const list = section.querySelector("[data-tokens]");
const made = section.querySelector("[data-made]");
const failed = section.querySelector("[data-failed]");
const csrf = form.elements.csrfmiddlewaretoken.value;
const DAY = 86400;

async function call(url, method = "GET", body = undefined) {
  const response = await fetch(url, {
    method,
    headers: { Accept: "application/json", "Content-Type": "application/json", "X-CSRFToken": csrf },
    body: body && JSON.stringify(body),
  });
  const answer = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}

/** Does something and shows what goes wrong. */
async function attempt(action) {
  failed.hidden = true;
  try {
    await action();
  } catch (error) {
    failed.textContent = error.message;
    failed.hidden = false;
  }
}

const day = (time) => (time ? time.slice(0, 10) : "never");

function row(token) {
  const limits = [token.proposals, token.catalogs, token.allowed_ips].flatMap((limit) => limit ?? []);
  const revoke = make("button", { type: "button", className: "danger", textContent: "Revoke" });
  revoke.setAttribute("aria-label", `Revoke ${token.name}`);
  revoke.addEventListener("click", () => attempt(async () => {
    await call(`${section.dataset.url}${token.id}/`, "DELETE");
    await show();
  }));
  const cells = [token.name, token.scopes.join(", "), limits.join(", ") || "–", day(token.last_used), day(token.expires)];
  return make("tr", {}, ...cells.map((text) => make("td", { textContent: text })), make("td", { className: "num" }, revoke));
}

async function show() {
  const answer = await call(section.dataset.url);
  const tokens = answer.results ?? answer;
  const none = make("tr", {}, make("td", { colSpan: 6, className: "dim", textContent: "You have none." }));
  list.replaceChildren(...(tokens.length ? tokens.map(row) : [none]));
}

const several = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const given = new FormData(form);
    const body = { name: given.get("name"), scopes: given.getAll("scopes"), expires_in: Number(given.get("days")) * DAY };
    for (const limit of ["proposals", "catalogs", "allowed_ips"]) {
      const values = several(given.get(limit));
      if (values.length) body[limit] = values;
    }
    const { token } = await call(section.dataset.url, "POST", body);
    made.querySelector("pre").textContent = token;
    made.hidden = false;
    form.reset();
    form.closest("details").open = false;
    await show();
  });
});

copyButtons();
attempt(show);
