// Parts of a page whose code is fetched when they come into view, as their data are.
import { make } from "./dom.js";

/** A class that stands for one of a module until it is loaded: `load` and `grow` are passed on. */
export function lazily(fetchClass) {
  return class {
    constructor(root, ...rest) {
      Object.assign(this, { root, rest, part: null });
      const note = root.querySelector(".plot-note");
      if (note) note.textContent = "Loading …";
    }

    async load(anew) {
      try {
        this.loading ??= fetchClass();
        const Kind = await this.loading;
        this.part ??= this.begin(Kind);
      } catch {
        this.loading = null;
        this.root.append(make("p", { className: "plot-note", textContent: "This part of the page did not load. Reload the page to try again." }));
        this.root.dataset.state = "failed";
        return;
      }
      await this.part.load(anew);
    }

    begin(Kind) {
      const part = new Kind(this.root, ...this.rest);
      if (this.events) part.grow(this.events, []);
      return part;
    }

    /** Events have come; until the code is there, they are among what it will fetch. */
    grow(events, pages) {
      this.events = events;
      this.part?.grow(events, pages);
    }
  };
}
