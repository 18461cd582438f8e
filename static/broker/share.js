// The dialog to share a page: its lasting link with what is chosen now, as text and as a QR code.
import { generate } from "lean-qr";
import { toSvgPath } from "lean-qr/extras/svg";
import { svg } from "./dom.js";

const QUIET = 4; // modules around a code, as readers need them

/** The address that shows this page as it is now to whoever may read it. */
function linkOf(dialog) {
  const link = new URL(dialog.dataset.link, location.href);
  for (const [name, value] of new URLSearchParams(location.search)) if (name !== "run") link.searchParams.append(name, value);
  link.hash = location.hash;
  return link.href;
}

export function share(dialog) {
  const link = linkOf(dialog);
  const address = dialog.querySelector("#share-address");
  const status = dialog.querySelector("[role=status]");
  address.value = link;
  status.textContent = "";
  const copy = dialog.querySelector("[data-copy]");
  copy.onclick = async () => {
    try {
      await navigator.clipboard.writeText(link);
      status.textContent = "Copied";
    } catch {
      // Without TLS a browser gives no clipboard: the text is marked to be copied by hand.
      address.select();
      status.textContent = "Marked: copy it with your keyboard";
    }
  };
  const place = dialog.querySelector("[data-qr]");
  place.querySelector("svg, p")?.remove();
  place.prepend(codeOf(link));
  dialog.showModal();
}

/** Black on white in every theme, as readers need it. */
function codeOf(text) {
  let code;
  try {
    code = generate(text);
  } catch {
    return Object.assign(document.createElement("p"), { textContent: "The link is too long for a QR code." });
  }
  const size = code.size + 2 * QUIET;
  return svg("svg", { viewBox: `${-QUIET} ${-QUIET} ${size} ${size}`, class: "qr", role: "img", "aria-label": "QR code of the link", "shape-rendering": "crispEdges" },
    svg("rect", { x: -QUIET, y: -QUIET, width: size, height: size, fill: "#fff" }), svg("path", { d: toSvgPath(code), fill: "#000" }));
}
