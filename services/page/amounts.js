// What somebody typed, as an amount: exactly as the reader's language writes numbers, or none at all.
//
// Nothing is guessed. A group sign counts only before three digits, and where the language itself groups by two; a decimal sign only
// once. Whatever else stands between digits makes it no amount, and the field says so: nobody saves 1,999 who meant 19,99.

import { digitsOf } from "./currencies.js";

const CREDITS_PLACES = 6;
const WHOLE_MAX = 12;
const SPACES = " \u00a0\u2009\u202f"; // what keyboards have, and what languages write
const APOSTROPHES = "'\u2019";
const DIRECTIONS = /[\u061c\u200e\u200f]/g; // they come along with what was copied from a page
const WIDE = /[\uff0c\uff0e\uff10-\uff19]/g; // comma, point and digits, as an input method of Chinese or Japanese writes them
const WIDER = 0xff10 - 0x30;

/**
 * How a language writes numbers.
 *
 * @param {string} [locale]
 */
function numeralsOf(locale) {
  const parts = new Intl.NumberFormat(locale).formatToParts(123456789.5);
  /** @param {string} wanted */
  const sign = (wanted) => parts.find(({ type }) => type === wanted)?.value ?? "";
  return {
    digits: [...new Intl.NumberFormat(locale, { useGrouping: false }).format(9876543210)].reverse(), // from 0 to 9
    groups: groupsOf(sign("group")),
    byTwo: parts.filter(({ type }) => type === "integer").at(-2)?.value.length === 2, // as in India: 12,34,567
    point: sign("decimal"),
  };
}

/** @param {string} group */
function groupsOf(group) {
  if (APOSTROPHES.includes(group)) return APOSTROPHES + SPACES;
  return SPACES.includes(group) ? SPACES : group + SPACES; // a space can't be taken for a decimal sign anywhere
}

/**
 * What reads amounts as a language writes them.
 *
 * @param {string} [locale]
 */
export function reading(locale) {
  const { digits, groups, byTwo, point } = numeralsOf(locale);
  const grouped = [`[1-9]\\d{0,2}([${groups}])\\d{3}(?:\\2\\d{3})*`, byTwo ? `[1-9]\\d?(?:([${groups}])\\d{2}(?:\\3\\d{2})*\\3)\\d{3}` : []].flat();
  const amount = new RegExp(`^(\\d*|${grouped.join("|")})(?:[${point}](\\d+))?$`);
  /** @param {string} letter */
  const plain = (letter) => (digits.includes(letter) ? String(digits.indexOf(letter)) : letter);

  /**
   * An amount as the decimal string that the API takes; null if it is none, or has more digits behind the point than there can be.
   *
   * @param {string} text
   * @param {number} [places]
   * @returns {string | null}
   */
  function typed(text, places = CREDITS_PLACES) {
    const narrow = text.replace(DIRECTIONS, "").replace(WIDE, (wide) => String.fromCharCode(wide.charCodeAt(0) - WIDER));
    const found = amount.exec([...narrow.trim()].map(plain).join(""));
    if (!found) return null;
    const whole = (found[1] ?? "").replace(/\D/g, "").replace(/^0+(?=\d)/, "");
    const part = found.at(-1) ?? "";
    if (!(whole + part) || whole.length > WHOLE_MAX || part.length > places) return null;
    return part ? `${whole || "0"}.${part}` : whole;
  }

  /**
   * Money in minor units, with or without its currency's sign before or behind it; null if it is none.
   *
   * @param {string} text
   * @param {string} currency
   */
  function typedMoney(text, currency) {
    const places = digitsOf(currency);
    const amount = typed(withoutSign(text.trim(), signsOf(currency, locale)), places);
    if (amount === null) return null;
    const [whole, part = ""] = amount.split(".");
    return Number(whole + part.padEnd(places, "0"));
  }

  return { typed, typedMoney };
}

/**
 * @param {string} currency
 * @param {string} [locale]
 */
function signsOf(currency, locale) {
  const ways = /** @type {const} */ (["symbol", "narrowSymbol", "code"]);
  const signs = ways.map((currencyDisplay) => {
    const parts = new Intl.NumberFormat(locale, { style: "currency", currency, currencyDisplay }).formatToParts(0);
    return parts.find(({ type }) => type === "currency")?.value ?? currency;
  });
  return signs.some((sign) => "\u00a5\uffe5".includes(sign)) ? [...signs, "\u00a5", "\uffe5"] : signs; // one yen, in two widths
}

/**
 * @param {string} text
 * @param {string[]} signs
 */
function withoutSign(text, signs) {
  const before = signs.find((sign) => text.startsWith(sign));
  if (before) return text.slice(before.length);
  const behind = signs.find((sign) => text.endsWith(sign));
  return behind ? text.slice(0, -behind.length) : text;
}
