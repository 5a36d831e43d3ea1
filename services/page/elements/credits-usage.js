// <credits-usage>: the whole tab, made of the other elements.

import { bannerOf } from "../banner.js";
import { h } from "../dom.js";
import { CreditsElement } from "../element.js";
import { Filter } from "../filter.js";
import { failure, loader, missing } from "../loading.js";
import { css } from "../style.js";
import "./buy-credits.js";
import "./credit-activity.js";
import "./credit-balance.js";
import "./top-up-settings.js";

const sheet = css`
  header {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    justify-content: space-between;
    gap: 12px 20px;
    margin-bottom: 20px;
  }
  h1 {
    font-size: 28px;
    line-height: 1.25;
    letter-spacing: -0.02em;
  }
  .who { flex: 1 1 180px; }
  .about { font-size: 14px; min-height: 1.5em; }
  .waiting { visibility: hidden; }
  .all {
    display: grid;
    grid-template-columns: minmax(0, 1fr);
    gap: 16px;
  }
  .first {
    display: grid;
    grid-template-columns: minmax(0, 1.6fr) minmax(0, 1fr);
    gap: 16px;
  }
  .more {
    justify-self: center;
    margin: 8px 0;
  }
  .notice {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    justify-content: space-between;
    gap: 10px 20px;
    margin-bottom: 20px;
    padding: 12px 18px;
    border-radius: var(--radius);
    font-size: 14px;
    color: var(--ink);
    background: var(--ground);
  }
  .notice p { flex: 1 1 300px; }
  .notice button {
    color: inherit;
    background: none;
    border-color: currentColor;
  }
  /* What the banner says in full need not be said again below it. */
  .notice.says-why:not([hidden]) ~ .all top-up-settings::part(reason) { display: none; }
  .notice.calm {
    --ink: var(--text);
    --ground: color-mix(in srgb, var(--accent) 10%, transparent);
  }
  .notice.warn {
    --ink: var(--warn);
    --ground: var(--warn-ground);
  }
  .notice.bad {
    --ink: var(--bad);
    --ground: color-mix(in srgb, var(--bad) 11%, transparent);
  }
  .out {
    max-width: 520px;
    height: auto;
    margin: 12vh auto;
    text-align: center;
  }
  .out .failure { justify-items: center; }
  @media (max-width: 860px) {
    .first { grid-template-columns: minmax(0, 1fr); }
  }
`;

const OUT = /** @type {const} */ (["unauthenticated", "unknown_team", "forbidden"]); // the API's codes for why the page may not be shown
const UNSEEN = 250; // milliseconds

export class CreditsUsage extends CreditsElement {
  #load = loader((/** @type {Loading<Api.Team>} */ state) => this.#show(state), this);
  #topUps = loader((/** @type {Loading<Api.TopUp>} */ state) => state.phase === "ready" && this.#warn({ topUp: state.value }), this);
  #about = h("p", { class: "quiet about" });
  #notice = h("div", { class: "notice", role: "status", hidden: true });
  /** @type {Parameters<typeof bannerOf>[1]} */
  #warned = {};
  #whole = h("div", {});
  /** @type {{ buy: BuyCredits, topUp: TopUpSettings } | null} */
  #parts = null;

  constructor() {
    super(sheet);
  }

