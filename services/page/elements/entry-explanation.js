// What a row of the activity says when it is opened: the rate, the formula, which credits paid.

import { openDialog } from "../dialog.js";
import { h } from "../dom.js";
import { isNegative } from "../formats.js";
import { missing } from "../loading.js";
import { attributes, quantityName } from "../words.js";
import "../texts/en-later.js";

/**
 * @param {Api.Entry} entry
 * @param {CreditsElement} element
 */
export function explanation(entry, element) {
  const { words } = element;
  const { text, when, whenExactly, credits } = words;
  const { price, paid_by: paid, charge } = entry;
  const at = whenExactly(entry.at);
  const came = entry.recorded_at === entry.at ? at : text("entry.recorded", { when: at, recorded: when(entry.recorded_at) });
  /** @type {(false | null | "" | [string, Content | Content[]])[]} */
  const lines = [
    [text("entry.when"), came],
    price && [text("entry.rate"), rate(price, element)],
    price && [text("entry.formula"), formula(words, price)],
    paid.length > 0 && [text(paidBy(entry)), paid.map((one) => lot(words, one, isNegative(entry.balance_after)))],
    charge && [text("entry.charge"), charged(words, charge)],
    [text("entry.balance"), credits(entry.balance_after)],
    entry.taken_back_by && [text("entry.since"), text("entry.taken_back")],
    entry.corrects && entry.type === "usage" && [text("entry.replaces"), text("entry.replaced")],
  ];
  return h(
    "dl",
    { class: "explanation" },
    lines.map((line) => line && h("div", {}, h("dt", {}, line[0]), h("dd", {}, line[1]))),
  );
}

/**
 * @param {Api.Price} price
 * @param {CreditsElement} element
 */
function rate(price, element) {
  const { text, rich, inCredits, onDayOfYear, per } = element.words;
  const { name, rate_attributes: named, rate: each, rate_card: version, in_force_since: since } = price;
  const what = Object.keys(named).length ? `${name}, ${attributes(named).toLowerCase()}` : name;
  const look = h(
    "button",
    { type: "button", class: "link", onclick: () => lookAtCard(element, version, since) },
    text("entry.card", { version: String(version) }),
  );
  const cost = each ? `${inCredits(each)} ${per(price)}` : per(price);
  return rich("entry.rate_of", { what, cost, card: look, date: onDayOfYear(since) });
}

/**
 * Of several quantities each has a line; what they come to together is rounded once, and stands below them.
 *
 * @param {Words} words
 * @param {Api.Price} price
 */
function formula({ text, said, credits, inCredits }, { formula: whole, components, for_units: many }) {
  if (components.length === 0) return said(whole);
  const each = components.map(({ quantity, used, rate: of, credits: part }) => {
    const price = many > 1 ? text("entry.each", { credits: credits(of), many: credits(many) }) : credits(of);
    return h("div", { class: "part" }, `${credits(used)} ${quantityName(quantity, used)} × ${price} = ${inCredits(part)}`);
  });
  const [, sum = "0"] = /= (\S+) \w+$/.exec(whole) ?? [];
  return [...each, text("entry.together", { credits: inCredits(sum) })];
}

/**
 * The card that priced an entry, over the page, so that nobody loses the place.
 *
 * @param {CreditsElement} element
 * @param {number} version
 * @param {string} since
 */
function lookAtCard(element, version, since) {
  const { text } = element.words;
  const card = h("rate-card", { plain: true, at: since });
  const close = h("button", { type: "button", onclick: () => dialog.close() }, text("close"));
  const dialog = openDialog(element, { title: text("entry.card_title", { version: String(version) }) }, card, h("div", { class: "buttons" }, close));
  card.session = element.session;
  import("./rate-card.js").catch(() => card.replaceWith(missing(element.words, text("rates.failed"))));
}

/** @param {Api.Entry} entry */
function paidBy({ type, credits: amount }) {
  if (!isNegative(amount)) return type === "usage_voided" ? "entry.given_back" : "entry.paid_off";
  return type === "usage" ? "entry.paid_by" : "entry.taken_from";
}

/**
 * @param {Words} words
 * @param {Api.PaidBy} paid
 * @param {boolean} isPastZero  whether the balance was below zero then: nothing else is red
 */
function lot({ heard, credits, onDayOfYear }, { kind, name, gained_at: at, credits: amount }, isPastZero) {
  const since = at ? `, ${onDayOfYear(at)}` : "";
  const look = kind === "overdraft" && !isPastZero ? "additional" : kind;
  return h("span", { class: "paid" }, h("span", { class: `chip ${look}` }, heard(name) + since), ` ${credits(amount)} `);
}

/**
 * The money behind the credits; its id and receipt, which tie it to a bank statement, are sent to admins and finance alone.
 *
 * @param {Words} words
 * @param {Api.Charge} charge
 */
function charged({ text, money }, { charge_id: id, payment_intent_id: intent, receipt_url: receipt, ...amount }) {
  const named = id ?? intent;
  const link = receipt && h("a", { href: receipt, target: "_blank", rel: "noreferrer" }, text("buy.receipt"));
  return [money(amount), named && h("span", { class: "quiet" }, ` · ${named}`), link && [" · ", link]].flat().filter(Boolean);
}
