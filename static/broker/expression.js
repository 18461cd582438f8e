// Expressions over the columns of a stream, such as diode / ring_current: parsed here, never run as code.

const LONGEST = 300;
const DEEPEST = 30;
const TOKEN = /\s*(?:(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([\p{L}_][\p{L}\p{N}_.:]*)|"([^"]*)"|`([^`]*)`|(\*\*|[-+*/^(),]))/uy;

/** What is wrong with an expression, to be said beside it. */
export class ExpressionError extends Error {}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const known = (value) => (typeof value === "boolean" ? Number(value) : isNumber(value) ? value : null);
const present = (values) => values.filter((value) => value !== null);

/** A function of numbers as one of numbers and columns; what has no finite value becomes null. */
const each = (f) => (...parts) => {
  const column = parts.find(Array.isArray);
  const of = (...values) => {
    const result = values.includes(null) ? null : f(...values);
    return isNumber(result) ? result : null;
  };
  return column ? column.map((_, i) => of(...parts.map((part) => (Array.isArray(part) ? part[i] : part)))) : of(...parts);
};

const whole = (f) => (column) => {
  const values = present(Array.isArray(column) ? column : [column]);
  return values.length ? f(values) : null;
};

/** dy/dx as numpy.gradient has it, between the neighbours that have values, in recorded order. */
export function derivative(y, x) {
  const at = [...y.keys()].filter((i) => y[i] !== null && x[i] !== null);
  const result = new Array(y.length).fill(null);
  const slope = (a, b) => (y[b] - y[a]) / (x[b] - x[a]);
  at.forEach((here, n) => {
    const [before, after] = [at[n - 1], at[n + 1]];
    let value = null;
    if (before === undefined && after !== undefined) value = slope(here, after);
    else if (after === undefined && before !== undefined) value = slope(before, here);
    else if (before !== undefined) {
      const [left, right] = [x[here] - x[before], x[after] - x[here]];
      value = (left * left * (y[after] - y[here]) + right * right * (y[here] - y[before])) / (left * right * (left + right));
    }
    result[here] = isNumber(value) ? value : null;
  });
  return result;
}

/** The area under the points so far, by trapezoids. */
function integral(y, x) {
  let [sum, last] = [0, null];
  return y.map((value, i) => {
    if (value === null || x[i] === null) return null;
    if (last !== null) sum += ((value + y[last]) / 2) * (x[i] - x[last]);
    last = i;
    return sum;
  });
}

/** The mean of `width` neighbouring points. */
function smooth(y, width) {
  if (!isNumber(width)) throw new ExpressionError("smooth takes a column and a number of points, such as smooth(y, 5).");
  const half = Math.floor((Math.min(Math.max(width, 1), 1001) - 1) / 2);
  return y.map((value, i) => {
    const near = present(y.slice(Math.max(0, i - half), i + half + 1));
    return value === null ? null : near.reduce((sum, one) => sum + one, 0) / near.length;
  });
}

const least = (values) => values.reduce((a, b) => Math.min(a, b));
const most = (values) => values.reduce((a, b) => Math.max(a, b));
const sum = (values) => values.reduce((a, b) => a + b, 0);
export function normalise(y) {
  const [low, high] = [whole(least)(y), whole(most)(y)];
  return each((value) => (value - low) / (high - low))(y);
}

/** name → [fewest arguments, most, function, whether its first argument must be a column] */
const FUNCTIONS = new Map(Object.entries({
  abs: [1, 1, each(Math.abs)], sqrt: [1, 1, each(Math.sqrt)], exp: [1, 1, each(Math.exp)],
  log: [1, 1, each(Math.log)], ln: [1, 1, each(Math.log)], log10: [1, 1, each(Math.log10)], log2: [1, 1, each(Math.log2)],
  sin: [1, 1, each(Math.sin)], cos: [1, 1, each(Math.cos)], tan: [1, 1, each(Math.tan)],
  min: [1, 1, whole(least)], max: [1, 1, whole(most)], sum: [1, 1, whole(sum)],
  mean: [1, 1, whole((values) => sum(values) / values.length)],
  first: [1, 1, whole((values) => values[0])], last: [1, 1, whole((values) => values.at(-1))],
  derivative: [1, 2, derivative, true], integral: [1, 2, integral, true],
  smooth: [2, 2, smooth, true], normalise: [1, 1, normalise, true],
}));
export const FUNCTION_NAMES = [...FUNCTIONS.keys()];
const OVER_X = new Set(["derivative", "integral"]);

const OPERATORS = {
  "+": each((a, b) => a + b), "-": each((a, b) => a - b), "*": each((a, b) => a * b), "/": each((a, b) => a / b), "^": each((a, b) => a ** b),
};

