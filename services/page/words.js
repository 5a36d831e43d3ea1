// Numbers, dates and money as the reader's own language writes them. Words are the page's: English, also where a clock gives them.

import { digitsOf } from "./currencies.js";

const exact = new Intl.NumberFormat(undefined, { maximumFractionDigits: 9 }); // credits have six, rates and quantities nine
const compact = new Intl.NumberFormat(undefined, { notation: "compact" });
const change = new Intl.NumberFormat(undefined, { maximumFractionDigits: 6, signDisplay: "exceptZero" });
const moment = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const dayInUtc = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", timeZone: "UTC" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const hour = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const away = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const month = new Intl.DateTimeFormat("en", { month: "long", timeZone: "UTC" });

const DAY = 86_400_000;
const HOUR = 3_600_000;
const MINUTE = 60_000;

/**
 * Credits arrive as decimal strings and stay exact: they are never made a floating-point number.
 *
 * @param {string | number} text
 */
export const credits = (text) => withMinus(exact.format(asNumber(text)));

/**
 * The same in two pieces, so that the fraction may stand back: "4,224" and ".375".
 *
 * @param {string} text
 */
export function creditsInTwo(text) {
  const parts = exact.formatToParts(asNumber(text)).map(({ type, value }) => ({ type, value: withMinus(value) }));
  const point = parts.findIndex(({ type }) => type === "decimal");
  const [whole, fraction] = point < 0 ? [parts, []] : [parts.slice(0, point), parts.slice(point)];
  return [whole, fraction].map((piece) => piece.map(({ value }) => value).join(""));
}

/**
 * "1 credit", "2 credits".
 *
 * @param {string} text
 */
export const inCredits = (text) => `${credits(text)} ${isOne(text) ? "credit" : "credits"}`;

/**
 * Credits beside an axis, where only their size matters.
 *
 * @param {number} number
 */
export const creditsRoughly = (number) => compact.format(number);

/**
 * A change of credits, with its sign.
 *
 * @param {string} text
 */
export const creditsChange = (text) => withMinus(change.format(asNumber(text)));

/**
 * A decimal string for Intl, which takes it as exact as it is.
 *
 * @param {string | number} text
 */
const asNumber = (text) => /** @type {`${number}`} */ (text);

/** @param {string} said */
const withMinus = (said) => said.replace("-", "−"); // a hyphen is too short beside a plus

/** @param {string} text */
const isOne = (text) => /^-?1(\.0+)?$/.test(text);
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

/** @param {string} text */
export const when = (text) => moment.format(new Date(text));
/** @param {string} text */
export const whenExactly = (text) => moments.format(new Date(text));
/** @param {string} text */
export const onDay = (text) => day.format(new Date(text));
/** @param {string} text */
export const onDayOfYear = (text) => dayOfYear.format(new Date(text));
/** @param {string} text */
export const atTime = (text) => clock.format(new Date(text));
/** @param {string} text */
export const atHour = (text) => hour.format(new Date(text));

/**
 * A month that is named without a day, `2026-11`: the team's, whatever the reader's calendar shows.
 *
 * @param {string} text
 */
export const inMonth = (text) => month.format(new Date(`${text}-01T00:00:00Z`));

/**
 * A day that is named without a time, `2026-11-23`: the same one wherever it is read.
 *
 * @param {string} text
 */
export const onDate = (text) => dayInUtc.format(new Date(`${text}T00:00:00Z`));

/**
 * "in 8 days", "in 3 hours"; days as a calendar counts them, because it stands beside a date.
 *
 * @param {string} text
 * @param {Date} [now]
 */
export function until(text, now = new Date()) {
  const then = new Date(text);
  const left = then.getTime() - now.getTime();
  if (left >= DAY) return away.format(Math.round((midnight(then) - midnight(now)) / DAY), "day"); // rounded: a day may have 23 hours
  if (left >= HOUR) return away.format(Math.round(left / HOUR), "hour");
  return away.format(Math.max(1, Math.round(left / MINUTE)), "minute");
}

/** @param {Date} date */
const midnight = (date) => new Date(date).setHours(0, 0, 0, 0);

