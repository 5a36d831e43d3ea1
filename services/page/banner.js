// What stands at the top of the tab: the one thing that matters most, in words, with the way out.

import { credits, inOwnNumbers, plus, sentence } from "./words.js";

const REFUSED = "New AI work is refused until credits are added.";

/** @typedef {"confirm" | "card" | "add" | "buy" | "enable" | "settings"} Action */

/**
 * The banner for a team's top-ups and balance, as `{kind, title, text, action}`, or null; the first that is true is shown.
 * `action` is one of "confirm", "card", "add", "buy", "enable", "settings".
 *
 * @param {{ topUp?: Api.TopUp, balance?: Api.Balance }} known
 * @returns {{ kind: string, title: string, text: string, action: Action } | null}
 */
export function bannerOf({ topUp, balance }) {
  if (topUp?.state === "action_required") {
    return { kind: "warn", title: "Confirm your payment.", text: "Your bank needs an admin to confirm this payment.", action: "confirm" };
  }
  if (topUp?.state === "suspended") {
    return { kind: "warn", title: "Top-ups are paused.", text: sentence(topUp.reason), action: "card" };
  }
  const out = balance && Number(balance.available) <= 0 ? ranOut(balance) : null;
  if (out) return { kind: "bad", title: "Your team has run out of credits.", text: out, action: "buy" };
  if (topUp?.enabled && topUp.reason) {
    const why = topUp.next_charge_preview?.not_now ?? "no_payment_method"; // the only reason that is given while the balance is not low
    const action = why === "no_payment_method" ? "add" : "settings";
    return { kind: "warn", title: "Top-ups can't run now.", text: sentence(inOwnNumbers(topUp.reason)), action };
  }
  if (topUp && !topUp.enabled) {
    const text = "They keep work running when credits run low, and some features need them.";
    return { kind: "calm", title: "Automatic top-ups are off.", text, action: "enable" };
  }
  return null;
}

/** @param {Api.Balance} balance */
function ranOut({ total, held }) {
  if (Number(total) < 0) return `${credits(plus("0", total.slice(1)))} credits were used past zero. ${REFUSED}`;
  return Number(held) > 0 ? "What is left is held for running work." : REFUSED;
}
