// <top-up-settings>: when credits are added by themselves, as a sentence; how it stands; and, for admins, the way to change it.

import { askAnAdmin, visitStripe } from "../dialog.js";
import { h } from "../dom.js";
import { CreditsElement } from "../element.js";
import { failure, loader, skeleton } from "../loading.js";
import { css } from "../style.js";
import { sentence } from "../words.js";

const RENEW_EVERY = 2_000; // milliseconds; a team may burn thousands of times a second
/** @type {Set<Api.Kind>} */
const TELLING = new Set(["top_up", "top_up_failed", "top_up_skipped", "purchase", "refund", "dispute"]);
/** @type {Record<Api.TopUp["state"] | "cannot", string>} */
const LOOKS = {
  off: "",
  on: "good",
  charging: "good",
  suspended: "warn",
  action_required: "warn",
  cannot: "warn", // switched on, and yet nothing would be charged: no card, a cap that is reached or too small
};

const sheet = css`
  section.card {
    display: flex;
    flex-direction: column;
  }
  [part="body"] {
    display: flex;
    flex-direction: column;
    flex: 1;
    margin-top: 8px;
  }
  .skeleton { min-height: 152px; } /* as high as what comes where top-ups are off */
  .rule {
    font-size: 17px;
    line-height: 1.55;
    text-wrap: pretty;
  }
  .reason {
    margin-top: 10px;
    font-size: 14px;
    color: var(--warn);
  }
  .spent {
    margin-top: 18px;
  }
  .spent i {
    display: block;
    height: 6px;
    margin-top: 6px;
    border-radius: 3px;
    background: linear-gradient(var(--additional), var(--additional)) no-repeat var(--line);
  }
  .foot {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    justify-content: space-between;
    gap: 10px 16px;
    margin-top: auto;
    padding-top: 16px;
    border-top: 1px solid var(--line);
  }
  .rest {
    height: 20px;
  }
`;

export class TopUpSettings extends CreditsElement {
  #load = loader((/** @type {Loading<Api.TopUp>} */ state) => this.#show(state), this);
  #body = h("div", { part: "body" });
  #state = h("span", {});
  /** @type {Api.TopUp | null} */
  #known = null;
  /** @type {number | null} */
  #renewing = null;

  constructor() {
    super(sheet);
    const head = h("div", { class: "head" }, h("h2", {}, this.say("top_up.title")), this.#state);
    this.root.append(this.name(h("section", { class: "card", part: "card" }, head, this.#body), "top_up.title"));
  }

  begin() {
    this.hear("changed", (path) => path === "/top-up" && this.#ask({ quietly: true }));
    this.hear("activity", ({ items, more }) => (more || items.some(({ type }) => TELLING.has(type))) && this.#renewSoon());
    this.hear("balance", (balance) => this.#mayHaveChanged(balance) && this.#renewSoon());
    this.#ask();
  }

  #ask({ quietly = false } = {}) {
    this.#load(() => this.session.share("/top-up"), { quietly });
  }

  /**
   * Low balances lead to charges, and what is under way comes to an end; at other times nothing changes unseen.
   *
   * @param {Api.Balance} balance
   */
  #mayHaveChanged({ available, top_up_enabled: enabled }) {
    if (!this.#known) return false;
    const { state, threshold } = this.#known;
    return enabled !== this.#known.enabled || !["on", "off"].includes(state) || (enabled && Number(available) < Number(threshold));
  }

  #renewSoon() {
    this.#renewing ??= setTimeout(() => {
      this.#renewing = null;
      this.session.renew("/top-up");
    }, RENEW_EVERY);
  }

  /** @param {Loading<Api.TopUp>} state */
  #show(state) {
    if (state.phase === "ready") {
      this.#known = state.value;
      this.#draw(state.value);
    } else if (state.phase === "loading") {
      this.#body.replaceChildren(skeleton(this.words.text("top_up.loading"), "full", "half", "short"));
    } else {
      this.#body.replaceChildren(failure(this.words, this.words.text("top_up.failed"), state));
    }
  }

  /** @param {Api.TopUp} known */
  #draw(known) {
    const { text, said, cardName } = this.words;
    const state = known.state === "on" && known.reason ? "cannot" : known.state;
    this.#state.className = `chip ${LOOKS[state]}`;
    this.#state.textContent = text(`top_up.${state}`);
    const open = h(
      "button",
      { type: "button", part: "button", onclick: () => this.open() },
      text(known.enabled ? "top_up.configure" : "top_up.enable"),
    );
    const { card } = known; // admins alone see whether there is one
    const change = h("button", { type: "button", class: "link", onclick: () => this.changeCard() }, text(card ? "top_up.change" : "top_up.add_card"));
    const paysWith = !this.session.isAdmin
      ? h("span", {})
      : h("span", { class: "quiet" }, `${card ? cardName(card) : text("top_up.no_card")} `, change);
    this.#body.replaceChildren(
      h("p", { class: "rule" }, known.enabled ? rule(this.words, known) : text("top_up.what")),
      ...(known.enabled && known.reason ? [h("p", { class: "reason", part: "reason" }, sentence(said(known.reason)))] : []),
      ...(known.enabled ? spent(this.words, known) : []),
      h("div", { class: "rest" }),
      h("div", { class: "foot" }, paysWith, open),
    );
  }

