// What is new, as server-sent events. Browsers connect anew by themselves, behind the last event they had.

/**
 * Follows an address of live events: `on` has a function for each kind of event, called with its content, and
 * may have `open` (connected for the first time) and `lost` (there will be no more, with the reason).
 * Where the service has no process for streams, the same is asked for every few seconds.
 */
export function follow(url, parameters, on) {
  let source = null;
  let opened = false;
  const close = () => source?.close();
  const connect = (mode) => {
    const polls = mode === "after";
    source = new EventSource(`${url}?${new URLSearchParams([...parameters, polls ? ["after", ""] : ["follow", "true"]])}`);
    source.addEventListener("open", () => {
      if (!opened) on.open?.();
      opened = true;
    });
    for (const name of Object.keys(on)) {
      if (name === "open" || name === "lost") continue;
      source.addEventListener(name, (event) => {
        if (name === "end" || name === "gone") close();
        on[name](JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED) return; // it comes again by itself
      if (!polls && !opened) connect("after");
      else on.lost?.();
    });
  };
  connect("follow");
  addEventListener("pagehide", close);
  return close;
}

/** How far a run has come, how quickly, and since when nothing came. */
export class Progress {
  constructor(root, zone) {
    this.root = root;
    this.bar = root.querySelector("progress");
    this.text = root.querySelector("[data-progress]");
    this.planned = Number(root.dataset.planned) || null;
    this.times = [];
    this.newest = Number(root.dataset.newest) || null;
    this.count = Number(root.dataset.count) || 0;
    this.clock = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, timeStyle: "short" });
    this.day = new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short" });
    this.timer = setInterval(() => this.tell(), 5000);
    this.tell();
  }

  /** Points of the main stream have come: their number so far, and their times. */
  add(count, times) {
    this.count = count;
    this.times = [...this.times, ...times].slice(-20);
    this.newest = Math.max(this.newest ?? 0, ...times);
    this.tell();
  }

  get rate() {
    const [first, last] = [this.times[0], this.times.at(-1)];
    return this.times.length > 2 && last > first ? (this.times.length - 1) / (last - first) : null;
  }

  tell() {
    const parts = [];
    if (this.planned) {
      this.bar.hidden = false;
      Object.assign(this.bar, { max: this.planned, value: Math.min(this.count, this.planned) });
    }
    parts.push(this.planned ? `${this.count} of ${this.planned} points` : `${this.count} points`);
    const silent = this.newest ? Date.now() / 1000 - this.newest : null;
    const stale = silent !== null && silent > Math.max(60, this.rate ? 10 / this.rate : 0);
    this.root.classList.toggle("stale", stale);
    if (stale) parts.push(`no data since ${this.moment(this.newest)} (${lasting(silent)})`);
    else if (this.rate) {
      parts.push(this.rate >= 1 ? `${this.rate.toPrecision(2)} a second` : `one in ${(1 / this.rate).toPrecision(2)} s`);
      const left = this.planned && (this.planned - this.count) / this.rate;
      if (left > 0) parts.push(`about ${lasting(left)} left, until ${this.moment(Date.now() / 1000 + left)}`);
    }
    this.text.textContent = parts.join(" · ");
  }

  moment(seconds) {
    const [day, today] = [seconds, Date.now() / 1000].map((at) => this.day.format(at * 1000));
    return day === today ? this.clock.format(seconds * 1000) : `${day} ${this.clock.format(seconds * 1000)}`;
  }

  end() {
    clearInterval(this.timer);
    this.root.remove();
  }
}

function lasting(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}