  /** @param {Session | null} session */
  begin(session) {
    if (!session) return this.#out({ code: "unauthenticated", message: "" });
    this.hear("balance", (balance) => this.#warn({ balance }));
    this.hear("changed", (path) => path === "/top-up" && this.#topUps(() => session.share("/top-up"), { quietly: true }));
    this.hear("ended", (problem) => this.#out(problem));
    this.#build(session);
    const named = this.#load(() => session.share("")).then(() => this.#welcomeBack());
    this.#appear([named, this.#topUps(() => session.share("/top-up"))]);
  }

  /**
   * A banner that came later would push everything down; where answers are quick, nothing is seen before it.
   *
   * @param {Promise<void>[]} answers
   */
  async #appear(answers) {
    this.#whole.className = "waiting";
    await Promise.race([Promise.all(answers), new Promise((resolve) => setTimeout(resolve, UNSEEN))]);
    this.#whole.className = "";
  }

  /** @param {Session} session */
  #build(session) {
    const { text } = this.words;
    const parts = { exportparts: "card, body, total, bar, button, dialog" };
    const [buy, balance, topUp] = [h("buy-credits", parts), h("credit-balance", parts), h("top-up-settings", parts)];
    const [chart, activity] = [h("usage-chart", parts), h("credit-activity", parts)];
    const rates = h("rate-card", { ...parts, hidden: true });
    const more = h("button", { type: "button", class: "link more", "aria-expanded": "false" }, text("usage.see_rates"));
    more.addEventListener("click", async () => {
      await import("./rate-card.js").catch(() => rates.replaceChildren(h("div", { class: "card" }, missing(this.words, text("rates.failed")))));
      rates.hidden = !rates.hidden;
      more.setAttribute("aria-expanded", String(!rates.hidden));
      more.textContent = text(rates.hidden ? "usage.see_rates" : "usage.hide_rates");
      if (rates.hidden) return;
      rates.session = session;
      rates.focus();
      rates.scrollIntoView({ block: "start" });
    });
    this.#parts = { buy, topUp };
    const head = h("header", {}, h("div", { class: "who" }, h("h1", {}, text("usage.title")), this.#about), buy);
    const first = h("div", { class: "first" }, balance, topUp);
    this.#whole.replaceChildren(this.#notice, head, h("div", { class: "all" }, first, chart, activity, more, rates));
    this.#whole.lang = this.words.language;
    this.root.replaceChildren(this.#whole);
    activity.filter = chart.filter = new Filter();
    for (const part of [buy, balance, topUp, chart, activity]) part.session = session;
    // Nobody waits for the chart: it takes what it was given when it is there.
    import("./usage-chart.js").catch(() => chart.replaceWith(h("div", { class: "card" }, missing(this.words, text("chart.failed")))));
  }

  /** @param {Loading<Api.Team>} state */
  #show(state) {
    const { text } = this.words;
    if (state.phase === "ready") {
      const { name, plan_name: plan, members } = state.value;
      const people = text("usage.members", { count: members.length });
      this.#about.textContent = [name, text("usage.plan", { plan }), members.length && people].filter(Boolean).join(" · ");
    } else if (state.phase === "refused") {
      this.#out(state.problem);
    } else {
      this.#about.textContent = state.phase === "loading" ? "" : text("usage.unnamed");
    }
  }

  /**
   * What matters most, in words; members are told, too, and what they press tells them whom to ask.
   *
   * @param {Parameters<typeof bannerOf>[1]} news
   */
  #warn(news) {
    Object.assign(this.#warned, news);
    const banner = bannerOf(this.words, this.#warned);
    const said = JSON.stringify(banner);
    if (this.#notice.dataset.said === said) return; // a status that is drawn anew is read out anew
    this.#notice.dataset.said = said;
    this.#notice.hidden = !banner;
    if (!banner) return;
    this.#notice.className = `notice ${banner.kind}${banner.saysWhy ? " says-why" : ""}`;
    const act = h("button", { type: "button", onclick: () => this.#act(banner.action) }, this.words.text(`banner.${banner.action}`));
    this.#notice.replaceChildren(h("p", {}, h("strong", {}, banner.title), ` ${banner.text}`), act);
  }

  /** Stripe has sent the browser back here, with what it was there for in the address. */
  #welcomeBack() {
    const address = new URL(location.href);
    const purchase = address.searchParams.get("purchase");
    if (!purchase || !this.session?.isAdmin) return;
    const isCancelled = address.searchParams.has("cancelled");
    for (const name of ["purchase", "cancelled"]) address.searchParams.delete(name);
    history.replaceState(history.state, "", address);
    if (!isCancelled) this.#parts?.buy.follow(purchase);
  }

  /** @param {Action} action */
  #act(action) {
    if (!this.#parts) return;
    const { buy, topUp } = this.#parts;
    if (action === "buy") return buy.open();
    if (action === "enable" || action === "settings" || !this.session.isAdmin) return topUp.open();
    return action === "confirm" ? topUp.confirm() : topUp.changeCard();
  }

  /** @param {Said} problem */
  #out(problem) {
    this.session?.close();
    const { text, language } = this.words;
    const known = OUT.find((code) => code === problem.code);
    const why = failure(this.words, text("out.title"), { problem: known ? { message: text(`out.${known}`) } : problem });
    this.root.replaceChildren(h("div", { class: "card out", lang: language }, h("h1", {}, text("usage.title")), why));
  }
}

customElements.define("credits-usage", CreditsUsage);
