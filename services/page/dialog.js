// Dialogs: the browser's own, so that focus, Escape and what lies behind are taken care of.

import { h, icon } from "./dom.js";
import { Problem } from "./session.js";

const LOCK = "M5 7V5.200a3 3 0 0 1 6 0V7M3.800 7h8.400v6.200H3.800z";

/**
 * A dialog over the page; the form's submit is `onsubmit`. It is gone when it closes, and `closed` hears of it.
 *
 * @param {CreditsElement} element
 * @param {{ title: string, about?: string | null, beside?: Content, onsubmit?: (() => void) | null, onclose?: (() => void) | null }} about
 * @param {Content[]} content
 */
export function openDialog(element, { title, about = null, beside = null, onsubmit = null, onclose = null }, ...content) {
  const heading = h("h2", { id: "dialog-title" }, title);
  const head = h("div", { class: "head" }, heading, beside, about && h("p", { class: "quiet" }, about));
  const form = h("form", { novalidate: true }, head, content);
  const dialog = h("dialog", { "aria-labelledby": "dialog-title", part: "dialog", lang: element.words.language }, form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onsubmit?.();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    onclose?.();
  });
  // A press that began and ended on what lies behind closes it; one that only ended there, after marking text, does not.
  let outside = false;
  dialog.addEventListener("pointerdown", ({ target }) => (outside = target === dialog));
  dialog.addEventListener("click", ({ target }) => outside && target === dialog && dialog.close());
  element.root.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Who may do what a member may not, by name, and words that can be sent to them.
 *
 * @param {CreditsElement} element
 * @param {{ title: string, what: string, request: string }} words
 */
export async function askAnAdmin(element, { title, what, request }) {
  const { text, list } = element.words;
  const known = await element.session.share("").catch(() => null);
  const admins = known?.admins ?? [];
  const team = known?.name ?? "";
  const names = list(admins.map(({ name }) => name));
  const nobody = text(known ? "ask.nobody" : "ask.unknown");
  const whom = names ? text(admins.length > 1 ? "ask.admins" : "ask.admin", { names }) : nobody;
  const words = [request, team && text("ask.team", { team }), location.origin + location.pathname].filter(Boolean).join(" ");
  const copy = h("button", { type: "button", class: "primary" }, text("ask.copy"));
  copy.addEventListener("click", async () => {
    const isCopied = await navigator.clipboard.writeText(words).then(
      () => true,
      () => false,
    );
    if (isCopied) copy.textContent = text("ask.copied");
    else copy.replaceWith(h("p", { class: "note" }, words)); // where the browser forbids it, a hand can
  });
  const close = h("button", { type: "button", onclick: () => dialog.close() }, text("close"));
  const said = h("p", {}, what, h("br"), h("strong", {}, whom));
  const canCopy = Boolean(names && navigator.clipboard); // only where the page came by https
  const dialog = openDialog(element, { title }, h("div", { class: "ask" }, icon(LOCK), said, canCopy && copy), h("div", { class: "buttons" }, close));
}

/**
 * What went wrong with a command.
 *
 * @param {string} said
 */
export function wrong(said) {
  return h("p", { class: "note wrong", role: "alert" }, said);
}

/**
 * To Stripe and back. A host's page has a sign-in that outlasts the way, so its own tab goes there; our page keeps its token
 * in memory alone, so it stays open and Stripe gets a tab of its own.
 *
 * @param {Session} session
 * @param {() => string | null | Promise<string | null>} ask
 */
export async function visitStripe(session, ask) {
  const tab = session.newTab ? open("", "_blank") : window;
  if (!tab) throw new Problem(0, { detail: "problem.no_tab" });
  try {
    const address = await ask();
    if (address) tab.location.assign(address);
    else if (tab !== window) tab.close(); // nothing has to be done there any more
  } catch (problem) {
    if (tab !== window) tab.close();
    throw problem;
  }
}
