// Data of a stream, from the API that programs use.

const TYPES = {
  b1: Uint8Array, u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, u4: Uint32Array, i4: Int32Array,
  f4: Float32Array, f8: Float64Array, u8: BigUint64Array, i8: BigInt64Array,
};

export class ApiError extends Error {}

async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server did not answer.");
  }
  if (response.ok) return response;
  let detail = `${response.status} ${response.statusText}`;
  try {
    detail = (await response.json()).detail ?? detail;
  } catch {
    // An answer without a problem document, such as a proxy's: its status says what there is to say.
  }
  throw new ApiError(detail);
}

export async function getJson(url, signal) {
  const response = await ask(url, { signal, headers: { Accept: "application/json" } });
  return response.json();
}

const LONGEST_QUERY = 4000;

/** Columns seq_num, time and the fields, each an array of one value an event. */
export function getTable(streamUrl, fields, signal) {
  const query = new URLSearchParams({ format: "json" });
  // Of very many, all are asked for: an address has its limits.
  const length = fields.reduce((sum, name) => sum + encodeURIComponent(name).length + 8, 0);
  if (length < LONGEST_QUERY) fields.forEach((name) => query.append("fields", name));
  return getJson(`${streamUrl}table/?${query}`, signal);
}

/** A data key that is named like one of the table's own columns has `_` put in front. */
export const columnOf = (field) => (field === "seq_num" || field === "time" ? `_${field}` : field);

export const arrayUrl = (streamUrl, field, slice, format = "octet-stream", more = {}) =>
  `${streamUrl}data/${encodeURIComponent(field)}/?${new URLSearchParams({ format, slice, ...more })}`;

const shapeOf = (response) => (response.headers.get("X-Array-Shape") || "").split(",").filter(Boolean).map(Number);

/** The true shape of a slice, without its data. */
export async function getShape(streamUrl, field, slice, signal) {
  return shapeOf(await ask(arrayUrl(streamUrl, field, slice), { method: "HEAD", signal }));
}

/** {shape, values}: a slice of a field over all events of the stream, values in C order. more: parameters. */
export async function getArray(streamUrl, field, slice, signal, more) {
  const response = await ask(arrayUrl(streamUrl, field, slice, "octet-stream", more), { signal });
  const dtype = response.headers.get("X-Array-Dtype") || "";
  const Values = TYPES[dtype.slice(-2)];
  if (!Values) throw new ApiError(`Values of type ${dtype} cannot be drawn.`);
  const raw = new Values(await response.arrayBuffer());
  const values = Values === BigInt64Array || Values === BigUint64Array ? Float64Array.from(raw, Number) : raw;
  return { shape: shapeOf(response), values };
}

/** The same for a column: the field that it holds. */
export const fieldOf = (column) => (column === "_seq_num" || column === "_time" ? column.slice(1) : column);

const KNOWN = 5000; // of the last rows, among which new ones may be

/** Adds the events of event_pages to columns that a table gave, except those that it has already. */
function append(columns, pages) {
  const row = (seq, time) => `${seq} ${time}`;
  const first = Math.max(0, columns.time.length - KNOWN);
  const known = new Set(columns.time.slice(first).map((time, i) => row(columns.seq_num[first + i], time)));
  for (const page of pages) {
    page.seq_num.forEach((seq, i) => {
      if (known.has(row(seq, page.time[i]))) return;
      for (const name of Object.keys(columns)) {
        const own = { seq_num: seq, time: page.time[i] }[name];
        columns[name].push(own ?? page.data[fieldOf(name)]?.[i] ?? null);
      }
    });
  }
}

/** The columns that `get` fetches for a part of the page, with the events that came meanwhile: `part.late`. */
export async function fetched(part, get) {
  part.late ??= [];
  part.fetching = (part.fetching ?? 0) + 1;
  try {
    const columns = await get();
    append(columns, part.late);
    return columns;
  } finally {
    part.fetching -= 1;
    if (!part.fetching) part.late = null;
  }
}

/** Adds events that came to the columns of a part of the page; false where there are none to draw yet. */
export function grown(part, pages) {
  part.late?.push(...pages);
  if (!part.columns) return false;
  append(part.columns, pages);
  return true;
}