/** @param {string} currency */
function currencyFormat(currency) {
  const digits = digitsOf(currency); // Stripe's, for it takes the money; browsers know other ones for some currencies
  return new Intl.NumberFormat(undefined, { style: "currency", currency, minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** @param {Intl.NumberFormat} format */
const places = (format) => format.resolvedOptions().maximumFractionDigits ?? 0;

/**
 * Minor units as money; their digits are only moved, never calculated with.
 *
 * @param {Api.Money} money
 */
export function money({ amount, currency }) {
  const format = currencyFormat(currency);
  return format.format(decimal(amount, places(format)));
}

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

/**
 * Numbers and money in a sentence that the server made, as the reader's language writes them: "24.00 USD" becomes "$24.00". A number behind
 * a # is a name.
 *
 * @param {string} said
 */
export const inOwnNumbers = (said) =>
  said.replace(/(?<![#\d])(\d[\d,]*(?:\.\d+)?)( [A-Z]{3}\b)?/g, (_, number, currency) => {
    const plain = number.replaceAll(",", "");
    return currency ? currencyFormat(currency.trim()).format(plain) : exact.format(plain);
  });

/**
 * What one credit costs, in a currency's own style with two digits more.
 *
 * @param {Api.Money & { credits: string }} pack
 */
export function moneyEach({ amount, currency, credits: count }) {
  const usual = places(currencyFormat(currency));
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency, minimumFractionDigits: usual + 2 });
  return format.format(amount / 10 ** usual / Number(count));
}

/**
 * A field for money with its currency's sign on the side where the reader's language has it.
 *
 * @param {string} currency
 * @param {Node} field
 */
export function withCurrency(currency, field) {
  const parts = currencyFormat(currency).formatToParts(0);
  const place = parts.findIndex(({ type }) => type === "currency");
  const sign = parts[place]?.value ?? currency;
  return place === 0 ? [sign, field] : [field, `\u00a0${sign}`];
}

/**
 * Minor units as they stand in a field: without a sign, and without empty cents.
 *
 * @param {Api.Money} money
 */
export function moneyField({ amount, currency }) {
  const digits = places(currencyFormat(currency));
  const shown = amount % 10 ** digits ? digits : 0;
  return new Intl.NumberFormat(undefined, { minimumFractionDigits: shown, maximumFractionDigits: shown }).format(decimal(amount, digits));
}

/** @type {Record<Api.Feature["per"], string>} */
const PER = { use: "per use", second: "per second", character: "per character", token: "per token", gb_day: "per GB/day" };
/** @type {Record<Api.Feature["per"], string>} */
const UNITS = { use: "use", second: "second", character: "character", token: "token", gb_day: "GB-day" };

/**
 * "per second", or "per image" where a use has a name; "per 1,000,000 tokens" where a price is for so many.
 *
 * @param {{ unit?: string | null, per: keyof typeof PER, for_units?: number }} feature
 */
export function per(feature) {
  const { for_units: many = 1 } = feature;
  if (many > 1) return `per ${credits(many)} ${units(feature, String(many))}`;
  return feature.unit ? `per ${feature.unit}` : PER[feature.per];
}

/**
 * The name of one of several quantities as people read it: "cached input tokens".
 *
 * @param {string} name
 * @param {string} [quantity]
 */
export function quantityName(name, quantity = "") {
  const words = name.replaceAll("_", " ");
  if (isOne(quantity)) return words;
  return /(s|x|ch|sh)$/.test(words) ? `${words}es` : `${words}s`;
}

/**
 * "seconds", "images"; "image" where it is one.
 *
 * @param {{ unit?: string | null, per: keyof typeof UNITS }} feature
 * @param {string} quantity
 */
export const units = (feature, quantity) => (feature.unit ?? UNITS[feature.per]) + (isOne(quantity) ? "" : "s");

/** @type {Record<Api.Kind, string>} */
export const TYPES = {
  usage: "Feature usage",
  usage_voided: "Usage taken back",
  purchase: "Purchases",
  top_up: "Top-ups",
  refill: "Included usage refills",
  grant: "Promotional credits",
  adjustment: "Adjustments",
  expiry: "Expired credits",
  refund: "Refunds",
  dispute: "Disputes",
  top_up_failed: "Failed top-ups",
  top_up_skipped: "Top-ups not made",
};

/**
 * A reason that the server gives, as a sentence.
 *
 * @param {string | null | undefined} text
 */
export const sentence = (text) => (text ? `${capital(text)}${/[.!?]$/.test(text) ? "" : "."}` : "");

/** @param {string} text */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {Api.Card} card */
export const cardName = ({ brand, last4 }) => `${capital(brand ?? "card")}\u00a0····\u00a0${last4 ?? "····"}`;

/**
 * `tier=high, model=cinema` as people read it.
 *
 * @param {Record<string, string>} known
 */
export const attributes = (known) =>
  Object.values(known)
    .map((value) => value.replaceAll("_", " "))
    .map((value, place) => (place ? value : capital(value)))
    .join(", ");

/**
 * What to call each member, by id; of some the name was erased.
 *
 * @param {Api.Team} team
 */
export const memberNames = ({ members, erased }) =>
  new Map([
    ...erased.map((id) => /** @type {[string, string]} */ ([id, "Erased member"])),
    ...members.map(({ id, name }) => /** @type {[string, string]} */ ([id, name])),
  ]);