function tokens(text) {
  if (text.length > LONGEST) throw new ExpressionError(`An expression may have ${LONGEST} characters; this one has ${text.length}.`);
  const found = [];
  TOKEN.lastIndex = 0;
  while (text.slice(TOKEN.lastIndex).trim()) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (!match) throw new ExpressionError(`“${text.slice(at).trim()[0]}” (character ${at + 1}) cannot be read here. Put a name with such characters between quotes.`);
    const [, digits, name, quoted, ticked, sign] = match;
    if (digits) found.push({ kind: "number", value: Number(digits) });
    else if (sign) found.push({ kind: "sign", value: sign === "**" ? "^" : sign });
    else found.push({ kind: "name", value: name ?? quoted ?? ticked, quoted: name === undefined });
  }
  return found;
}

/** The tree of an expression; ExpressionError says what is wrong with it. */
export function parse(text) {
  const list = tokens(text);
  let at = 0;
  let depth = 0;
  const next = (sign) => list[at]?.kind === "sign" && list[at].value === sign;
  const take = (sign) => next(sign) && (at += 1);
  const here = () => (list[at] ? `“${list[at].value}”` : "the end");
  const deeper = (read) => {
    if ((depth += 1) > DEEPEST) throw new ExpressionError("This expression is nested too deeply.");
    const node = read();
    depth -= 1;
    return node;
  };
  const chain = (operand, signs) => {
    let left = operand();
    while (signs.some(next)) {
      const sign = list[at++].value;
      left = { sign, parts: [left, operand()] };
    }
    return left;
  };
  const added = () => deeper(() => chain(multiplied, ["+", "-"]));
  const multiplied = () => chain(signed, ["*", "/"]);
  const signed = () => {
    if (take("-")) return deeper(() => ({ sign: "-", parts: [{ value: 0 }, signed()] }));
    return take("+") ? deeper(signed) : power();
  };
  const power = () => {
    const base = single();
    return take("^") ? deeper(() => ({ sign: "^", parts: [base, signed()] })) : base;
  };
  const single = () => {
    if (take("(")) {
      const inner = added();
      if (!take(")")) throw new ExpressionError(`A closing “)” is missing before ${here()}.`);
      return inner;
    }
    const token = list[at];
    if (!token || token.kind === "sign") throw new ExpressionError(`A name, a number or “(” is missing before ${here()}.`);
    at += 1;
    if (token.kind === "number") return { value: token.value };
    return !token.quoted && take("(") ? called(token.value) : { field: token.value };
  };
  const called = (name) => {
    const parts = [];
    if (!next(")")) do parts.push(added()); while (take(","));
    if (!take(")")) throw new ExpressionError(`A closing “)” is missing before ${here()}.`);
    const [fewest, most] = FUNCTIONS.get(name) ?? [];
    if (fewest === undefined) throw new ExpressionError(`There is no function “${name}”; there are ${FUNCTION_NAMES.join(", ")}.`);
    if (parts.length < fewest || parts.length > most) {
      throw new ExpressionError(`${name} takes ${fewest === most ? fewest : `${fewest} or ${most}`} value${most > 1 ? "s" : ""} in its parentheses.`);
    }
    return { name, parts };
  };
  if (!list.length) throw new ExpressionError("Nothing is written here.");
  const tree = added();
  if (at < list.length) throw new ExpressionError(`An operator such as + or / is missing before ${here()}.`);
  return tree;
}

/** The fields that a tree reads. */
export const fieldsOf = (tree) =>
  new Set(tree.field !== undefined ? [tree.field] : (tree.parts ?? []).flatMap((part) => [...fieldsOf(part)]));

/** Throws an ExpressionError for a name that a tree reads and `names` does not hold. */
export function check(tree, names) {
  for (const field of fieldsOf(tree)) {
    if (names.includes(field)) continue;
    if (FUNCTIONS.has(field)) throw new ExpressionError(`${field} is a function: write ${field}(…).`);
    throw new ExpressionError(`There is no number “${field}” here; there are ${names.slice(0, 12).join(", ")}${names.length > 12 ? ", …" : ""}.`);
  }
}

/** The values of a tree, one a point; `get` gives the column of a field, `x` is what is drawn over. */
export function evaluate(tree, get, x) {
  const value = valueOf(tree, (field) => get(field).map(known), x.map(known));
  return Array.isArray(value) ? value : x.map(() => value);
}

function valueOf(tree, get, x) {
  if (tree.value !== undefined) return tree.value;
  if (tree.field !== undefined) return get(tree.field);
  const parts = tree.parts.map((part) => valueOf(part, get, x));
  if (tree.sign) return OPERATORS[tree.sign](...parts);
  const [, , f, takesColumn] = FUNCTIONS.get(tree.name);
  if (!takesColumn) return f(...parts);
  const column = (part) => (Array.isArray(part) ? part : x.map(() => part));
  if (OVER_X.has(tree.name)) return f(column(parts[0]), column(parts[1] ?? x));
  return f(column(parts[0]), ...parts.slice(1));
}
