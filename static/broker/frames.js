// Arrays in a picture: detector frames one at a time, or a field of one axis over all events.
import { isChosenImage } from "./address.js";
import { make, visible } from "./dom.js";
import { lazily } from "./lazily.js";
import "./viewer.css";

const viewer = (name) => () => import("./viewer/index.js").then((module) => module[name]);
let made = 0;

export const Spectra = lazily(viewer("Spectra"));

/** Until a frame comes into view, it is remembered which event's point was clicked, and told where its frame is. */
export class Frames extends lazily(viewer("Frames")) {
  constructor(root, streamUrl, field, ...rest) {
    super(root, streamUrl, field, ...rest);
    this.field = field;
    root.id ||= `frames-${made += 1}`;
    if (isChosenImage(root, field)) root.scrollIntoView();
    const section = root.closest("[data-stream]");
    section?.addEventListener("event-chosen", ({ detail }) => this.lead(section, detail.event));
  }

  begin(Kind) {
    const frames = super.begin(Kind);
    if (this.chosen !== undefined) frames.frame.to(this.chosen + 1);
    return frames;
  }

  /** Below the plot, a way to the frame of the point that was clicked. */
  lead(section, event) {
    this.chosen = event;
    const plot = section.querySelector("[data-plot]");
    if (!plot) return;
    this.link ??= make("a", { href: `#${this.root.id}` });
    this.link.textContent = `Frame of event ${event + 1}: ${visible(this.field)} ↓`;
    if (this.link.isConnected) return;
    const place = plot.nextElementSibling?.matches(".to-frames") ? plot.nextElementSibling : make("p", { className: "row to-frames" });
    place.setAttribute("role", "status");
    plot.after(place);
    place.append(this.link);
  }
}
