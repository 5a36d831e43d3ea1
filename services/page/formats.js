// Numbers, dates and money as one language and place write them.

import { digitsOf } from "./currencies.js";

const DAY = 86_400_000;
const HOUR = 3_600_000;
const MINUTE = 60_000;

/**
 * A decimal string for Intl, which takes it as exact as it is.
 *
 * @param {string | number} text
 */
const asNumber = (text) => /** @type {`${number}`} */ (text);

/** @param {string} said */
const withMinus = (said) => said.replace("-", "−"); // a hyphen is too short beside a plus

/** @param {string} text */
export const isOne = (text) => /^-?1(\.0+)?$/.test(text);
/** @param {string} text */
export const isZero = (text) => !/[1-9]/.test(text);
/** @param {string} text */
export const isNegative = (text) => text.startsWith("-") && !isZero(text);

/**
 * Two amounts of credits, exactly: a sum of decimal strings.
 *
 * @param {string} one
 * @param {string} other
 */
export function plus(one, other) {
  /** @param {string} text */
  const micro = (text) => {
    const [, sign, whole, part = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text) ?? [];
    return BigInt(`${sign}${whole}${part.padEnd(6, "0")}`);
  };
  const sum = micro(one) + micro(other);
  const digits = String(sum < 0n ? -sum : sum).padStart(7, "0");
  return `${sum < 0n ? "-" : ""}${digits.slice(0, -6)}.${digits.slice(-6)}`.replace(/\.?0+$/, "");
}

/** @param {Date} date */
const midnight = (date) => new Date(date).setHours(0, 0, 0, 0);

/** @param {Intl.NumberFormat} format */
const places = (format) => format.resolvedOptions().maximumFractionDigits ?? 0;

/**
 * @param {number} amount
 * @param {number} digits
 * @returns {`${number}`}
 */
function decimal(amount, digits) {
  const text = String(Math.abs(amount)).padStart(digits + 1, "0");
  const sign = amount < 0 ? "-" : "";
  return asNumber(digits ? `${sign}${text.slice(0, -digits)}.${text.slice(-digits)}` : `${sign}${text}`);
}

/** Its functions need no `this`. */
export class Formats {
  #exact;
  #compact;
  #change;
  #dates;
  #away;
  #month;
  #list;

