// Numbers and times on axes: SI prefixes, ISO times.
import { number, visible } from "./dom.js";

const PREFIXES = { "-15": "f", "-12": "p", "-9": "n", "-6": "µ", "-3": "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T" };
const PREFIXABLE = new Set(["A", "V", "W", "Hz", "s", "m", "eV", "J", "T", "Pa", "bar", "Ohm", "ohm", "Ω", "C", "N", "F", "H", "g", "K"]);
const [PLAIN_FROM, PLAIN_BELOW] = [1e-2, 1e4];

/** {factor, prefix, unit} for values up to `size`: what they are divided by, and what is then written. */
export function scaled(size, unit) {
  const plain = !Number.isFinite(size) || size === 0 || (size >= PLAIN_FROM && size < PLAIN_BELOW);
  const power = plain ? 0 : Math.max(-15, Math.min(12, Math.floor(Math.log10(size) / 3 + 1e-9) * 3));
  const prefix = PREFIXES[power];
  const joins = PREFIXABLE.has(unit);
  return { factor: 10 ** power, suffix: joins ? "" : prefix, unit: unit ? (joins ? prefix : "") + visible(unit) : "" };
}

/** Texts of ticks in that scale, with as many digits as tell them apart. */
export function tickTexts(ticks, { factor, suffix }) {
  const values = ticks.filter((tick) => tick !== null);
  const step = values.slice(1).reduce((least, value, i) => Math.min(least, Math.abs(value - values[i]) || least), Infinity);
  const digits = Number.isFinite(step) ? digitsOf(step / factor) : 6;
  return ticks.map((tick) => {
    if (tick === null) return "";
    const value = Number((tick / factor).toFixed(digits));
    return value === 0 ? "0" : number(value) + (suffix && ` ${suffix}`);
  });
}

/** How many digits behind the point write a step in full: 2 for 0.25. */
function digitsOf(step) {
  let digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  while (digits < 12 && Math.abs(step - Number(step.toFixed(digits))) > step * 1e-6) digits += 1;
  return Math.min(digits, 12);
}

const parts = (zone) => new Intl.DateTimeFormat("sv-SE", {
  timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

/** Times of day in the beamline's zone, with the day where it is a new one. */
export function timeTexts(ticks, zone) {
  const format = parts(zone);
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : 60;
  let last = null;
  return ticks.map((tick) => {
    if (tick === null) return "";
    const [day, clock] = format.format(tick * 1000).split(" ");
    const text = step < 1 ? clock + (tick % 1).toFixed(3).slice(1) : step < 60 ? clock : clock.slice(0, 5);
    const shown = day === last ? text : step >= 86400 ? day : `${text}\n${day}`;
    last = day;
    return shown;
  });
}

/** One moment, to the millisecond: 2026-11-27T21:20:33.123 in the beamline's zone. */
export function isoTime(seconds, zone) {
  if (!Number.isFinite(seconds)) return "–";
  const milliseconds = Math.round(seconds * 1000);
  return parts(zone).format(milliseconds).replace(" ", "T") + ((milliseconds % 1000) / 1000).toFixed(3).slice(1);
}
