// What is chosen on a page, kept in its address: back, forward and copied links show the same again.
// The service knows the names that a page takes (headers/view_state.py).

const listeners = new Set();

/** The values of a name in the address: a list, empty where it is not there. */
export const chosen = (name) => new URLSearchParams(location.search).getAll(name);

/**
 * Puts names into the address; null or an empty list takes one out. A deliberate choice is a step that
 * `back` undoes; with `silently` the address is changed without one.
 */
export function choose(changes, silently = false) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const one of value === null ? [] : [value].flat()) query.append(name, one);
  }
  const text = query.toString();
  const address = location.pathname + (text && `?${text}`) + location.hash;
  if (address === location.pathname + location.search + location.hash) return;
  if (silently) history.replaceState(history.state, "", address);
  else history.pushState(null, "", address);
}

/** Calls back when the reader went back or forward. */
export function onBack(callback) {
  listeners.add(callback);
}

addEventListener("popstate", () => { for (const callback of listeners) callback(); });

const STATE = ["x", "y", "expr", "scale", "time", "zoom"];

/** The part of the page that shows the stream of this element; null on a page that keeps nothing in its address. */
const sectionOf = (root) => (root.closest(".wall") ? null : root.closest("#run [data-stream]"));

/** The stream of this element, where the page keeps in its address what is chosen; else null. */
export const streamOf = (root) => sectionOf(root)?.dataset.stream ?? null;

/** Whether the frames of this field are those that the address is about. */
export function isChosenImage(root, field) {
  const [stream, name] = chosen("image");
  return stream !== undefined && stream === streamOf(root) && name === field;
}

/** The part of the address that is about this plot's stream; null on a page that keeps nothing there. */
export function stateOf(root) {
  const section = sectionOf(root);
  if (!section) return null;
  const { stream } = section.dataset;
  const isFirst = document.querySelector("[data-stream]") === section;
  const isOwn = () => (chosen("stream")[0] ?? (isFirst ? stream : null)) === stream;
  const keep = (values, silently) => {
    const others = isOwn() ? {} : Object.fromEntries(STATE.map((name) => [name, null]));
    choose({ ...others, ...values, stream: isFirst ? null : stream }, silently);
  };
  return { isOwn, keep };
}