  /**
   * @param {string} locale  whose numbers, dates and money
   * @param {string} language  that of the words around them, which is not always that of the locale
   */
  constructor(locale, language) {
    this.locale = locale;
    this.language = language;
    this.#exact = new Intl.NumberFormat(locale, { maximumFractionDigits: 9 }); // credits have six, rates and quantities nine
    this.#compact = new Intl.NumberFormat(locale, { notation: "compact" });
    this.#change = new Intl.NumberFormat(locale, { maximumFractionDigits: 6, signDisplay: "exceptZero" });
    /** @param {Intl.DateTimeFormatOptions} how */
    const dates = (how) => new Intl.DateTimeFormat(locale, how);
    this.#dates = {
      moment: dates({ month: "short", day: "numeric", hour: "numeric", minute: "2-digit" }),
      exactly: dates({ dateStyle: "full", timeStyle: "long" }),
      day: dates({ month: "short", day: "numeric" }),
      dayInUtc: dates({ month: "short", day: "numeric", timeZone: "UTC" }),
      dayOfYear: dates({ dateStyle: "medium" }),
      clock: dates({ timeStyle: "medium" }),
    };
    this.#away = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
    this.#month = new Intl.DateTimeFormat(language, { month: "long", timeZone: "UTC" });
    this.#list = new Intl.ListFormat(language);
  }

  /**
   * Credits arrive as decimal strings and stay exact: they are never made a floating-point number.
   *
   * @param {string | number} text
   */
  credits = (text) => withMinus(this.#exact.format(asNumber(text)));

  /**
   * The same in two pieces, so that the fraction may stand back: "4,224" and ".375".
   *
   * @param {string} text
   */
  creditsInTwo = (text) => {
    const parts = this.#exact.formatToParts(asNumber(text)).map(({ type, value }) => ({ type, value: withMinus(value) }));
    const point = parts.findIndex(({ type }) => type === "decimal");
    const [whole, fraction] = point < 0 ? [parts, []] : [parts.slice(0, point), parts.slice(point)];
    return [whole, fraction].map((piece) => piece.map(({ value }) => value).join(""));
  };

  /**
   * Credits beside an axis, where only their size matters.
   *
   * @param {number} number
   */
  creditsRoughly = (number) => this.#compact.format(number);

  /**
   * A change of credits, with its sign.
   *
   * @param {string} text
   */
  creditsChange = (text) => withMinus(this.#change.format(asNumber(text)));

  /** @param {string} text */
  when = (text) => this.#dates.moment.format(new Date(text));
  /** @param {string} text */
  whenExactly = (text) => this.#dates.exactly.format(new Date(text));
  /** @param {string} text */
  onDay = (text) => this.#dates.day.format(new Date(text));
  /** @param {string} text */
  onDayOfYear = (text) => this.#dates.dayOfYear.format(new Date(text));
  /** @param {string} text */
  atTime = (text) => this.#dates.clock.format(new Date(text));

  /**
   * A month that is named without a day, `2026-11`: the team's, whatever the reader's calendar shows.
   *
   * @param {string} text
   */
  inMonth = (text) => this.#month.format(new Date(`${text}-01T00:00:00Z`));

  /**
   * A day that is named without a time, `2026-11-23`: the same one wherever it is read.
   *
   * @param {string} text
   */
  onDate = (text) => this.#dates.dayInUtc.format(new Date(`${text}T00:00:00Z`));

  /**
   * "in 8 days", "in 3 hours"; days as a calendar counts them, because it stands beside a date.
   *
   * @param {string} text
   * @param {Date} [now]
   */
  until = (text, now = new Date()) => {
    const then = new Date(text);
    const left = then.getTime() - now.getTime();
    if (left >= DAY) return this.#away.format(Math.round((midnight(then) - midnight(now)) / DAY), "day"); // rounded: a day may have 23 hours
    if (left >= HOUR) return this.#away.format(Math.round(left / HOUR), "hour");
    return this.#away.format(Math.max(1, Math.round(left / MINUTE)), "minute");
  };

  /**
   * "Ada, Grace, and Fay".
   *
   * @param {string[]} words
   */
  list = (words) => this.#list.format(words);

  /** @param {string} currency */
  #currencyFormat(currency) {
    const digits = digitsOf(currency); // Stripe's, for it takes the money; browsers know other ones for some currencies
    return new Intl.NumberFormat(this.locale, { style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  /**
   * Minor units as money; their digits are only moved, never calculated with.
   *
   * @param {Api.Money} money
   */
  money = ({ amount, currency }) => {
    const format = this.#currencyFormat(currency);
    return format.format(decimal(amount, places(format)));
  };

  /**
   * Numbers and money in a sentence that the server made, as the reader's language writes them: "24.00 USD" becomes "$24.00". A number
   * behind a # is a name.
   *
   * @param {string} said
   */
  inOwnNumbers = (said) =>
    said.replace(/(?<![#\d])(\d[\d,]*(?:\.\d+)?)( [A-Z]{3}\b)?/g, (_, number, currency) => {
      const plain = number.replaceAll(",", "");
      return currency ? this.#currencyFormat(currency.trim()).format(plain) : this.#exact.format(plain);
    });

  /**
   * What one credit costs, in a currency's own style with two digits more.
   *
   * @param {Api.Money & { credits: string }} pack
   */
  moneyEach = ({ amount, currency, credits: count }) => {
    const usual = places(this.#currencyFormat(currency));
    const format = new Intl.NumberFormat(this.locale, { style: "currency", currency, minimumFractionDigits: usual + 2 });
    return format.format(amount / 10 ** usual / Number(count));
  };

  /**
   * A field for money with its currency's sign on the side where the reader's language has it.
   *
   * @param {string} currency
   * @param {Node} field
   */
  withCurrency = (currency, field) => {
    const parts = this.#currencyFormat(currency).formatToParts(0);
    const place = parts.findIndex(({ type }) => type === "currency");
    const sign = parts[place]?.value ?? currency;
    return place === 0 ? [sign, field] : [field, `\u00a0${sign}`];
  };

  /**
   * Minor units as they stand in a field: without a sign, and without empty cents.
   *
   * @param {Api.Money} money
   */
  moneyField = ({ amount, currency }) => {
    const digits = places(this.#currencyFormat(currency));
    const shown = amount % 10 ** digits ? digits : 0;
    return new Intl.NumberFormat(this.locale, { minimumFractionDigits: shown, maximumFractionDigits: shown }).format(decimal(amount, digits));
  };
}
