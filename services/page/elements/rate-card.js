// <rate-card>: how many credits each feature costs, by category, with what it needs; and what a piece of work would cost.

import { h } from "../dom.js";
import { CreditsElement } from "../element.js";
import { failure, loader, skeleton } from "../loading.js";
import { css } from "../style.js";
import { PER, UNITS, attributes, credits, onDayOfYear, typed } from "../words.js";

const PAUSE = 250; // milliseconds after the last key

const sheet = css`
  table {
    width: 100%;
    margin-bottom: 22px;
    border-collapse: collapse;
  }
  caption {
    padding-bottom: 4px;
    font-weight: 650;
    text-align: start;
  }
  td, th {
    padding: 9px 12px 9px 0;
    border-bottom: 1px solid var(--line);
    font-weight: 400;
    text-align: start;
  }
  td.per {
    width: 116px;
    text-align: end;
    white-space: nowrap;
  }
  td.credits {
    width: 76px;
    padding-inline-end: 0;
    text-align: end;
    font-weight: 650;
  }
  .needs {
    display: inline-flex;
    gap: 6px;
    margin-inline-start: 8px;
    vertical-align: 1px;
  }
  .chip.plan { --chip: var(--included); }
  .chip.top-ups { --chip: var(--additional); }
  .all {
    columns: 2 400px;
    column-gap: 44px;
    margin-top: 18px;
  }
  .all > table {
    break-inside: avoid;
  }
  .cost {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 10px 12px;
    padding: 14px 16px;
    border-radius: 10px;
    background: var(--inset);
  }
  .cost select { max-width: min(100%, 320px); }
  .cost input { width: 88px; background: var(--card); }
  .cost output {
    flex: 1 1 200px;
    text-align: end;
  }
  .cost output strong { font-size: 16px; }
  @media (max-width: 640px) {
    td.per { width: 100px; font-size: 13px; }
    td.credits { width: 60px; }
    .cost output { text-align: start; }
  }
`;

export class RateCard extends CreditsElement {
  static live = false;

  #load = loader((state) => this.#show(state));
  #body = h("div", { part: "body" });

  constructor() {
    super(sheet);
    const head = h("h2", { tabindex: "-1" }, "Rate card");
    this.shadowRoot.append(h("section", { class: "card", part: "card", "aria-label": "Rate card" }, head, this.#body));
  }

  begin(session) {
    this.#load(() => session.share("v1/rate-card"));
  }

  focus() {
    this.shadowRoot.querySelector("h2").focus();
  }

  #show(state) {
    if (state.phase === "ready") {
      const { version, effective_from: since, categories } = state.value;
      const said = h("p", { class: "quiet" }, `Card ${version}, in force since ${onDayOfYear(since)}. Amounts are credits.`);
      this.#body.replaceChildren(said, h("div", { class: "all" }, categories.map(category)), calculator(this.session, categories));
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
  const topUps = feature.requires.top_ups || rate.requires?.top_ups;
  const plan = rate.requires?.plan ?? feature.requires.plan;
  const needs = [
    plan && h("span", { class: "chip plan", title: `Needs the plan ${plan}` }, plan.charAt(0).toUpperCase() + plan.slice(1)),
    topUps && h("span", { class: "chip top-ups", title: "Needs automatic top-ups to be enabled" }, "Top-ups"),
  ].filter(Boolean);
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, rateName(feature, rate), needs.length > 0 && h("span", { class: "needs" }, needs)),
    h("td", { class: "per quiet" }, PER[feature.per]),
    h("td", { class: "credits number" }, credits(rate.credits)),
  );
}

const rateName = (feature, rate) => feature.name + (Object.keys(rate.attributes).length ? ` · ${attributes(rate.attributes)}` : "");

/** "What would this cost?" The server says so, and whether the team may: the page calculates no prices. */
function calculator(session, categories) {
  const rates = categories.flatMap(({ features }) => features.flatMap((feature) => feature.rates.map((rate) => ({ feature, rate }))));
  const which = h("select", { "aria-label": "Feature" }, rates.map((known, place) => new Option(rateName(known.feature, known.rate), place)));
  const many = h("input", { type: "text", inputmode: "decimal", value: "30", "aria-label": "How many", maxlength: "12" });
  const unit = h("span", {});
  const cost = h("output", { class: "number" });
  let turn = 0;
  const ask = async () => {
    const mine = ++turn;
    const { feature, rate } = rates[which.value];
    unit.textContent = UNITS[feature.per];
    const quantity = typed(many.value);
    if (!quantity || !/[1-9]/.test(quantity)) return cost.replaceChildren("Say how many.");
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    if (mine !== turn) return;
    const item = { feature: feature.feature, quantity, attributes: rate.attributes };
    const said = await session.send("POST", "/quotes", { items: [item] }).then(answerOf, ({ message }) => [message]);
    if (mine === turn) cost.replaceChildren(...said);
  };
  which.addEventListener("change", ask);
  many.addEventListener("input", ask);
  ask();
  return h("div", { class: "cost" }, h("strong", {}, "What would this cost?"), which, many, unit, cost);
}

function answerOf({ items: [item] }) {
  const why = item.detail ? `, but ${item.detail}` : "";
  return ["= ", h("strong", {}, `${credits(item.credits)} credits`), h("span", { class: "quiet" }, item.allowed ? "" : why)];
}

customElements.define("rate-card", RateCard);
