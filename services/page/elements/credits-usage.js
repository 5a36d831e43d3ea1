// <credits-usage>: the whole tab, made of the other elements.

import { h } from "../dom.js";
import { failure, loader } from "../loading.js";
import { base, css } from "../style.js";
import { credits } from "../words.js";
import "./credit-activity.js";
import "./credit-balance.js";
import "./rate-card.js";

const sheet = css`
  header {
    margin-bottom: 20px;
  }
  h1 {
    font-size: 28px;
    line-height: 1.25;
    letter-spacing: -0.01em;
  }
  .all {
    display: grid;
    gap: 16px;
  }
  .more {
    justify-self: center;
    margin: 8px 0;
    min-height: 24px;
  }
  .notice {
    padding: 12px 18px;
    border-radius: var(--radius);
    color: var(--warn);
    background: var(--warn-ground);
  }
  .notice strong { display: block; }
  .out {
    max-width: 520px;
    margin: 12vh auto;
    text-align: center;
  }
  .out .failure { justify-items: center; }
`;

// What to do when the page may not be shown, by the API's own code.
const OUT = {
  unauthenticated: "Your sign-in has ended or the link is incomplete. Open Usage from your product again.",
  unknown_team: "This team does not exist yet, or your sign-in is for another one.",
  forbidden: "Your sign-in is not meant for this page. Team members and finance may open it.",
};

export class CreditsUsage extends HTMLElement {
  #load = loader((state) => this.#show(state));
  #session = null;
  #root;
  #left = new AbortController();
  #about = h("p", { class: "quiet" });
  #notice = h("div", { class: "notice", role: "status", hidden: true });
  #parts = null;

  constructor() {
    super();
    this.#root = this.attachShadow({ mode: "open" });
    this.#root.adoptedStyleSheets = [base, sheet];
  }

  /** A Session, or null for somebody who came without one. */
  set session(session) {
    this.#left.abort();
    this.#left = new AbortController();
    this.#session?.close();
    this.#session = session;
    if (!session) return this.#out({ code: "unauthenticated" });
    const { signal } = this.#left;
    session.addEventListener("balance", ({ detail }) => this.#warn(detail), { signal });
    session.addEventListener("ended", ({ detail }) => this.#out(detail), { signal });
    this.#build();
    this.#load(() => session.get(""));
  }

  disconnectedCallback() {
    this.#session?.close();
  }

  #build() {
    const balance = h("credit-balance", { exportparts: "card, body, total, bar" });
    const activity = h("credit-activity", { exportparts: "card, body" });
    const rates = h("rate-card", { exportparts: "card, body", hidden: true });
    const more = h("button", { type: "button", class: "link more", "aria-expanded": "false" }, "See rate card");
    more.addEventListener("click", () => {
      rates.hidden = !rates.hidden;
      more.setAttribute("aria-expanded", String(!rates.hidden));
      more.textContent = rates.hidden ? "See rate card" : "Hide rate card";
      if (rates.hidden) return;
      rates.session = this.#session;
      rates.focus();
      rates.scrollIntoView({ block: "start" });
    });
    this.#parts = { balance, activity };
    const head = h("header", {}, h("h1", {}, "Usage"), this.#about);
    this.#root.replaceChildren(head, h("div", { class: "all" }, this.#notice, balance, activity, more, rates));
    balance.session = this.#session;
    activity.session = this.#session;
    this.#session.open();
  }

  #show(state) {
    if (state.phase === "ready") {
      const { name, plan_name: plan, members } = state.value;
      const people = `${members.length} ${members.length === 1 ? "member" : "members"}`;
      this.#about.textContent = [name, `${plan} plan`, members.length && people].filter(Boolean).join(" · ");
      this.#parts.activity.members = members;
    } else if (state.phase === "refused") {
      this.#out(state.problem);
    } else {
      this.#about.textContent = state.phase === "loading" ? "…" : "The team's name did not load.";
    }
  }

  /** A balance past zero is stated, not hidden. */
  #warn({ total, available }) {
    const isOut = Number(available) <= 0;
    this.#notice.hidden = !isOut;
    if (!isOut) return;
    const past = Number(total) < 0 ? ` ${credits(total.slice(1))} credits were used past zero.` : "";
    this.#notice.replaceChildren(h("strong", {}, "Your team has run out of credits."), `Work that asks first is told so.${past}`);
  }

  #out(problem) {
    this.#session?.close();
    const said = OUT[problem.code] ?? problem.message;
    this.#root.replaceChildren(
      h("div", { class: "card out" }, h("h1", {}, "Usage"), failure("This page can't be shown.", { problem: { message: said } })),
    );
  }
}

customElements.define("credits-usage", CreditsUsage);
