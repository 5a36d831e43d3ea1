// What stands at the top of the tab: the one thing that matters most, in words, with the way out.

import { credits, inOwnNumbers, plus, sentence } from "./words.js";

const REFUSED = "New AI work is refused until credits are added.";

/** @typedef {"confirm" | "card" | "add" | "buy" | "enable" | "settings"} Action */
/** @typedef {{ kind: string, title: string, text: string, action: Action, saysWhy: boolean }} Banner  `saysWhy`: the reason of the top-ups, too */

/**
 * The banner for a team's top-ups and balance, or null. A team without credits is told that first, whatever else there is: what keeps
 * top-ups from ending it is said in the same banner, and is what its button puts right.
 *
 * @param {{ topUp?: Api.TopUp, balance?: Api.Balance }} known
 * @returns {Banner | null}
 */
export function bannerOf({ topUp, balance }) {
  const trouble = topUp ? troubleOf(topUp) : null;
  const out = balance && Number(balance.available) <= 0 ? ranOut(balance) : null;
  if (out) {
    const why = trouble ? ` ${trouble.title} ${trouble.text}` : "";
    const action = trouble && trouble.action !== "settings" ? trouble.action : "buy";
    return { kind: "bad", title: "Your team has run out of credits.", text: out + why, action, saysWhy: trouble !== null };
  }
  if (trouble) return { kind: "warn", ...trouble, saysWhy: true };
  if (topUp && !topUp.enabled && balance?.low) {
    const text = `${credits(balance.available)} are left, and automatic top-ups are off.`;
    return { kind: "warn", title: "Credits are low.", text, action: "enable", saysWhy: false };
  }
  if (topUp && !topUp.enabled) {
    const text = "They keep work running when credits run low, and some features need them.";
    return { kind: "calm", title: "Automatic top-ups are off.", text, action: "enable", saysWhy: false };
  }
  return null;
}

/**
 * What keeps top-ups from running, and the way out.
 *
 * @param {Api.TopUp} topUp
 * @returns {{ title: string, text: string, action: Action } | null}
 */
function troubleOf({ state, reason, enabled, next_charge_preview: next }) {
  if (state === "action_required")
    return { title: "Confirm your payment.", text: "Your bank needs an admin to confirm this payment.", action: "confirm" };
  if (state === "suspended") return { title: "Top-ups are paused.", text: sentence(inOwnNumbers(reason ?? "")), action: "card" };
  if (!enabled || !reason) return null;
  const why = next?.not_now ?? "no_payment_method"; // the only reason without a preview's word
  const title = next?.now === false && next.not_now ? "The next top-up can't run." : "Top-ups can't run now.";
  return { title, text: sentence(inOwnNumbers(reason)), action: why === "no_payment_method" ? "add" : "settings" };
}

/** @param {Api.Balance} balance */
function ranOut({ total, held }) {
  if (Number(total) < 0) return `${credits(plus("0", total.slice(1)))} credits were used beyond your balance. ${REFUSED}`;
  return Number(held) > 0 ? "What is left is held for running work." : REFUSED;
}
