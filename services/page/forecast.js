// How long the credits will last: a range, from the pace of the days that lie behind.

import { h } from "./dom.js";

const PACE_DAYS = "/usage?by=day&days=30";
const DAY = 86_400_000;
const KNOWN_MIN = 5; // days with usage, out of those looked at; with fewer, nothing is said
const CYCLE = 30; // days, for refills after the next one
const FAR = 60; // days; farther nobody should look

/**
 * What a team used on each day since its first use in the last month, oldest first and without today. Throws what the API says where it
 * does not load.
 *
 * @param {Session} session
 * @returns {Promise<number[]>}
 */
export async function usedByDay(session) {
  const answer = await session.share(PACE_DAYS);
  const { since } = answer;
  const items = /** @type {Api.UsedOnDay[]} */ (answer.items); // as asked for
  const used = new Map(items.map(({ day, credits }) => [day, Number(credits)]));
  const first = Date.parse(`${since}T00:00:00Z`);
  const days = Array.from({ length: 29 }, (_, n) => new Date(first + n * DAY).toISOString().slice(0, 10));
  const began = days.findIndex((day) => used.has(day));
  return began < 0 ? [] : days.slice(began).map((day) => used.get(day) ?? 0);
}

/**
 * "about **9–14 days**", the near end rounded down and the far end up; null with too little data.
 *
 * @param {Words} words
 * @param {number[]} used
 * @param {Api.Balance} balance
 */
export function lasting({ text, rich }, used, balance) {
  const known = forecast(used, balance);
  if (!known) return null;
  const [least, most] = [Math.floor(known.least), Math.ceil(known.most)];
  if (least >= FAR) return [h("strong", {}, text("lasting.far", { count: FAR }))];
  const exactly = least === most ? text("days", { count: least }) : text("lasting.range", { least: String(least), most: String(most) });
  return rich("lasting.about", { days: h("strong", {}, most >= FAR ? text("lasting.or_more", { count: least }) : exactly) });
}

/**
 * The fewest and the most days that a balance lasts, or null with too little data. `used` is what was used on each day, oldest first,
 * without today; `balance` as the API tells it. An estimate, so ordinary numbers will do.
 *
 * @param {number[]} used
 * @param {Api.Balance} balance
 * @param {number} [now]
 */
export function forecast(used, balance, now = Date.now()) {
  if (used.filter((credits) => credits > 0).length < KNOWN_MIN || Number(balance.available) <= 0) return null;
  const paces = [used.slice(-7), used].map((days) => days.reduce((sum, credits) => sum + credits, 0) / days.length);
  // Days differ from one another: a fifth more or less than the slower and the faster pace is nothing unusual.
  const [slow, fast] = [Math.min(...paces) * 0.8, Math.max(...paces) * 1.2];
  return { least: lasts(fast, balance, now), most: lasts(slow, balance, now) };
}

/**
 * Days until nothing is available at a pace, included credits refilled on their day; never more than FAR.
 *
 * @param {number} pace
 * @param {Api.Balance} balance
 * @param {number} now
 */
function lasts(pace, balance, now) {
  const available = Number(balance.available);
  let included = Math.min(Math.max(0, Number(balance.included)), available);
  let additional = available - included;
  let refill = balance.next_refill_at ? (Date.parse(balance.next_refill_at) - now) / DAY : Infinity;
  for (let day = 0; day < FAR; day++) {
    if (included + additional <= pace) return day + (included + additional) / pace;
    additional -= Math.max(0, pace - included);
    included = Math.max(0, included - pace);
    if (refill > day + 1) continue;
    included = Number(balance.next_allowance);
    refill += CYCLE;
  }
  return FAR;
}
