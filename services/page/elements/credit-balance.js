// <credit-balance>: what the team has, in its two parts, live; when more comes, and how long it lasts.

import { h } from "../dom.js";
import { CreditsElement } from "../element.js";
import { lasting, usedByDay } from "../forecast.js";
import { isNegative, isZero } from "../formats.js";
import { failure, loader, skeleton } from "../loading.js";
import { css } from "../style.js";

const QUARTERS = 4;

const sheet = css`
  .skeleton { min-height: 206px; } /* what comes is as high, so that nothing moves */
  .total {
    display: flex;
    align-items: baseline;
    flex-wrap: wrap;
    gap: 0 10px;
    margin: 8px 0 14px;
    font-size: clamp(36px, 5.2vw, 48px);
    font-weight: 700;
    letter-spacing: -0.03em;
    line-height: 1.1;
  }
  .total small {
    font-size: 0.58em;
    letter-spacing: -0.02em;
  }
  .total .chip {
    align-self: center;
    letter-spacing: 0;
  }
  .total .unit {
    font-size: 16px;
    font-weight: 400;
    letter-spacing: 0;
    color: var(--quiet);
  }
  .bar {
    display: flex;
    gap: 3px;
    height: 10px;
    border-radius: 4px;
    overflow: hidden;
    background: var(--line);
  }
  .bar i {
    flex: 0 1 auto;
    min-width: 3px;
    border-radius: 2px;
    transition: width 0.4s;
  }
  .bar.low { box-shadow: 0 0 0 1px var(--warn); }
  dl {
    display: grid;
    grid-template-columns: repeat(auto-fit, minmax(130px, max-content));
    gap: 14px 44px;
    margin: 16px 0 20px;
  }
  dt {
    display: flex;
    align-items: center;
    gap: 7px;
    font-size: 13px;
    color: var(--quiet);
  }
  dt::before, .bar i {
    content: "";
    background: var(--kind);
  }
  dt::before {
    width: 9px;
    height: 9px;
    border-radius: 3px;
  }
  dd {
    margin-top: 2px;
    font-size: 19px;
    font-weight: 650;
    letter-spacing: -0.01em;
  }
  dd span {
    font-size: 14px;
    font-weight: 400;
    letter-spacing: 0;
    color: var(--quiet);
  }
  .included { --kind: var(--included); }
  .additional { --kind: var(--additional); }
  .held { --kind: repeating-linear-gradient(-45deg, var(--held) 0 2px, transparent 2px 4px), color-mix(in srgb, var(--held) 35%, transparent); }
  .owed {
    color: var(--bad);
  }
  .live {
    display: inline-flex;
    align-items: center;
    gap: 7px;
    font-variant-numeric: tabular-nums;
  }
  .live::before {
    content: "";
    width: 8px;
    height: 8px;
    border-radius: 50%;
    background: var(--held);
  }
  .live[data-link="live"]::before { background: var(--good); }
  .live:is([data-link="offline"], [data-link="ended"]) { color: var(--bad); }
  .live:is([data-link="offline"], [data-link="ended"])::before { background: var(--bad); }
  .foot {
    display: flex;
    flex-wrap: wrap;
    justify-content: space-between;
    gap: 4px 24px;
    padding-top: 16px;
    border-top: 1px solid var(--line);
    color: var(--quiet);
    font-size: 14px;
  }
  .foot strong { color: var(--text); }
`;

export class CreditBalance extends CreditsElement {
  #load = loader((/** @type {Loading<Api.Balance>} */ state) => this.#show(state), this);
  #pace = loader((/** @type {Loading<number[]>} */ state) => state.phase === "ready" && this.#know(state.value), this);
  #body = h("div", { part: "body" });
  #live = h("span", { class: "live quiet" });
  #said = h("span", { class: "unseen", role: "status" }); // the line's state is read out when it changes, not every second
  /** @type {number[]} */
  #used = []; // on each of the last days

