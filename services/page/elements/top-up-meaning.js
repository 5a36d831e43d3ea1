// What settings of top-ups mean, before they are saved: the amounts as they were read, what they would have charged, what they charge now.

import { h } from "../dom.js";
import { cardName, credits, money, onDay } from "../words.js";

const DATES_MAX = 6;

/** @param {Content | Content[]} said */
export const note = (said) => h("p", { class: "note" }, said);

/**
 * What is about to be saved, read back; what the settings would have meant, and what they mean now; the server says both.
 *
 * @param {Api.Simulation} said
 * @param {Api.TopUpBody} body
 * @param {Api.TopUp} known
 */
export function foreseen({ charges, total, days, each, next_charge_preview: next }, body, { card, price }) {
  const past =
    charges && total
      ? [`In the last ${days} days this would have charged `, ...pastOf(charges, total), "."]
      : `What this would have charged in the last ${days} days is not known: there is too much activity to check.`;
  const now = next?.now && `saving now will charge ${money(next)}${card ? ` to ${cardName(card)}` : ""}`;
  const later = next?.not_now === "no_payment_method" && `${money(next)} will be charged as soon as there is a card`;
  const said = now || later;
  return [
    note(readBack(body, each, price)),
    note(past),
    said
      ? h("p", { class: "note warned" }, "Available credits are below the threshold: ", h("strong", {}, said), ".")
      : note(h("strong", {}, "Saving charges nothing now.")),
  ];
}

/**
 * The amounts that will be saved, as they were understood: who has typed another sign than the reader's language has sees it here.
 *
 * @param {Api.TopUpBody} body
 * @param {Api.TopUpCost | null} each
 * @param {Api.TopUp["price"]} price
 */
function readBack({ threshold, credits: fixed, restore_to: full, monthly_cap: cap, max_per_month: times }, each, { currency, monthly_cap: usual }) {
  /** @param {string} text */
  const strong = (text) => h("strong", { class: "number" }, text);
  const adds = fixed ? ["add ", strong(credits(fixed)), " credits"] : ["fill up to ", strong(credits(full ?? "")), " credits"];
  const costs = fixed && each ? [" for ", strong(money(each))] : [];
  const often = times ? [`, ${times === 1 ? "once" : `${credits(times)} times`} at most`] : [];
  const most = strong(money(cap ?? { amount: usual, currency }));
  return [
    "This saves: below ",
    strong(credits(threshold ?? "")),
    " credits, ",
    ...adds,
    ...costs,
    ", at most ",
    most,
    " a\u00a0month",
    ...often,
    ".",
  ];
}

/**
 * @param {Api.SimulatedCharge[]} charges
 * @param {Api.Money} total
 */
function pastOf(charges, total) {
  if (!charges.length) return [h("strong", {}, "nothing")];
  const days = [...new Set(charges.map(({ at }) => onDay(at)))];
  const dates = days.length > DATES_MAX ? `${days.slice(0, DATES_MAX).join(", ")} …` : new Intl.ListFormat(undefined).format(days);
  return [h("strong", {}, `${charges.length === 1 ? "once" : `${charges.length} times`}, ${money(total)}`), `: ${dates}`];
}
