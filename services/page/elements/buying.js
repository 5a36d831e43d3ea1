// The dialogs of <buy-credits>: the packs, and the way to Stripe and back.

import { openDialog, visitStripe, wrong } from "../dialog.js";
import { h } from "../dom.js";
import { lasting, usedByDay } from "../forecast.js";
import { plus } from "../formats.js";
import { failure, loader, skeleton } from "../loading.js";
import { newKey } from "../session.js";
import { css } from "../style.js";
import "../texts/en-later.js";

const LOOK_EVERY = 1_000; // milliseconds between two looks at a purchase that is being paid
const UNDER_WAY = ["open", "processing", "unknown"];

/** @typedef {Partial<Omit<Api.Purchase, "state">> & { state: Api.Purchase["state"] | "lost" | "unknown" }} Shown  a purchase, as far as it is known */

const sheet = css`
  .packs {
    display: grid;
    gap: 8px;
    padding: 0;
    border: 0;
  }
  .pack {
    display: grid;
    grid-template-columns: auto 1fr auto;
    align-items: center;
    gap: 2px 14px;
    padding: 12px 16px;
    border: 1px solid var(--edge);
    border-radius: 12px;
    cursor: pointer;
  }
  .pack:hover {
    border-color: var(--accent);
  }
  .pack:has(:checked) {
    border-color: var(--accent);
    box-shadow: inset 0 0 0 1px var(--accent);
  }
  .pack:has(:focus-visible) {
    outline: 2px solid var(--accent);
    outline-offset: 2px;
  }
  .pack input {
    grid-row: span 2;
    outline: none;
  }
  .pack > :nth-child(odd) {
    text-align: end;
  }
  .pack strong {
    font-size: 16px;
  }
  .keep {
    display: flex;
    align-items: center;
    gap: 10px;
    font-size: 14px;
    cursor: pointer;
  }
`;

/**
 * The packs, to choose one and pay for it.
 *
 * @param {CreditsElement} element
 */
export function choosePack(element) {
  const sheets = element.root.adoptedStyleSheets;
  if (!sheets.includes(sheet)) sheets.push(sheet);
  const { session, words } = element;
  const { text, money } = words;
  const body = h("div", {});
  const pay = h("button", { class: "primary", disabled: true }, text("buy.pay"));
  const said = h("div", { role: "status" });
  const keep = h("input", { type: "checkbox" });
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, text("cancel"));
  /** @type {Api.Pack | null} */
  let chosen = null;
  let key = newKey();
  /** @type {number[]} */
  let used = [];
  /** @param {Api.Pack} pack */
  const choose = (pack) => {
    chosen = pack;
    key = newKey(); // another purchase, however often it is then sent
    pay.disabled = false;
    pay.textContent = text("buy.pay_price", { price: money(pack) });
    const { balance } = session;
    said.replaceChildren(...(balance ? [afterwards(words, balance, pack, used)] : []));
  };
  /** @param {Api.Pack} pack */
  const send = async ({ pack }) => {
    pay.disabled = true;
    try {
      let id = "";
      await visitStripe(session, async () => {
        const asked = { pack, save_card: keep.checked, return_url: session.returnUrl };
        const purchase = await session.send("POST", "/purchases", asked, { key });
        id = purchase.id;
        return purchase.checkout_url;
      });
      dialog.close();
      if (session.newTab) followPurchase(element, id);
    } catch (problem) {
      said.replaceChildren(wrong(words.problem(/** @type {Thrown} */ (problem))));
      pay.disabled = false;
    }
  };
  const dialog = openDialog(
    element,
    { title: text("buy.title"), about: text("buy.about"), onsubmit: () => chosen && send(chosen) },
    body,
    h("label", { class: "keep" }, keep, text("buy.keep")),
    said,
    h("div", { class: "buttons" }, cancel, pay),
  );
  const load = loader((/** @type {Loading<{ packs: Api.Pack[], used: number[] }>} */ state) => {
    if (state.phase === "ready") {
      used = state.value.used;
      body.replaceChildren(choiceOf(words, state.value.packs, choose));
      /** @type {HTMLElement | null} */ (body.querySelector(":checked"))?.focus();
    } else if (state.phase === "loading") {
      body.replaceChildren(skeleton(text("buy.loading"), "full", "full", "full"));
    } else {
      body.replaceChildren(failure(words, text("buy.failed"), state));
    }
  }, dialog);
  const pace = usedByDay(session).catch(() => []); // nobody waits for a forecast who wants to buy
  load(async () => ({ packs: await session.share("v1/packs"), used: await pace }));
}