  /** Change the settings, or hear whom to ask. */
  async open() {
    await this.session.share("").catch(() => null);
    const { text } = this.words;
    const enable = !this.#known?.enabled; // what the button says
    if (this.session.isAdmin) {
      const form = await import("./top-up-form.js").catch(() => null);
      return form ? form.editTopUps(this, { enable }) : this.#fail(text("top_up.unopened"), { message: text("reload") });
    }
    askAnAdmin(this, {
      title: text("ask.top_up"),
      what: text("ask.top_up_what"),
      request: text(enable ? "ask.top_up_off" : "ask.top_up_on"),
    });
  }

  /** Another card: on Stripe's own page, which is the only one that ever sees its number. */
  async changeCard() {
    let id = "";
    const isAsked = await this.#leave(async (asked) => {
      const page = await this.session.send("POST", "/payment-method", asked);
      id = page.id;
      return page.checkout_url;
    });
    if (isAsked) this.#followCard(id);
  }

  /** The bank wants to see somebody: the same payment, confirmed by hand. */
  async confirm() {
    const isAsked = await this.#leave(async (asked) => (await this.session.send("POST", "/top-up/confirm", asked)).url);
    if (isAsked) this.session.renew("/top-up");
  }

  /**
   * To Stripe's page at the address that `ask` gives; false, and words that say why, where that did not work.
   *
   * @param {(asked: { return_url: string }) => Promise<string | null>} ask
   */
  async #leave(ask) {
    try {
      await visitStripe(this.session, () => ask({ return_url: this.session.returnUrl }));
      return true;
    } catch (problem) {
      this.#fail(this.words.text("top_up.undone"), /** @type {Thrown} */ (problem));
      return false;
    }
  }

  /**
   * @param {string} title
   * @param {Said} problem
   */
  #fail(title, problem) {
    this.#body.querySelector(".failure")?.remove();
    this.#body.prepend(failure(this.words, title, { problem }));
  }

  /** @param {string} id */
  async #followCard(id) {
    const { state } = await this.session.get(`/payment-method/${encodeURIComponent(id)}`).catch(({ final }) => ({ state: final ? "lost" : "open" }));
    if (state === "open" && this.isConnected) return setTimeout(() => this.#followCard(id), RENEW_EVERY);
    this.session.renew("/top-up");
  }
}

/**
 * @param {Words} words
 * @param {Api.TopUp} known
 */
function rule(words, { threshold, credits: fixed, restore_to: full, monthly_cap: cap, max_per_month: times, next_charge_preview: next }) {
  const { text, rich, credits, inCredits, money } = words;
  /** @param {string} said */
  const strong = (said) => h("strong", { class: "number" }, said);
  const price = fixed && next && next.credits === fixed ? rich("top_up.price", { price: strong(money(next)) }) : [];
  const adds = fixed
    ? rich("top_up.adds", { credits: strong(inCredits(fixed)), price })
    : rich("top_up.fills", { credits: strong(inCredits(full ?? "0")) });
  const most = cap ? rich("top_up.most", { cap: strong(money(cap)) }) : [];
  const often = times ? text("top_up.often", { count: times }) : [];
  const below = credits(threshold ?? "0");
  const drop = fixed ? [" ", text("top_up.drop", { threshold: below })] : [];
  return [...rich("top_up.rule", { threshold: strong(below), adds, most, often }), ...drop];
}

/**
 * How far the month has come towards its cap.
 *
 * @param {Words} words
 * @param {Api.TopUp} known
 */
function spent({ text, money, inMonth }, { state, charged_this_month: charged, monthly_cap: cap }) {
  if (!charged) return [];
  const taken = ["charging", "action_required"].includes(state) ? "going" : "charged";
  const told = { amount: money(charged), month: inMonth(charged.month) };
  const { count } = charged;
  const times = count === undefined ? text(`top_up.${taken}`, told) : text(`top_up.${taken}_in`, { ...told, count });
  const said = h("p", { class: "quiet" }, cap ? text(`top_up.${taken}_of`, { ...told, cap: money(cap) }) : times);
  const bar = h("i", { "aria-hidden": "true" });
  if (cap) bar.style.backgroundSize = `${Math.min(100, (100 * charged.amount) / cap.amount)}% 100%`;
  return [h("div", { class: "spent" }, said, cap && bar)];
}

customElements.define("top-up-settings", TopUpSettings);
