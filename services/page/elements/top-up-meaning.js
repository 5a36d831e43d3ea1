// What settings of top-ups mean, before they are saved: the amounts as they were read, what they would have charged, what they charge now.

import { h } from "../dom.js";

const DATES_MAX = 6;

/** @param {Content | Content[]} said */
export const note = (said) => h("p", { class: "note" }, said);

/**
 * What is about to be saved, read back; what the settings would have meant, and what they mean now; the server says both.
 *
 * @param {Words} words
 * @param {Api.Simulation} said
 * @param {Api.TopUpBody} body
 * @param {Api.TopUp} known
 */
export function foreseen(words, { charges, total, days: count, each, next_charge_preview: next }, body, { card, price }) {
  const { text, rich } = words;
  const days = String(count);
  const past = charges && total ? rich("form.past", { days, past: pastOf(words, charges, total) }) : text("form.past_unknown", { days });
  const what = next ? chargedNow(words, next, card) : null;
  return [
    note(readBack(words, body, each, price)),
    note(past),
    what
      ? h("p", { class: "note warned" }, rich("form.below", { what: h("strong", {}, what) }))
      : note(h("strong", {}, text("form.charges_nothing"))),
  ];
}

/**
 * @param {Words} words
 * @param {NonNullable<Api.Simulation["next_charge_preview"]>} next
 * @param {Api.TopUp["card"]} card
 */
function chargedNow({ text, money, cardName }, next, card) {
  const price = money(next);
  if (next.now) return card ? text("form.charges_card", { price, card: cardName(card) }) : text("form.charges", { price });
  return next.not_now === "no_payment_method" ? text("form.charges_later", { price }) : null;
}

/**
 * The amounts that will be saved, as they were understood: who has typed another sign than the reader's language has sees it here.
 *
 * @param {Words} words
 * @param {Api.TopUpBody} body
 * @param {Api.TopUpCost | null} each
 * @param {Api.TopUp["price"]} price
 */
function readBack(words, { threshold, credits: fixed, restore_to: full, monthly_cap: cap, max_per_month: times }, each, price) {
  const { text, rich, credits, money } = words;
  /** @param {string} said */
  const strong = (said) => h("strong", { class: "number" }, said);
  const costs = each ? rich("top_up.price", { price: strong(money(each)) }) : [];
  const adds = fixed
    ? rich("form.saves_adds", { credits: strong(credits(fixed)), price: costs })
    : rich("form.saves_fills", { credits: strong(credits(full ?? "0")) });
  const often = times ? text("form.saves_often", { count: times }) : [];
  const most = strong(money(cap ?? { amount: price.monthly_cap, currency: price.currency }));
  return rich("form.saves", { threshold: strong(credits(threshold ?? "0")), adds, cap: most, often });
}

/**
 * @param {Words} words
 * @param {Api.SimulatedCharge[]} charges
 * @param {Api.Money} total
 */
function pastOf({ text, money, onDay, list }, charges, total) {
  if (!charges.length) return h("strong", {}, text("form.past_nothing"));
  const days = [...new Set(charges.map(({ at }) => onDay(at)))];
  const dates = days.length > DATES_MAX ? `${days.slice(0, DATES_MAX).join(", ")} …` : list(days);
  return [h("strong", {}, text("form.past_times", { count: charges.length, total: money(total) })), `: ${dates}`];
}
