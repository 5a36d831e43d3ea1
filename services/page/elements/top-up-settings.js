// <top-up-settings>: when credits are added by themselves, as a sentence; how it stands; and, for admins, the way to change it.

import { askAnAdmin, visitStripe } from "../dialog.js";
import { h } from "../dom.js";
import { CreditsElement } from "../element.js";
import { failure, loader, skeleton } from "../loading.js";
import { css } from "../style.js";
import { cardName, credits, inMonth, inOwnNumbers, money, sentence } from "../words.js";

const RENEW_EVERY = 2_000; // milliseconds; a team may burn thousands of times a second
/** @type {Set<Api.Kind>} */
const TELLING = new Set(["top_up", "top_up_failed", "top_up_skipped", "purchase", "refund", "dispute"]);
/** @type {Record<Api.TopUp["state"], [name: string, look: string]>} */
const STATES = {
  off: ["Off", ""],
  on: ["On", "good"],
  charging: ["Charging", "good"],
  suspended: ["Paused", "warn"],
  action_required: ["Action needed", "warn"],
};

/** @type {[name: string, look: string]} */
const CANNOT = ["Can't run", "warn"]; // switched on, and yet nothing would be charged: no card, a cap that is reached or too small

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
    const head = h("div", { class: "head" }, h("h2", {}, "Automatic top-ups"), this.#state);
    this.root.append(h("section", { class: "card", part: "card", "aria-label": "Automatic top-ups" }, head, this.#body));
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
      this.#body.replaceChildren(skeleton("Top-ups are loading", "full", "half", "short"));
    } else {
      this.#body.replaceChildren(failure("The settings of top-ups did not load.", state));
    }
  }

  /** @param {Api.TopUp} known */
  #draw(known) {
    const [name, look] = known.state === "on" && known.reason ? CANNOT : (STATES[known.state] ?? [known.state, ""]);
    this.#state.className = `chip ${look}`;
    this.#state.textContent = name;
    const open = h("button", { type: "button", part: "button", onclick: () => this.open() }, known.enabled ? "Configure top-ups" : "Enable top-ups");
    const { card } = known; // admins alone see whether there is one
    const change = h("button", { type: "button", class: "link", onclick: () => this.changeCard() }, card ? "Change" : "Add a card");
    const paysWith = !this.session.isAdmin ? h("span", {}) : h("span", { class: "quiet" }, card ? `${cardName(card)} ` : "No card yet. ", change);
    this.#body.replaceChildren(
      h(
        "p",
        { class: "rule" },
        known.enabled
          ? rule(known)
          : "Add credits when available credits drop below a threshold, so that work keeps running. Nothing is charged until then.",
      ),
      ...(known.enabled && known.reason ? [h("p", { class: "reason", part: "reason" }, sentence(inOwnNumbers(known.reason)))] : []),
      ...(known.enabled ? spent(known) : []),
      h("div", { class: "rest" }),
      h("div", { class: "foot" }, paysWith, open),
    );
  }

  /** Change the settings, or hear whom to ask. */
  async open() {
    await this.session.share("").catch(() => null);
    const enable = !this.#known?.enabled; // what the button says
    if (this.session.isAdmin) {
      const form = await import("./top-up-form.js").catch(() => null);
      return form ? form.editTopUps(this, { enable }) : this.#fail("The settings did not open.", "Reload the page to try again.");
    }
    askAnAdmin(this, {
      title: "Ask an admin about top-ups",
      what: "Only team admins can enable or change automatic top-ups.",
      request: this.#known?.enabled ? "Could you have a look at our automatic top-ups?" : "Could you enable automatic top-ups for us?",
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
      this.#fail("That did not work.", /** @type {Thrown} */ (problem).message);
      return false;
    }
  }

  /**
   * @param {string} title
   * @param {string} message
   */
  #fail(title, message) {
    this.#body.querySelector(".failure")?.remove();
    this.#body.prepend(failure(title, { problem: { message } }));
  }

  /** @param {string} id */
  async #followCard(id) {
    const { state } = await this.session.get(`/payment-method/${encodeURIComponent(id)}`).catch(({ final }) => ({ state: final ? "lost" : "open" }));
    if (state === "open" && this.isConnected) return setTimeout(() => this.#followCard(id), RENEW_EVERY);
    this.session.renew("/top-up");
  }
}

/** @param {Api.TopUp} known */
function rule({ threshold, credits: fixed, restore_to: full, monthly_cap: cap, max_per_month: times, next_charge_preview: next }) {
  /** @param {string} text */
  const strong = (text) => h("strong", { class: "number" }, text);
  const adds = fixed ? ["add ", strong(`${credits(fixed)} credits`)] : ["fill it up to ", strong(`${credits(full ?? "")} credits`)];
  const price = fixed && next && next.credits === fixed ? [" for ", strong(money(next))] : [];
  const often = times ? [`, at most ${times === 1 ? "once" : `${times} times`} a month`] : [];
  const most = cap ? [", at most ", strong(money(cap)), " a\u00a0month"] : [];
  const more = fixed ? [` After a big drop, one charge adds that amount as often as needed to get back to ${credits(threshold ?? "")}.`] : [];
  return ["When available credits drop below ", strong(credits(threshold ?? "")), ", ", ...adds, ...price, ...most, ...often, ".", ...more];
}

/**
 * How far the month has come towards its cap.
 *
 * @param {Api.TopUp} known
 */
function spent({ state, charged_this_month: charged, monthly_cap: cap }) {
  if (!charged) return [];
  const times = charged.count === undefined ? "" : ` in ${charged.count} ${charged.count === 1 ? "charge" : "charges"}`;
  const taken = ["charging", "action_required"].includes(state) ? "charged or under way" : "charged";
  const said = h(
    "p",
    { class: "quiet" },
    cap
      ? `${money(charged)} of ${money(cap)} ${taken} in ${inMonth(charged.month)}`
      : `${money(charged)} ${taken} in ${inMonth(charged.month)}${times}`,
  );
  const bar = h("i", { "aria-hidden": "true" });
  if (cap) bar.style.backgroundSize = `${Math.min(100, (100 * charged.amount) / cap.amount)}% 100%`;
  return [h("div", { class: "spent" }, said, cap && bar)];
}

customElements.define("top-up-settings", TopUpSettings);
