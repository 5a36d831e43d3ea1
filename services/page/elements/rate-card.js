// <rate-card>: how many credits each feature costs, by category, with what it needs.

import { h } from "../dom.js";
import { failure, loader, skeleton } from "../loading.js";
import { base, css } from "../style.js";
import { PER, attributes, credits, onDayOfYear } from "../words.js";

const sheet = css`
  table {
    width: 100%;
    margin-top: 18px;
    border-collapse: collapse;
  }
  caption {
    padding-bottom: 4px;
    font-weight: 700;
    text-align: start;
  }
  td, th {
    padding: 9px 12px 9px 0;
    border-bottom: 1px solid var(--line);
    font-weight: 400;
    text-align: start;
  }
  td.per {
    width: 130px;
    text-align: end;
  }
  td.credits {
    width: 90px;
    padding-inline-end: 0;
    text-align: end;
    font-weight: 700;
  }
  .needs {
    display: inline-flex;
    gap: 6px;
    margin-inline-start: 8px;
  }
  .chip.plan { --chip: var(--included); }
  .chip.top-ups { --chip: var(--good); }
  .all {
    display: grid;
    grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
    gap: 0 44px;
    align-items: start;
  }
`;

export class RateCard extends HTMLElement {
  #load = loader((state) => this.#show(state));
  #body = h("div", { part: "body" });

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [base, sheet];
    const head = h("h2", { tabindex: "-1" }, "Rate card");
    root.append(h("section", { class: "card", part: "card", "aria-label": "Rate card" }, head, this.#body));
  }

  set session(session) {
    this.#load(() => session.get("v1/rate-card"));
  }

  focus() {
    this.shadowRoot.querySelector("h2").focus();
  }

  #show(state) {
    if (state.phase === "ready") {
      const { version, effective_from: since, categories } = state.value;
      const said = h("p", { class: "quiet" }, `Card ${version}, in force since ${onDayOfYear(since)}. Amounts are credits.`);
      this.#body.replaceChildren(said, h("div", { class: "all" }, categories.map(category)));
    } else if (state.phase === "loading") {
      this.#body.replaceChildren(skeleton("The rate card is loading", "short", "full", "full"));
    } else {
      this.#body.replaceChildren(failure("The rate card did not load.", state));
    }
  }
}

function category({ name, features }) {
  const head = h("tr", { class: "unseen" }, ["Feature", "Unit", "Credits"].map((title) => h("th", { scope: "col" }, title)));
  const rows = features.flatMap((feature) => feature.rates.map((rate) => row(feature, rate)));
  return h("table", {}, h("caption", {}, name), h("thead", {}, head), h("tbody", {}, rows));
}

function row(feature, rate) {
  const which = Object.keys(rate.attributes).length ? ` · ${attributes(rate.attributes)}` : "";
  const topUps = feature.requires.top_ups || rate.requires?.top_ups;
  const plan = rate.requires?.plan ?? feature.requires.plan;
  const needs = [
    plan && h("span", { class: "chip plan", title: `Needs the plan ${plan}` }, plan.charAt(0).toUpperCase() + plan.slice(1)),
    topUps && h("span", { class: "chip top-ups", title: "Needs automatic top-ups to be enabled" }, "Top-ups"),
  ].filter(Boolean);
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, feature.name + which, needs.length > 0 && h("span", { class: "needs" }, needs)),
    h("td", { class: "per quiet" }, PER[feature.per]),
    h("td", { class: "credits number" }, credits(rate.credits)),
  );
}

customElements.define("rate-card", RateCard);
