/** Quantities as text, exact. */

/** @typedef {string | number | bigint} Quantity  a number is a whole one: what has digits after the point is a text, "12.5" */

const PLAIN = /^[0-9]{1,12}(\.[0-9]{1,9})?$/;

/** @param {Record<string, Quantity>} quantities */
export function textsOf(quantities) {
  return Object.fromEntries(Object.entries(quantities).map(([name, quantity]) => [name, textOf(name, quantity)]));
}

/**
 * Throws TypeError for what may have lost digits on its way, and for what no quantity looks like.
 *
 * @param {string} name
 * @param {unknown} quantity
 */
export function textOf(name, quantity) {
  if (typeof quantity === "string" || typeof quantity === "bigint" || Number.isSafeInteger(quantity)) {
    const text = String(quantity);
    if (PLAIN.test(text)) return text;
  }
  throw new TypeError(`${name}: ${quantity} is none: pass a text such as "12.5", a whole number or a bigint, of at most 12 digits and 9 more`);
}
