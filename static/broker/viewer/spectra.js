// A field of one axis over all events, as one picture: a row an event.
import { getArray, getShape } from "../data.js";
import { make, visible } from "../dom.js";
import { Picture } from "../image.js";
import { choose } from "./linking.js";

const MAX_VALUES = 4e6;

export class Spectra {
  constructor(root, streamUrl, field, events) {
    Object.assign(this, { root, streamUrl, field, events });
    const place = make("div");
    root.replaceChildren(root.querySelector("h3"), place);
    this.picture = new Picture(place, {
      upwards: true,
      describe: `${visible(field)} of every event`,
      actions: { pointed: (row) => choose(root, row * this.step) },
    });
  }

  grow(events) {
    this.events = events;
    this.load();
  }

  async load() {
    try {
      const [length] = await getShape(this.streamUrl, this.field, "0");
      const step = Math.max(1, Math.ceil((length * this.events) / MAX_VALUES));
      this.step = step;
      const { shape, values } = await getArray(this.streamUrl, this.field, `::${step}`);
      const [height, width] = shape;
      const rows = Array.from({ length: height }, (_, i) => i * step + 1);
      this.picture.show({ width, height, values, aspect: 2, rows, xName: "channel", yName: "event" });
      this.root.dataset.state = "drawn";
    } catch (error) {
      this.picture.fail(error);
      this.root.dataset.state = "failed";
    }
  }
}
