// <credit-balance>: what the team has, in its two parts, live.

import { h } from "../dom.js";
import { failure, loader, skeleton } from "../loading.js";
import { base, css } from "../style.js";
import { atTime, credits, creditsShort, isNegative, isZero, onDay, until, whenExactly } from "../words.js";

const sheet = css`
  .total {
    display: flex;
    align-items: baseline;
    flex-wrap: wrap;
    gap: 0 10px;
    margin: 6px 0 14px;
    font-size: clamp(34px, 6vw, 46px);
    font-weight: 700;
    letter-spacing: -0.02em;
    line-height: 1.15;
  }
  .total small {
    font-size: 16px;
    font-weight: 400;
    letter-spacing: 0;
    color: var(--quiet);
  }
  .bar {
    display: flex;
    gap: 2px;
    height: 10px;
    border-radius: 5px;
    overflow: hidden;
    background: var(--line);
  }
  .bar i {
    flex: 0 1 auto;
    transition: width 0.4s;
  }
  dl {
    display: flex;
    flex-wrap: wrap;
    gap: 14px 44px;
    margin: 14px 0 18px;
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
    font-size: 18px;
    font-weight: 700;
  }
  dd span {
    font-size: 14px;
    font-weight: 400;
    color: var(--quiet);
  }
  .included { --kind: var(--included); }
  .additional { --kind: var(--additional); }
  .held { --kind: var(--held); }
  .owed {
    color: var(--bad);
  }
  .live {
    display: inline-flex;
    align-items: center;
    gap: 7px;
  }
  .live::before {
    content: "";
    width: 8px;
    height: 8px;
    border-radius: 50%;
    background: var(--held);
  }
  .live[data-link="live"]::before { background: var(--good); }
  .live[data-link="offline"]::before { background: var(--bad); }
  .foot {
    padding-top: 14px;
    border-top: 1px solid var(--line);
    color: var(--quiet);
    font-size: 14px;
  }
  .foot strong { color: var(--text); }
`;

const LINKS = {
  live: (at) => (at ? `Live · as of ${at}` : "Live"),
  connecting: (at) => (at ? `Connecting · as of ${at}` : "Connecting"),
  offline: (at) => (at ? `Offline, trying again · as of ${at}` : "Offline, trying again"),
};

export class CreditBalance extends HTMLElement {
  #session = null;
  #left = new AbortController();
  #load = loader((state) => this.#show(state));
  #body = h("div", { part: "body" });
  #live = h("span", { class: "live quiet" });
  #said = h("span", { class: "unseen", role: "status" }); // the line's state is read out when it changes, not every second

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [base, sheet];
    const head = h("div", { class: "head" }, h("h2", {}, "Balance"), this.#live, this.#said);
    root.append(h("section", { class: "card", part: "card", "aria-label": "Balance" }, head, this.#body));
  }

  set session(session) {
    this.#left.abort();
    this.#left = new AbortController();
    this.#session = session;
    const { signal } = this.#left;
    session.addEventListener("balance", ({ detail }) => this.#show({ phase: "ready", value: detail }), { signal });
    session.addEventListener("link", () => this.#showLink(), { signal });
    this.#showLink();
    this.#load(async () => (session.balance ??= await session.get("/balance")));
  }

  #show(state) {
    if (state.phase === "ready") {
      this.#balance(state.value);
      this.#showLink(state.value.as_of);
    } else if (this.#session.balance) {
      return; // the stream was faster; what it said stays
    } else if (state.phase === "loading") {
      this.#body.replaceChildren(skeleton("The balance is loading", "big", "full", "half"));
    } else {
      this.#body.replaceChildren(failure("The balance did not load.", state));
    }
  }

  #showLink(asOf = this.#session.balance?.as_of) {
    const { link } = this.#session;
    if (this.#live.dataset.link !== link) this.#said.textContent = LINKS[link]("");
    this.#live.dataset.link = link;
    this.#live.textContent = LINKS[link](asOf ? atTime(asOf) : "");
  }

  #balance(balance) {
    const owed = isNegative(balance.additional);
    const ofAllowance = isZero(balance.allowance) ? null : h("span", {}, ` of ${credits(balance.allowance)}`);
    const parts = [
      part("included", "Included", credits(balance.included), ofAllowance),
      part("additional", "Additional", credits(balance.additional), owed && h("span", {}, " used past zero")),
      !isZero(balance.held) && part("held", "Held for running work", credits(balance.held)),
    ];
    const total = h("span", { class: `number${isNegative(balance.total) ? " owed" : ""}`, title: credits(balance.total) }, creditsShort(balance.total));
    this.#body.replaceChildren(
      h("p", { class: "total", part: "total" }, total, h("small", {}, "credits")),
      bar(balance),
      h("dl", {}, parts),
      refill(balance),
    );
  }
}

function part(kind, name, amount, more = null) {
  return h("div", {}, h("dt", { class: kind }, name), h("dd", { class: "number" }, amount, more));
}

/** Included, additional and, out of both, what is held; widths are for the eye, so numbers will do. */
function bar({ included, additional, held }) {
  const share = [
    ["included", Math.max(0, Number(included))],
    ["additional", Math.max(0, Number(additional))],
  ];
  const whole = share.reduce((sum, [, amount]) => sum + amount, 0);
  let kept = Math.min(whole, Number(held));
  const pieces = [];
  // What is held will be burned first from the included credits, so that is where it is taken off.
  for (const [kind, amount] of share) {
    const taken = Math.min(kept, amount);
    kept -= taken;
    pieces.push([kind, amount - taken]);
  }
  pieces.push(["held", Math.min(whole, Number(held))]);
  const drawn = pieces
    .filter(([, amount]) => amount > 0 && whole > 0)
    .map(([kind, amount]) => {
      const piece = h("i", { class: kind });
      piece.style.width = `${(100 * amount) / whole}%`;
      return piece;
    });
  return h("div", { class: "bar", "aria-hidden": "true", part: "bar" }, drawn);
}

function refill({ next_refill_at: at }) {
  if (!at) return null;
  const date = h("time", { datetime: at, title: whenExactly(at) }, h("strong", {}, onDay(at)));
  return h("p", { class: "foot" }, "Next refill ", date, `, ${until(at)}`);
}

customElements.define("credit-balance", CreditBalance);
