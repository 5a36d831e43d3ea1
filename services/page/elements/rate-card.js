// <rate-card>: how many credits each feature costs, by category, with what it needs; what a piece of work would cost; and the cards
// of other times.

import { typed } from "../amounts.js";
import { h } from "../dom.js";
import { CreditsElement } from "../element.js";
import { failure, loader, skeleton } from "../loading.js";
import { css } from "../style.js";
import { attributes, capital, credits, inCredits, isZero, onDayOfYear, per, quantityName, sentence, units } from "../words.js";

const PAUSE = 250; // milliseconds after the last key
const QUANTITY_PLACES = 9;
const LIKE = "1.5"; // a quantity, to show how one is written

/**
 * @typedef {Api.RateCardDate & { until?: string }} Span  a card with the time in which it was in force
 * @typedef {{ cards: Api.RateCardDate[], today: Api.RateCard, shown: Api.RateCard }} Cards
 */

const sheet = css`
  :host([plain]) .card {
    padding: 0;
    border: 0;
    box-shadow: none;
  }
  :host([plain]) .head { display: none; }
  :host([plain]) { margin-top: -14px; }
  :host([plain]) .all { columns: 1; }
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
  .notes {
    display: inline-flex;
    flex-wrap: wrap;
    gap: 6px;
    margin-inline-start: 4px;
    vertical-align: 1px;
  }
  .marks { margin-top: 6px; }
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
    margin-top: 18px;
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 10px 12px;
    padding: 14px 16px;
    border-radius: 10px;
    background: var(--inset);
  }
  .cost .fields { display: contents; }
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

/** Attributes: `at`, an instant whose card is shown, instead of today's; `plain`, inside of something that has a frame and a heading. */
export class RateCard extends CreditsElement {
  static live = false;

  #load = loader((/** @type {Loading<Cards>} */ state) => this.#show(state), this);
  #body = h("div", { part: "body" });
  #which = h("select", { "aria-label": "Which rate card", hidden: true });

  constructor() {
    super(sheet);
    this.#which.addEventListener("change", () => this.#look(this.#which.value));
    const head = h("div", { class: "head" }, h("h2", { tabindex: "-1" }, "Rate card"), this.#which);
    this.root.append(h("section", { class: "card", part: "card", "aria-label": "Rate card" }, head, this.#body));
  }

  begin() {
    this.#look(this.getAttribute("at"));
  }

  focus() {
    this.root.querySelector("h2")?.focus();
  }

  /**
   * The card of an instant, and the one of today, to compare it with.
   *
   * @param {string | null} [at]
   */
  #look(at = null) {
    this.#load(
      async () => {
        const [cards, today] = await Promise.all([this.session.get("v1/rate-cards"), this.session.get("v1/rate-card")]);
        const shown = at ? await this.session.get(`v1/rate-card?at=${encodeURIComponent(at)}`) : today;
        return { cards, today, shown };
      },
      { quietly: this.#which.length > 0 },
    );
  }

  /** @param {Loading<Cards>} state */
  #show(state) {
    if (state.phase === "ready") {
      this.#draw(state.value);
    } else if (state.phase === "loading") {
      this.#body.replaceChildren(skeleton("The rate card is loading", "short", "full", "full"));
    } else {
      this.#body.replaceChildren(failure("The rate card did not load.", state));
    }
  }

  /** @param {Cards} found */
  #draw({ cards, today, shown }) {
    /** @type {Span[]} */
    const spans = cards.map((card, place) => ({ ...card, until: cards[place + 1]?.effective_from }));
    const spanOf = (/** @type {Api.RateCard} */ { version }) => /** @type {Span} */ (spans.find((known) => known.version === version));
    const [span, now] = [spanOf(shown), spanOf(today)];
    this.#which.replaceChildren(...spans.toReversed().map((known) => new Option(nameOf(known, now), known.effective_from, false, known === span)));
    this.#which.hidden = cards.length < 2;
    const after = spans[spans.indexOf(now) + 1];
    const next = span === now && after ? this.#announce(after) : "";
    const about = h("p", { class: "quiet" }, `${lasted(span, now)} Amounts are credits.`, next);
    const marks = h("p", { class: "quiet marks" }, legend(shown));
    const others = span === now ? null : ratesOf(today);
    const tables = shown.categories.map(({ name, features }) => category(name, features, others));
    this.#body.replaceChildren(about, marks, h("div", { class: "all" }, tables), span === now ? calculator(this.session, today.categories) : "");
  }

  /** @param {Api.RateCardDate} next */
  #announce({ version, effective_from: from }) {
    const look = h("button", { type: "button", class: "link", onclick: () => this.#look(from) }, `card ${version}`);
    return h("span", {}, ` From ${onDayOfYear(from)}, `, look, " takes its place.");
  }
}

const NEW = "new"; // where today's card has no such rate

/**
 * @param {Span} card
 * @param {Span} now
 */
const isAhead = ({ effective_from: from }, now) => from > now.effective_from; // both as the API writes instants

/**
 * @param {Span} card
 * @param {Span} now
 */
function nameOf(card, now) {
  const from = onDayOfYear(card.effective_from);
  return `Card ${card.version}, ${card === now ? "in force" : isAhead(card, now) ? `from ${from}` : `until ${onDayOfYear(card.until ?? "")}`}`;
}

/**
 * @param {Span} card
 * @param {Span} now
 */
function lasted(card, now) {
  const from = onDayOfYear(card.effective_from);
  if (card === now) return `Card ${card.version}, in force since ${from}.`;
  if (isAhead(card, now)) return `Card ${card.version}, announced: in force from ${from}.`;
  return `Card ${card.version}, in force from ${from} until ${onDayOfYear(card.until ?? "")}.`;
}

/**
 * @param {Api.Feature} feature
 * @param {Api.Rate} rate
 * @param {string} [quantity]
 */
const keyOf = (feature, rate, quantity = "") => JSON.stringify([feature.feature, Object.entries(rate.attributes ?? {}).sort(), quantity]);

/**
 * What a rate costs, and of what: one price, or one for each quantity.
 *
 * @param {Api.Rate} rate
 * @returns {[quantity: string, credits: string][]}
 */
const pricesOf = ({ credits: one, credits_by_quantity: several }) => (several ? Object.entries(several) : [["", one ?? ""]]);

/**
 * What each rate of a card costs, by what it is for.
 *
 * @param {Api.RateCard} card
 */
const ratesOf = ({ categories }) =>
  new Map(
    categories.flatMap(({ features }) =>
      features.flatMap((feature) =>
        feature.rates.flatMap((rate) => pricesOf(rate).map(([quantity, cost]) => /** @type {const} */ ([keyOf(feature, rate, quantity), cost]))),
      ),
    ),
  );

/**
 * The rates of a category; beside those that differ from today's stands what they cost today.
 *
 * @param {string} name
 * @param {Api.Feature[]} features
 * @param {Map<string, string> | null} today
 */
function category(name, features, today) {
  const head = h(
    "tr",
    { class: "unseen" },
    ["Feature", "Unit", "Credits"].map((title) => h("th", { scope: "col" }, title)),
  );
  const rows = features.flatMap((feature) =>
    feature.rates.flatMap((rate) =>
      pricesOf(rate).map(([quantity, cost]) => row(feature, rate, [quantity, cost], today && (today.get(keyOf(feature, rate, quantity)) ?? NEW))),
    ),
  );
  return h("table", {}, h("caption", {}, name), h("thead", {}, head), h("tbody", {}, rows));
}

/**
 * @param {Api.Feature} feature
 * @param {Api.Rate} rate
 */
const planOf = (feature, rate) => rate.requires?.plan ?? feature.requires?.plan;
/**
 * @param {Api.Feature} feature
 * @param {Api.Rate} rate
 */
const needsTopUps = (feature, rate) => feature.requires?.top_ups || rate.requires?.top_ups;
/** @param {string} plan */
const planChip = (plan) => h("span", { class: "chip plan" }, capital(plan));
const topUpsChip = () => h("span", { class: "chip top-ups" }, "Top-ups");

/**
 * What the marks beside rates mean.
 *
 * @param {Api.RateCard} card
 */
function legend({ categories }) {
  const rates = categories.flatMap(({ features }) =>
    features.flatMap((feature) => feature.rates.map((rate) => /** @type {const} */ ([feature, rate]))),
  );
  const plans = [...new Set(rates.map(([feature, rate]) => planOf(feature, rate)))].filter((plan) => typeof plan === "string");
  const named = plans.flatMap((plan) => [planChip(plan), ` needs the plan ${capital(plan)}. `]);
  return rates.some(([feature, rate]) => needsTopUps(feature, rate)) ? [...named, topUpsChip(), " needs automatic top-ups to be enabled."] : named;
}

/**
 * @param {Api.Feature} feature
 * @param {Api.Rate} rate
 * @param {[quantity: string, credits: string]} price
 * @param {string | null} today
 */
function row(feature, rate, [quantity, cost], today) {
  const plan = planOf(feature, rate);
  const notes = [
    plan && planChip(plan),
    needsTopUps(feature, rate) && topUpsChip(),
    today && today !== cost && h("span", { class: "chip number" }, today === NEW ? "not on today's card" : `today ${credits(today)}`),
  ].filter(Boolean);
  return h(
    "tr",
    {},
    h(
      "th",
      { scope: "row" },
      `${rateName(feature, rate)}${quantity && `, ${quantityName(quantity)}`} `,
      notes.length > 0 && h("span", { class: "notes" }, notes),
    ),
    h("td", { class: "per quiet" }, per(feature)),
    h("td", { class: "credits number" }, credits(cost)),
  );
}

/**
 * @param {Api.Feature} feature
 * @param {Api.Rate} rate
 */
const rateName = ({ name }, { attributes: its = {} }) => name + (Object.keys(its).length ? ` · ${attributes(its)}` : "");

/**
 * "What would this cost?" The server says so, and whether the team may: the page calculates no prices.
 *
 * @param {Session} session
 * @param {Api.Category[]} categories
 */
function calculator(session, categories) {
  const rates = categories.flatMap(({ features }) => features.flatMap((feature) => feature.rates.map((rate) => ({ feature, rate }))));
  const which = h(
    "select",
    { "aria-label": "Feature" },
    rates.map((known, place) => new Option(rateName(known.feature, known.rate), String(place))),
  );
  const fields = h("span", { class: "fields" });
  const cost = h("output", { class: "number" });
  let turn = 0;
  const ask = async () => {
    const mine = ++turn;
    const known = rates[Number(which.value)];
    if (!known) return;
    const { feature, rate } = known;
    const amounts = [...fields.querySelectorAll("input")].map((field) => amountIn(field, feature));
    if (amounts.some(({ isAmount }) => !isAmount)) {
      return cost.replaceChildren(`How many: write a number above 0, such as ${credits(LIKE)}.`);
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    if (mine !== turn) return;
    const item = { feature: feature.feature, attributes: rate.attributes, ...measured(amounts) };
    const asked = amounts.map(({ quantity, unit }) => `${credits(quantity)} ${unit}`).join(", ");
    const said = await session.send("POST", "/quotes", { items: [item] }).then(
      (quote) => answerOf(quote, asked),
      ({ message }) => [sentence(message)],
    );
    if (mine === turn) cost.replaceChildren(...said);
  };
  const choose = () => {
    const known = rates[Number(which.value)];
    // What was typed stays: who compares two tiers asks about the same work.
    const before = new Map([...fields.querySelectorAll("input")].map(({ dataset, value }) => [dataset.quantity ?? "", value]));
    fields.replaceChildren(...(known ? pricesOf(known.rate).flatMap(([name]) => field(name, before.get(name))) : []));
    ask();
  };
  which.addEventListener("change", choose);
  fields.addEventListener("input", ask);
  choose();
  return h("div", { class: "cost" }, h("strong", {}, "What would this cost?"), which, fields, cost);
}

/**
 * Where somebody writes how much it would be: once, or once for each quantity.
 *
 * @param {string} name  of the quantity, where there are several
 * @param {string} [value]
 */
function field(name, value = name ? "1000" : "30") {
  const label = name ? `How many ${quantityName(name)}` : "How many";
  const input = h("input", { type: "text", inputmode: "decimal", value, "aria-label": label, maxlength: "12", "data-quantity": name });
  return [input, h("span", {})];
}

/**
 * What stands in a field, which is marked where it is no amount; its unit is written behind it. Of several quantities one may be 0.
 *
 * @param {HTMLInputElement} input
 * @param {Api.Feature} feature
 */
function amountIn(input, feature) {
  const name = input.dataset.quantity ?? "";
  const quantity = typed(input.value, QUANTITY_PLACES);
  const isAmount = quantity !== null && (name !== "" || !isZero(quantity));
  const unit = name ? quantityName(name, quantity ?? "") : units(feature, quantity ?? "");
  input.setAttribute("aria-invalid", String(!isAmount));
  /** @type {Element} */ (input.nextElementSibling).textContent = unit;
  return { name, quantity: quantity ?? "", isAmount, unit };
}

/**
 * A quantity, or several by their names, as a quote asks for them.
 *
 * @param {{ name: string, quantity: string }[]} amounts
 */
function measured(amounts) {
  const several = amounts.filter(({ name }) => name);
  if (several.length === 0) return { quantity: amounts[0]?.quantity ?? "0" };
  return { quantities: Object.fromEntries(several.map(({ name, quantity }) => [name, quantity])) };
}

/**
 * The amount that was asked about is read back: who typed another one sees it here.
 *
 * @param {Api.Quote} quote
 * @param {string} asked
 */
function answerOf({ items: [item] }, asked) {
  if (!item) return [];
  if (item.credits === null) return [sentence(item.detail)];
  const why = item.detail ? `, but ${item.detail}` : "";
  return [`${asked} = `, h("strong", {}, inCredits(item.credits)), h("span", { class: "quiet" }, item.allowed ? "" : why)];
}

customElements.define("rate-card", RateCard);