/**
 * A purchase whose Checkout is open elsewhere, or that the browser has come back from: until its credits are there.
 *
 * @param {CreditsElement} element
 * @param {string} id
 */
export function followPurchase(element, id) {
  const { session, words } = element;
  const { text } = words;
  const body = h("div", { class: "ask", role: "status" }, h("p", {}, text("buy.open_what")));
  const close = h("button", { type: "button", onclick: () => dialog.close() }, text("close"));
  let open = true;
  const dialog = openDialog(element, { title: text("buy.open"), onclose: () => (open = false) }, body, h("div", { class: "buttons" }, close));
  const title = /** @type {HTMLElement} */ (dialog.querySelector("h2"));
  let shown = "";
  /** @param {Shown} purchase */
  const show = (purchase) => {
    const [heading, what] = told(words, purchase);
    const { receipt_url: paid, checkout_url: page } = purchase;
    const way = paid ?? (purchase.state === "open" ? page : null) ?? null;
    const said = JSON.stringify([heading, what, way]);
    if (said === shown) return; // what is drawn anew cannot be pressed, and is read out anew
    shown = said;
    title.textContent = heading;
    body.replaceChildren(h("p", {}, what), ...(way ? [paid ? receipt(text("buy.receipt"), way) : again(element, way)] : []));
  };
  const look = async () => {
    if (!open) return;
    /** @type {Shown} */
    const purchase = await session.get(`/purchases/${encodeURIComponent(id)}`).catch((problem) => ({ state: problem.final ? "lost" : "unknown" }));
    if (purchase.state !== "unknown") show(purchase);
    if (UNDER_WAY.includes(purchase.state)) return setTimeout(look, LOOK_EVERY);
    session.renew("/top-up"); // the card may have been kept
    if (purchase.id) session.tell("purchase", /** @type {Api.Purchase} */ (purchase));
  };
  look();
}

/**
 * The way back to Stripe's page, for who has closed it.
 *
 * @param {CreditsElement} element
 * @param {string} address
 */
function again({ session, words }, address) {
  const press = h("button", { type: "button", class: "link" }, words.text("buy.again"));
  press.addEventListener("click", () => visitStripe(session, () => address).catch((problem) => press.after(wrong(words.problem(problem)))));
  return press;
}

/**
 * @param {string} name
 * @param {string} address
 */
const receipt = (name, address) => h("a", { href: address, target: "_blank", rel: "noreferrer" }, name);

/**
 * What the team has once it has bought, and how long that lasts.
 *
 * @param {Words} words
 * @param {Api.Balance} balance
 * @param {Api.Pack} pack
 * @param {number[]} used
 */
function afterwards(words, balance, pack, used) {
  const [total, available] = [plus(balance.total, pack.credits), plus(balance.available, pack.credits)];
  const amount = h("strong", { class: "number" }, words.credits(total));
  const long = lasting(words, used, { ...balance, available });
  return h("p", { class: "note" }, long ? words.rich("buy.after_lasts", { amount, long }) : words.rich("buy.after", { amount }));
}

/**
 * @param {Words} words
 * @param {Shown} purchase
 * @returns {[heading: string, words: string]}
 */
function told({ text, said }, { state, credits: amount, detail }) {
  switch (state) {
    case "open":
    case "processing":
    case "expired":
      return [text(`buy.${state}`), text(`buy.${state}_what`)];
    case "credited":
      return [text("buy.credited"), text("buy.credited_what", { count: amount ?? "0" })];
    case "failed":
      return [text("buy.declined"), detail ? said(detail) : text("buy.declined_what")];
    default:
      return [text("buy.wrong"), detail ? said(detail) : text("buy.wrong_what")];
  }
}

/**
 * @param {Words} words
 * @param {Api.Pack[]} packs
 * @param {(pack: Api.Pack) => void} choose
 */
function choiceOf({ text, rich, credits, money, moneyEach }, packs, choose) {
  const rows = packs.map((pack, place) => {
    const input = h("input", { type: "radio", name: "pack", value: pack.pack, checked: place === 1 });
    input.addEventListener("change", () => choose(pack));
    return h(
      "label",
      { class: "pack" },
      input,
      h("span", {}, rich("buy.pack", { amount: h("strong", { class: "number" }, credits(pack.credits)) })),
      h("strong", { class: "number" }, money(pack)),
      h("span", { class: "quiet" }, pack.name),
      h("span", { class: "quiet number" }, text("buy.each", { price: moneyEach(pack) })),
    );
  });
  const usual = packs[1] ?? packs[0];
  if (usual) choose(usual);
  return h("fieldset", { class: "packs" }, h("legend", { class: "unseen" }, text("buy.packs")), rows);
}
