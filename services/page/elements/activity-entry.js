// A row of the activity, and what it says when it is opened: the rate, the formula, which credits paid.

import { h, icon } from "../dom.js";
import { failure, loader, skeleton } from "../loading.js";
import { PER, TYPES, attributes, credits, creditsChange, isNegative, isZero, money, onDayOfYear, when, whenExactly } from "../words.js";

const MINUS = "M4 8h8";
const PLUS = "M8 4v8M4 8h8";
const ROUND = "M12.500 8a4.500 4.500 0 1 1-1.400-3.300M12.500 3v2.500H10";
const CROSS = "M5 5l6 6M11 5l-6 6";
const BACK = "M6 4L3 7l3 3M3 7h6a3 3 0 0 1 0 6H7";

const LOOKS = {
  usage: [MINUS, "used"],
  usage_voided: [BACK, "gained"],
  purchase: [PLUS, "gained"],
  top_up: [PLUS, "gained"],
  refill: [ROUND, "included"],
  grant: [PLUS, "gained"],
  adjustment: [PLUS, "used"],
  expiry: [CROSS, "used"],
  refund: [BACK, "used"],
  dispute: [CROSS, "warned"],
  top_up_failed: [CROSS, "warned"],
  top_up_skipped: [CROSS, "warned"],
};

/** The rows of an entry: what happened, and below it, once asked for, why. */
export function entryRows(item, session, nameOf) {
  const why = h("tr", { class: "why", hidden: true }, h("td", { colspan: "4" }));
  const [path, look] = LOOKS[item.type] ?? [MINUS, "used"];
  const toggle = h("button", { type: "button", class: "what", "aria-expanded": "false" }, item.description);
  toggle.addEventListener("click", () => {
    const opened = toggle.getAttribute("aria-expanded") !== "true";
    toggle.setAttribute("aria-expanded", String(opened));
    why.hidden = !opened;
    if (opened && !why.dataset.asked) explain(item, session, why);
  });
  const member = item.member_id ? nameOf(item.member_id) : "—";
  const at = h("time", { datetime: item.at, title: whenExactly(item.at) }, when(item.at));
  const what = h(
    "div",
    {},
    h("span", { class: "unseen" }, `${TYPES[item.type] ?? item.type}: `),
    toggle,
    item.detail && h("span", { class: "quiet more" }, item.detail),
    h("span", { class: "quiet narrow" }, `${when(item.at)} · ${member}`),
  );
  // The button is what keyboards and screen readers know; a pointer may hit the whole row, or mark its text.
  const row = h("tr", { class: "entry", "data-id": item.id });
  row.addEventListener("click", ({ target }) => !toggle.contains(target) && !getSelection().toString() && toggle.click());
  const amount = isZero(item.credits) || isNegative(item.credits) ? "amount number" : "amount number plus";
  row.append(
    h("td", { class: "at" }, at),
    h("td", { class: "event" }, h("div", { class: "told" }, h("span", { class: `mark ${look}` }, icon(path)), what)),
    h("td", { class: "member" }, member),
    h("td", { class: amount }, creditsChange(item.credits)),
  );
  return [row, why];
}

function explain(item, session, why) {
  const place = why.firstElementChild;
  const load = loader((state) => {
    if (state.phase === "ready") {
      why.dataset.asked = "yes";
      place.replaceChildren(explanation(state.value));
    } else if (state.phase === "loading") {
      place.replaceChildren(skeleton("The entry is loading", "half", "half"));
    } else {
      place.replaceChildren(failure("The entry did not load.", state));
    }
  });
  load(() => session.get(`/entries/${encodeURIComponent(item.id)}`));
}

function explanation(entry) {
  const { price, paid_by: paid, charge } = entry;
  const lines = [
    price && ["Rate", `${price.name}${named(price.rate_attributes)} · ${price.rate} credits ${PER[price.per]} · rate card ${price.rate_card}, in force since ${onDayOfYear(price.in_force_since)}`],
    price && ["Formula", price.formula],
    !price && entry.reason && ["Reason", entry.reason],
    paid.length && ["Paid by", paid.map(lot)],
    charge && ["Charged", money(charge)],
    charge?.receipt_url && ["Receipt", h("a", { href: charge.receipt_url, rel: "noreferrer" }, "Open the receipt")],
    ["Balance after", `${credits(entry.balance_after)} at position ${entry.position}`],
  ];
  return h(
    "dl",
    { class: "explanation" },
    lines.filter(Boolean).map(([name, said]) => h("div", {}, h("dt", {}, name), h("dd", {}, said))),
  );
}

const named = (known) => (Object.keys(known).length ? `, ${attributes(known).toLowerCase()}` : "");

function lot({ kind, name, gained_at: at, credits: amount }) {
  const since = at ? `, ${onDayOfYear(at)}` : "";
  return h("span", { class: "paid" }, h("span", { class: `chip ${kind}` }, name + since), ` ${credits(amount)} `);
}
