// What stands at the top of the tab: the one thing that matters most, in words, with the way out.

import { plus } from "./formats.js";
import { sentence } from "./words.js";

/** @typedef {"confirm" | "card" | "add" | "buy" | "enable" | "settings"} Action */
/** @typedef {{ kind: string, title: string, text: string, action: Action, saysWhy: boolean }} Banner  `saysWhy`: the reason of the top-ups, too */

/**
 * The banner for a team's top-ups and balance, or null. A team without credits is told that first, whatever else there is: what keeps
 * top-ups from ending it is said in the same banner, and is what its button puts right.
 *
 * @param {Words} words
 * @param {{ topUp?: Api.TopUp, balance?: Api.Balance }} known
 * @returns {Banner | null}
 */
export function bannerOf(words, { topUp, balance }) {
  const { text } = words;
  const trouble = topUp ? troubleOf(words, topUp) : null;
  const out = balance && Number(balance.available) <= 0 ? ranOut(words, balance) : null;
  if (out) {
    const why = trouble ? ` ${trouble.title} ${trouble.text}` : "";
    const action = trouble && trouble.action !== "settings" ? trouble.action : "buy";
    return { kind: "bad", title: text("banner.out"), text: out + why, action, saysWhy: trouble !== null };
  }
  if (trouble) return { kind: "warn", ...trouble, saysWhy: true };
  if (topUp && !topUp.enabled && balance?.low) {
    return { kind: "warn", title: text("banner.low"), text: text("banner.left", { count: balance.available }), action: "enable", saysWhy: false };
  }
  if (topUp && !topUp.enabled) {
    return { kind: "calm", title: text("banner.off"), text: text("banner.why"), action: "enable", saysWhy: false };
  }
  return null;
}

/**
 * What keeps top-ups from running, and the way out.
 *
 * @param {Words} words
 * @param {Api.TopUp} topUp
 * @returns {{ title: string, text: string, action: Action } | null}
 */
function troubleOf({ text, said }, { state, reason, enabled, next_charge_preview: next }) {
  if (state === "action_required") return { title: text("banner.unconfirmed"), text: text("banner.bank"), action: "confirm" };
  if (state === "suspended") return { title: text("banner.paused"), text: sentence(said(reason ?? "")), action: "card" };
  if (!enabled || !reason) return null;
  const why = next?.not_now ?? "no_payment_method"; // the only reason without a preview's word
  const title = text(next?.now === false && next.not_now ? "banner.next" : "banner.now");
  return { title, text: sentence(said(reason)), action: why === "no_payment_method" ? "add" : "settings" };
}

/**
 * @param {Words} words
 * @param {Api.Balance} balance
 */
function ranOut({ text }, { total, held }) {
  const refused = text("banner.refused");
  if (Number(total) < 0) return `${text("banner.beyond", { count: plus("0", total.slice(1)) })} ${refused}`;
  return Number(held) > 0 ? text("banner.held") : refused;
}
