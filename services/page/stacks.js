// What <usage-chart> draws and tabulates: days without gaps, each a stack of amounts. For the eye, so ordinary numbers will do.

const NAMED_MAX = 6; // series with a colour of their own; the others are one
const REST = "\u0000rest";
const PARTS = /** @type {const} */ ({ feature: "features", member: "members", value: "values" });

/**
 * @typedef {{ since: string, days: number, items: Api.UsedOnDay[], attribute: string | null, features: Map<string, string>,
 *   members: Map<string, string> }} Known
 * @typedef {"feature" | "member" | "value"} StackedBy  value: of the attribute that is known
 * @typedef {{ key: string, name: string, look: string }} Series  what has a colour of its own
 * @typedef {{ day: string, values: number[], sum: number }} Row  a day, with a value for each series
 * @typedef {{ series: Series[], days: Row[], total: number }} Stacks
 */

/**
 * What features are called, by their id.
 *
 * @param {Api.RateCard} card
 */
export const namesOf = ({ categories }) => new Map(categories.flatMap(({ features }) => features.map(({ feature, name }) => [feature, name])));

/**
 * For the eye: sums of ordinary numbers, to two digits.
 *
 * @param {number} number
 */
export const rounded = (number) => String(Math.round(number * 100) / 100);

/**
 * Days without gaps, each with its amounts by series; the largest series are named, the others are one.
 *
 * @param {Words} words
 * @param {Known} known
 * @param {StackedBy} by
 */
export function stacked({ text }, known, by) {
  const told = new Map(known.items.map((item) => [item.day, item]));
  const days = daysOf(known).map((day) => ({
    day,
    amounts: new Map(Object.entries(told.get(day)?.[PARTS[by]] ?? {}).map(([key, text]) => [key, Number(text)])),
  }));
  /** @type {Map<string, number>} */
  const sums = new Map();
  for (const { amounts } of days) for (const [key, amount] of amounts) sums.set(key, (sums.get(key) ?? 0) + amount);
  const ranked = [...sums]
    .filter(([, sum]) => sum > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([key]) => key);
  const named = ranked.length > NAMED_MAX + 1 ? ranked.slice(0, NAMED_MAX) : ranked;
  const names = { feature: known.features, member: known.members, value: new Map() }[by];
  // Held credits may be captured without a feature.
  const nobody = { feature: text("chart.held"), member: text("member.none"), value: text("chart.without", { attribute: known.attribute ?? "" }) }[by];
  const series = named.map((key, place) => ({ key, name: names.get(key) ?? (key || nobody), look: `s${place + 1}` }));
  if (named.length < ranked.length) series.push({ key: REST, name: text("chart.others", { count: ranked.length - named.length }), look: "s7" });
  for (const { amounts } of days) {
    const rest = ranked.slice(named.length).reduce((sum, key) => sum + (amounts.get(key) ?? 0), 0);
    if (named.length < ranked.length) amounts.set(REST, rest);
  }
  const rows = days.map(({ day, amounts }) => {
    const values = series.map(({ key }) => Math.max(0, amounts.get(key) ?? 0)); // what was taken back may exceed a day's usage
    return { day, values, sum: values.reduce((sum, value) => sum + value, 0) };
  });
  return { series, days: rows, total: rows.reduce((sum, { sum: value }) => sum + value, 0) };
}

/** @param {{ since: string, days: number }} range */
function daysOf({ since, days }) {
  const first = Date.parse(`${since}T00:00:00Z`);
  return Array.from({ length: days }, (_, n) => new Date(first + n * 86_400_000).toISOString().slice(0, 10));
}

/**
 * Steps of a round number that reach the largest amount, five at most.
 *
 * @param {number} most
 */
export function scale(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [0.2, 0.25, 0.5, 1, 2].map((factor) => factor * power).find((size) => most / size <= 5) ?? 2 * power;
  return { step, steps: Math.ceil(most / step) };
}
