// Numbers, dates and money as the reader's own language writes them.

const exact = new Intl.NumberFormat(undefined, { maximumFractionDigits: 6 });
const short = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2, roundingMode: "floor" });
const change = new Intl.NumberFormat(undefined, { maximumFractionDigits: 6, signDisplay: "exceptZero" });
const moment = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const dayOfYear = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const away = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

const DAY = 86_400_000;
const HOUR = 3_600_000;
const MINUTE = 60_000;

/** Credits arrive as decimal strings and stay exact: they are never made a floating-point number. */
export const credits = (text) => exact.format(text);

/** Credits where space is short; rounded down, so that nobody reads more than there is. */
export const creditsShort = (text) => short.format(text);

/** A change of credits, with its sign. */
export const creditsChange = (text) => change.format(text).replace("-", "−");

export const isZero = (text) => !/[1-9]/.test(text);
export const isNegative = (text) => text.startsWith("-") && !isZero(text);

export const when = (text) => moment.format(new Date(text));
export const whenExactly = (text) => moments.format(new Date(text));
export const onDay = (text) => day.format(new Date(text));
export const onDayOfYear = (text) => dayOfYear.format(new Date(text));
export const atTime = (text) => clock.format(new Date(text));

/** "in 8 days", "in 3 hours". */
export function until(text) {
  const left = new Date(text) - Date.now();
  if (left >= DAY) return away.format(Math.round(left / DAY), "day");
  if (left >= HOUR) return away.format(Math.round(left / HOUR), "hour");
  return away.format(Math.max(1, Math.round(left / MINUTE)), "minute");
}

export function money({ amount, currency }) {
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
  return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
}

export const PER = { use: "per use", second: "per second", character: "per character", gb_day: "per GB/day" };

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

/** `tier=high, model=cinema` as people read it. */
export const attributes = (known) =>
  Object.values(known)
    .map((value) => value.replaceAll("_", " "))
    .map((value, place) => (place ? value : value.charAt(0).toUpperCase() + value.slice(1)))
    .join(", ");