  constructor() {
    super(sheet);
    const head = h("div", { class: "head" }, h("h2", {}, this.say("balance.title")), this.#live, this.#said);
    this.root.append(this.name(h("section", { class: "card", part: "card" }, head, this.#body), "balance.title"));
  }

  /** @param {Session} session */
  begin(session) {
    this.#used = [];
    this.hear("balance", (balance) => this.#show({ phase: "ready", value: balance }));
    this.hear("link", () => this.#showLink());
    this.#showLink();
    this.#load(async () => (session.balance ??= await session.get("/balance"))).then(() => this.#pace(() => usedByDay(session), { quietly: true }));
  }

  /** @param {Loading<Api.Balance>} state */
  #show(state) {
    if (state.phase === "ready") {
      this.#balance(state.value);
      this.#showLink(state.value.as_of);
    } else if (this.session.balance) {
      return; // the stream was faster; what it said stays
    } else if (state.phase === "loading") {
      this.#body.replaceChildren(skeleton(this.words.text("balance.loading"), "big", "full", "half"));
    } else {
      this.#body.replaceChildren(failure(this.words, this.words.text("balance.failed"), state));
    }
  }

  /** @param {number[]} used  on each of the last days */
  #know(used) {
    this.#used = used;
    if (this.session.balance) this.#balance(this.session.balance);
  }

  #showLink(asOf = this.session.balance?.as_of) {
    const { link } = this.session;
    const { text, atTime } = this.words;
    const said = text(`link.${link}`);
    if (this.#live.dataset.link !== link) this.#said.textContent = said;
    this.#live.dataset.link = link;
    this.#live.textContent = asOf ? text("link.as_of", { link: said, time: atTime(asOf) }) : said;
  }

  /** @param {Api.Balance} balance */
  #balance(balance) {
    const { text, rich, credits, creditsInTwo } = this.words;
    const owed = isNegative(balance.additional);
    const ofAllowance = isZero(balance.allowance) ? null : h("span", {}, text("balance.of", { allowance: credits(balance.allowance) }));
    const parts = [
      part("included", text("balance.included"), credits(balance.included), ofAllowance),
      part("additional", text("balance.additional"), credits(balance.additional), owed && h("span", {}, text("balance.beyond"))),
      !isZero(balance.held) && part("held", text("balance.held"), credits(balance.held)),
    ];
    const [whole, fraction] = creditsInTwo(balance.total);
    const total = h("span", { class: `number${isNegative(balance.total) ? " owed" : ""}` }, whole, fraction && h("small", {}, fraction));
    const long = lasting(this.words, this.#used, balance);
    const foot = [refill(this.words, balance), long && h("p", {}, rich("balance.lasts", { long }))].filter(Boolean);
    this.#body.replaceChildren(
      h(
        "p",
        { class: "total", part: "total" },
        total,
        h("span", { class: "unit" }, text("balance.credits")),
        balance.low && lowChip(this.words, balance),
      ),
      bar(balance),
      h("dl", {}, parts),
      ...(foot.length ? [h("div", { class: "foot" }, foot)] : []),
    );
  }
}

/**
 * @param {Words} words
 * @param {Api.Balance} balance
 */
function lowChip({ text, credits }, { available, low_below: below }) {
  const isNone = isZero(available) || isNegative(available);
  return h("span", { class: "chip warn" }, isNone ? text("balance.none") : text("balance.low", { threshold: credits(below) }));
}

/**
 * @param {string} kind
 * @param {string} name
 * @param {string} amount
 * @param {Content} [more]
 */
function part(kind, name, amount, more = null) {
  return h("div", {}, h("dt", { class: kind }, name), h("dd", { class: "number" }, amount, more));
}

/**
 * Included, additional and, out of both, what is held, against what a full balance is: the allowance, and what was bought. A balance at
 * its threshold fills no more than a quarter, so that what is low looks low also where there is no allowance. Widths are for the eye, so
 * numbers will do.
 *
 * @param {Api.Balance} balance
 */
function bar({ included, additional, held, allowance, low, low_below: below }) {
  /** @type {[kind: string, amount: number][]} */
  const share = [
    ["included", Math.max(0, Number(included))],
    ["additional", Math.max(0, Number(additional))],
  ];
  const there = share.reduce((sum, [, amount]) => sum + amount, 0);
  const gone = Math.max(0, Number(allowance) - Math.max(0, Number(included)));
  const whole = Math.max(there + gone, QUARTERS * Number(below));
  let kept = Math.min(there, Number(held));
  /** @type {[kind: string, amount: number][]} */
  const pieces = [];
  // What is held will be burned first from the included credits, so that is where it is taken off.
  for (const [kind, amount] of share) {
    const taken = Math.min(kept, amount);
    kept -= taken;
    pieces.push([kind, amount - taken]);
  }
  pieces.push(["held", Math.min(there, Number(held))]);
  const drawn = pieces
    .filter(([, amount]) => amount > 0)
    .map(([kind, amount]) => {
      const piece = h("i", { class: kind });
      piece.style.width = `${(100 * amount) / whole}%`;
      return piece;
    });
  return h("div", { class: `bar${low ? " low" : ""}`, "aria-hidden": "true", part: "bar" }, drawn);
}

/**
 * When the next refill comes, and of how much where that is not what this cycle was given: a plan of other credits counts from then.
 *
 * @param {Words} words
 * @param {Api.Balance} balance
 */
function refill({ rich, onDay, until, whenExactly }, { next_refill_at: at, allowance, next_allowance: next }) {
  if (!at) return null;
  const date = h("time", { datetime: at, title: whenExactly(at) }, h("strong", {}, onDay(at)));
  const told = { date, until: until(at) };
  return h("p", {}, next === allowance ? rich("balance.refill", told) : rich("balance.refill_of", { ...told, count: next }));
}

customElements.define("credit-balance", CreditBalance);
