// <buy-credits>: the packs, and the way to Stripe and back; members hear whom to ask.

import { askAnAdmin, openDialog, visitStripe, wrong } from "../dialog.js";
import { h } from "../dom.js";
import { CreditsElement } from "../element.js";
import { lasting, usedByDay } from "../forecast.js";
import { failure, loader, skeleton } from "../loading.js";
import { newKey } from "../session.js";
import { css } from "../style.js";
import { credits, money, moneyEach, plus } from "../words.js";

const LOOK_EVERY = 1_000; // milliseconds between two looks at a purchase that is being paid
const WAITING = "Pay on Stripe's page. This page updates when you have paid. If you close Stripe's page, nothing is charged.";
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

export class BuyCredits extends CreditsElement {
  static live = false;

  #button = h("button", { type: "button", class: "primary", part: "button", disabled: true, onclick: () => this.open() }, "Buy credits");

  constructor() {
    super(sheet);
    this.root.append(this.#button);
  }

  begin() {
    this.#button.disabled = false;
  }

  /** Show the packs, or whom to ask. */
  async open() {
    await this.session.share("").catch(() => null); // until a request was sent, nobody knows the role
    if (this.session.isAdmin) this.#choose();
    else
      askAnAdmin(this, {
        title: "Ask an admin for more credits",
        what: "Only team admins can buy credits.",
        request: "Could you buy more credits for us?",
      });
  }

  #choose() {
    const body = h("div", {});
    const pay = h("button", { class: "primary", disabled: true }, "Pay with Stripe");
    const said = h("div", { role: "status" });
    const keep = h("input", { type: "checkbox" });
    const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
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
      pay.textContent = `Pay ${money(pack)} with Stripe`;
      const { balance } = this.session;
      said.replaceChildren(...(balance ? [afterwards(balance, pack, used)] : []));
    };
    /** @param {Api.Pack} pack */
    const send = async ({ pack }) => {
      pay.disabled = true;
      try {
        let id = "";
        await visitStripe(this.session, async () => {
          const asked = { pack, save_card: keep.checked, return_url: this.session.returnUrl };
          const purchase = await this.session.send("POST", "/purchases", asked, { key });
          id = purchase.id;
          return purchase.checkout_url;
        });
        dialog.close();
        if (this.session.newTab) this.follow(id);
      } catch (problem) {
        said.replaceChildren(wrong(/** @type {Thrown} */ (problem)));
        pay.disabled = false;
      }
    };
    const dialog = openDialog(
      this,
      { title: "Buy credits", about: "Added to your team at once. They never expire.", onsubmit: () => chosen && send(chosen) },
      body,
      h("label", { class: "keep" }, keep, "Keep the card for automatic top-ups"),
      said,
      h("div", { class: "buttons" }, cancel, pay),
    );
    const load = loader((/** @type {Loading<{ packs: Api.Pack[], used: number[] }>} */ state) => {
      if (state.phase === "ready") {
        used = state.value.used;
        body.replaceChildren(choiceOf(state.value.packs, choose));
        /** @type {HTMLElement | null} */ (body.querySelector(":checked"))?.focus();
      } else if (state.phase === "loading") {
        body.replaceChildren(skeleton("The packs are loading", "full", "full", "full"));
      } else {
        body.replaceChildren(failure("The packs did not load.", state));
      }
    }, dialog);
    const pace = usedByDay(this.session).catch(() => []); // nobody waits for a forecast who wants to buy
    load(async () => ({ packs: await this.session.share("v1/packs"), used: await pace }));
  }

  /**
   * A purchase whose Checkout is open elsewhere, or that the browser has come back from: until its credits are there.
   *
   * @param {string} id
   */
  follow(id) {
    const body = h("div", { class: "ask", role: "status" }, h("p", {}, WAITING));
    const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close");
    let open = true;
    const dialog = openDialog(
      this,
      { title: "Waiting for your payment", onclose: () => (open = false) },
      body,
      h("div", { class: "buttons" }, close),
    );
    const title = /** @type {HTMLElement} */ (dialog.querySelector("h2"));
    let shown = "";
    /** @param {Shown} purchase */
    const show = (purchase) => {
      const [heading, words] = told(purchase);
      const { receipt_url: paid, checkout_url: page } = purchase;
      const way = paid ?? (purchase.state === "open" ? page : null) ?? null;
      const said = JSON.stringify([heading, words, way]);
      if (said === shown) return; // what is drawn anew cannot be pressed, and is read out anew
      shown = said;
      title.textContent = heading;
      body.replaceChildren(h("p", {}, words), ...(way ? [paid ? receipt(way) : this.#again(way)] : []));
    };
    const look = async () => {
      if (!open) return;
      /** @type {Shown} */
      const purchase = await this.session
        .get(`/purchases/${encodeURIComponent(id)}`)
        .catch((problem) => ({ state: problem.final ? "lost" : "unknown" }));
      if (purchase.state !== "unknown") show(purchase);
      if (UNDER_WAY.includes(purchase.state)) setTimeout(look, LOOK_EVERY);
      else this.session.renew("/top-up"); // the card may have been kept
    };
    look();
  }

  /**
   * The way back to Stripe's page, for who has closed it.
   *
   * @param {string} address
   */
  #again(address) {
    const again = h("button", { type: "button", class: "link" }, "Open the payment page again");
    again.addEventListener("click", () => visitStripe(this.session, () => address).catch((problem) => again.after(wrong(problem))));
    return again;
  }
}

/** @param {string} address */
const receipt = (address) => h("a", { href: address, target: "_blank", rel: "noreferrer" }, "Open the receipt");

/**
 * What the team has once it has bought, and how long that lasts.
 *
 * @param {Api.Balance} balance
 * @param {Api.Pack} pack
 * @param {number[]} used
 */
function afterwards(balance, pack, used) {
  const [total, available] = [plus(balance.total, pack.credits), plus(balance.available, pack.credits)];
  const lasts = lasting(used, { ...balance, available });
  return h(
    "p",
    { class: "note" },
    "New balance ",
    h("strong", { class: "number" }, credits(total)),
    ...(lasts ? [" · lasts ", ...lasts, " at this pace"] : []),
  );
}

/**
 * @param {Shown} purchase
 * @returns {[heading: string, words: string]}
 */
function told({ state, credits: amount, detail }) {
  switch (state) {
    case "open":
      return ["Waiting for your payment", WAITING];
    case "processing":
      return ["Your payment is being processed", "The credits are added once your bank approves. You can leave this page."];
    case "credited":
      return ["Thank you", `${credits(amount ?? "")} credits were added to your team's balance.`];
    case "expired":
      return ["Nothing was paid", "The payment page has expired. Nothing was charged."];
    case "failed":
      return ["The payment failed", detail ?? "The bank declined it. Nothing was charged."];
    default:
      return ["Something went wrong", detail ?? "This purchase was not found."];
  }
}

/**
 * @param {Api.Pack[]} packs
 * @param {(pack: Api.Pack) => void} choose
 */
function choiceOf(packs, choose) {
  const rows = packs.map((pack, place) => {
    const input = h("input", { type: "radio", name: "pack", value: pack.pack, checked: place === 1 });
    input.addEventListener("change", () => choose(pack));
    return h(
      "label",
      { class: "pack" },
      input,
      h("span", {}, h("strong", { class: "number" }, credits(pack.credits)), " credits"),
      h("strong", { class: "number" }, money(pack)),
      h("span", { class: "quiet" }, pack.name),
      h("span", { class: "quiet number" }, `${moneyEach(pack)} each`),
    );
  });
  const usual = packs[1] ?? packs[0];
  if (usual) choose(usual);
  return h("fieldset", { class: "packs" }, h("legend", { class: "unseen" }, "Credit packs"), rows);
}

customElements.define("buy-credits", BuyCredits);
