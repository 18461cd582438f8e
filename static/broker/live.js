// An open run on a page: what comes is added to what is shown, and nothing that was chosen is lost.
import { follow, Progress } from "./follow.js";
import { Stream } from "./stream.js";

/**
 * run: the element of the run. streams: those shown now, to which new ones are added. Gives a function that
 * ends it. on.one: only the first of the streams. on.changed is called when
 * parts of the page were replaced, on.ended at the end of the run.
 */
export function followRun(run, streams, on = {}) {
  const told = run.querySelector("#refreshed");
  const place = run.querySelector("#progress");
  const progress = place && new Progress(place, run.dataset.zone);
  const names = {};
  const say = (text) => { if (told) told.textContent = text; };
  const named = (name) => streams.find((stream) => stream.name === name);

  /** The page as the service would show it now; its streams that are not here yet are added. */
  async function renew(parts) {
    const response = await fetch(run.dataset.page ?? location.pathname, { credentials: "same-origin" });
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("run");
    for (const selector of parts) {
      const [old, now] = [run.querySelector(selector), fresh.querySelector(selector)];
      if (old && now) old.replaceWith(document.adoptNode(now));
    }
    addStreams(fresh);
    on.changed?.(fresh);
  }

  function addStreams(fresh) {
    let last = run.querySelector(".jump") ?? run.querySelector(".facts")?.parentElement;
    const sections = [...fresh.querySelectorAll("[data-stream]")];
    for (const section of on.one ? sections.slice(0, 1) : sections) {
      const known = named(section.dataset.stream);
      if (!known) {
        last.after(document.adoptNode(section));
        streams.push(new Stream(section, run.dataset.zone, true));
      }
      last = (known ?? named(section.dataset.stream)).section;
    }
    if (streams.length) run.querySelector("section.empty")?.remove();
  }

  let renewing = null;
  const renewed = (parts) => {
    renewing ??= renew(parts).catch((error) => say(`not refreshed: ${error.message}`)).finally(() => { renewing = null; });
    return renewing;
  };

  function count(stream) {
    for (const element of run.querySelectorAll("[data-count]")) {
      if (element.dataset.count === stream.name) element.textContent = stream.events;
    }
  }

  return follow(`${run.dataset.url}documents/`, [["from", "now"]], {
    open: () => {
      say("live");
      for (const stream of streams) stream.again();
    },
    descriptor: ({ uid, name }) => {
      names[uid] = name || "primary";
      if (!named(names[uid])) renewed([".jump"]);
    },
    event_page: (page) => {
      const stream = named(names[page.descriptor]);
      if (!stream) return; // its section is being fetched, and shows them
      stream.add(page);
      count(stream);
      if (stream === streams[0]) progress?.add(stream.events, page.time);
    },
    stream_datum: ({ descriptor, seq_nums }) => {
      // A stream may have no events: its frames are counted by these alone.
      const stream = named(names[descriptor]);
      if (!stream) return;
      stream.reach(seq_nums.stop - 1);
      count(stream);
    },
    stop: () => {},
    end: async () => {
      progress?.end();
      run.dataset.status = "ended";
      told?.remove();
      if (renewing) await renewing;
      await renewed(["#status", ".sentence", ".facts", "#downloads", ".jump"]);
      for (const stream of streams) stream.isOpen = false;
      on.ended?.();
    },
    gone: () => say("You may not read this run any more."),
    lost: () => say("not refreshed: the server does not answer"),
  });
}
