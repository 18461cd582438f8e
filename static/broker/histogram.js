// Runs over time: several bars are chosen by dragging, or with Shift and the arrow keys.

/** Makes the bars of the page one stop of the Tab key, and a range of them a filter. */
export function brush(bars) {
  if (!bars || bars.dataset.brushed) return;
  bars.dataset.brushed = "yes";
  const links = [...bars.querySelectorAll("a")];
  const told = document.getElementById("brushed");
  let first = null;
  let last = null;

  const choose = (from, to) => {
    [first, last] = [from, to];
    const [low, high] = first === null ? [1, 0] : [Math.min(first, last), Math.max(first, last)];
    links.forEach((link, i) => link.classList.toggle("chosen", i >= low && i <= high));
    told.textContent = low < high ? `${day(links[low].dataset.since)} to ${day(links[high].dataset.until)}` : "";
  };
  const go = () => {
    const [low, high] = [Math.min(first, last), Math.max(first, last)];
    const address = new URL(links[low].href.baseVal, location.href);
    address.searchParams.set("since", links[low].dataset.since);
    address.searchParams.set("until", links[high].dataset.until);
    location.assign(address);
  };
  const at = (event) => {
    const box = bars.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * bars.viewBox.baseVal.width;
    const distances = links.map((link) => Math.abs(middle(link) - x));
    return distances.indexOf(Math.min(...distances));
  };

  links.forEach((link, i) => link.setAttribute("tabindex", i === links.length - 1 ? "0" : "-1"));
  bars.addEventListener("keydown", (event) => {
    const here = links.indexOf(document.activeElement);
    if (here < 0) return;
    if (event.key === "Enter" && first !== null && first !== last) {
      event.preventDefault();
      go();
    }
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: links.length - 1 }[event.key];
    if (to === undefined || !links[to]) return;
    event.preventDefault();
    links[here].setAttribute("tabindex", "-1");
    links[to].setAttribute("tabindex", "0");
    links[to].focus();
    choose(event.shiftKey ? (first ?? here) : to, to);
  });
  bars.addEventListener("dragstart", (event) => event.preventDefault());
  bars.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const from = at(event);
    choose(from, from);
    const drag = new AbortController();
    const end = (ended) => {
      drag.abort();
      if (ended.type !== "pointerup") choose(null, null);
      else if (first !== last) go();
    };
    bars.addEventListener("pointermove", (moved) => choose(from, at(moved)), { signal: drag.signal });
    for (const type of ["pointerup", "pointercancel", "pointerleave"]) bars.addEventListener(type, end, { signal: drag.signal });
  });
  // Of a drag no click is to follow, which would lead to a single bar.
  bars.addEventListener("click", (event) => { if (first !== null && first !== last) event.preventDefault(); });
}

const day = (text) => text.replace("T", " ");
const middle = (link) => {
  const back = link.querySelector(".back");
  return back.x.baseVal.value + back.width.baseVal.value / 2;
};
