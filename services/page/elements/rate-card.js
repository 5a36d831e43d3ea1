// <rate-card>: how many credits each feature costs, by category, with what it needs; what a piece of work would cost; and the cards
// of other times.

import { reading } from "../amounts.js";
import { h } from "../dom.js";
import { CreditsElement } from "../element.js";
import { isZero } from "../formats.js";
import { failure, loader, skeleton } from "../loading.js";
import { css } from "../style.js";
import { attributes, capital, quantityName, sentence } from "../words.js";
import "../texts/en-later.js";

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
  #which = this.name(h("select", { hidden: true }), "rates.which");

  constructor() {
    super(sheet);
    this.#which.addEventListener("change", () => this.#look(this.#which.value));
    const head = h("div", { class: "head" }, h("h2", { tabindex: "-1" }, this.say("rates.title")), this.#which);
    this.root.append(this.name(h("section", { class: "card", part: "card" }, head, this.#body), "rates.title"));
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
      this.#body.replaceChildren(skeleton(this.words.text("rates.loading"), "short", "full", "full"));
    } else {
      this.#body.replaceChildren(failure(this.words, this.words.text("rates.failed"), state));
    }
  }

  /** @param {Cards} found */
  #draw({ cards, today, shown }) {
    const { words } = this;
    /** @type {Span[]} */
    const spans = cards.map((card, place) => ({ ...card, until: cards[place + 1]?.effective_from }));
    const spanOf = (/** @type {Api.RateCard} */ { version }) => /** @type {Span} */ (spans.find((known) => known.version === version));
    const [span, now] = [spanOf(shown), spanOf(today)];
    this.#which.replaceChildren(
      ...spans.toReversed().map((known) => new Option(nameOf(words, known, now), known.effective_from, false, known === span)),
    );
    this.#which.hidden = cards.length < 2;
    const after = spans[spans.indexOf(now) + 1];
    const next = span === now && after ? this.#announce(after) : "";
    const about = h("p", { class: "quiet" }, `${lasted(words, span, now)} ${words.text("rates.credits")}`, next);
    const marks = h("p", { class: "quiet marks" }, legend(words, shown));
    const others = span === now ? null : ratesOf(today);
    const tables = shown.categories.map(({ name, features }) => category(words, name, features, others));
    this.#body.replaceChildren(about, marks, h("div", { class: "all" }, tables), span === now ? calculator(this, today.categories) : "");
  }

  /** @param {Api.RateCardDate} next */
  #announce({ version, effective_from: from }) {
    const { text, rich, onDayOfYear } = this.words;
    const card = h(
      "button",
      { type: "button", class: "link", onclick: () => this.#look(from) },
      text("rates.next_card", { version: String(version) }),
    );
    return h("span", {}, " ", rich("rates.next", { date: onDayOfYear(from), card }));
  }
}

const TITLES = /** @type {const} */ (["rates.feature", "rates.unit", "rates.amount"]);
const NEW = "new"; // where today's card has no such rate

/**
 * @param {Span} card
 * @param {Span} now
 */
const isAhead = ({ effective_from: from }, now) => from > now.effective_from; // both as the API writes instants

/**
 * @param {Words} words
 * @param {Span} card
 * @param {Span} now
 */
function nameOf({ text, onDayOfYear }, card, now) {
  const version = String(card.version);
  if (card === now) return text("rates.option_now", { version });
  if (isAhead(card, now)) return text("rates.option_from", { version, from: onDayOfYear(card.effective_from) });
  return text("rates.option_until", { version, until: onDayOfYear(card.until ?? "") });
}

/**
 * @param {Words} words
 * @param {Span} card
 * @param {Span} now
 */
function lasted({ text, onDayOfYear }, card, now) {
  const told = { version: String(card.version), from: onDayOfYear(card.effective_from) };
  if (card === now) return text("rates.now", told);
  return isAhead(card, now) ? text("rates.ahead", told) : text("rates.before", { ...told, until: onDayOfYear(card.until ?? "") });
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
 * @param {Words} words
 * @param {string} name
 * @param {Api.Feature[]} features
 * @param {Map<string, string> | null} today
 */
function category(words, name, features, today) {
  const head = h(
    "tr",
    { class: "unseen" },
    TITLES.map((title) => h("th", { scope: "col" }, words.text(title))),
  );
  const rows = features.flatMap((feature) =>
    feature.rates.flatMap((rate) =>
      pricesOf(rate).map(([quantity, cost]) =>
        row(words, feature, rate, [quantity, cost], today && (today.get(keyOf(feature, rate, quantity)) ?? NEW)),
      ),
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
/** @param {Words} words */
const topUpsChip = ({ text }) => h("span", { class: "chip top-ups" }, text("rates.top_ups"));

/**
 * What the marks beside rates mean.
 *
 * @param {Words} words
 * @param {Api.RateCard} card
 */
function legend(words, { categories }) {
  const rates = categories.flatMap(({ features }) =>
    features.flatMap((feature) => feature.rates.map((rate) => /** @type {const} */ ([feature, rate]))),
  );
  const plans = [...new Set(rates.map(([feature, rate]) => planOf(feature, rate)))].filter((plan) => typeof plan === "string");
  const named = plans.flatMap((plan) => [...words.rich("rates.needs_plan", { chip: planChip(plan), plan: capital(plan) }), " "]);
  const isMarked = rates.some(([feature, rate]) => needsTopUps(feature, rate));
  return isMarked ? [...named, ...words.rich("rates.needs_top_ups", { chip: topUpsChip(words) })] : named;
}

/**
 * @param {Words} words
 * @param {Api.Feature} feature
 * @param {Api.Rate} rate
 * @param {[quantity: string, credits: string]} price
 * @param {string | null} today
 */
function row(words, feature, rate, [quantity, cost], today) {
  const { text, credits, per } = words;
  const plan = planOf(feature, rate);
  const notes = [
    plan && planChip(plan),
    needsTopUps(feature, rate) && topUpsChip(words),
    today &&
      today !== cost &&
      h("span", { class: "chip number" }, today === NEW ? text("rates.not_today") : text("rates.today", { credits: credits(today) })),
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
 * @param {CreditsElement} element
 * @param {Api.Category[]} categories
 */
function calculator({ session, words }, categories) {
  const { text, credits } = words;
  const rates = categories.flatMap(({ features }) => features.flatMap((feature) => feature.rates.map((rate) => ({ feature, rate }))));
  const which = h(
    "select",
    { "aria-label": text("rates.feature") },
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
    const amounts = [...fields.querySelectorAll("input")].map((field) => amountIn(words, field, feature));
    if (amounts.some(({ isAmount }) => !isAmount)) {
      return cost.replaceChildren(text("rates.not_a_number", { example: credits(LIKE) }));
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    if (mine !== turn) return;
    const item = { feature: feature.feature, attributes: rate.attributes, ...measured(amounts) };
    const asked = amounts.map(({ quantity, unit }) => `${credits(quantity)} ${unit}`).join(", ");
    const said = await session.send("POST", "/quotes", { items: [item] }).then(
      (quote) => answerOf(words, quote, asked),
      (problem) => [words.problem(problem)],
    );
    if (mine === turn) cost.replaceChildren(...said);
  };
  const choose = () => {
    const known = rates[Number(which.value)];
    // What was typed stays: who compares two tiers asks about the same work.
    const before = new Map([...fields.querySelectorAll("input")].map(({ dataset, value }) => [dataset.quantity ?? "", value]));
    fields.replaceChildren(...(known ? pricesOf(known.rate).flatMap(([name]) => field(words, name, before.get(name))) : []));
    ask();
  };
  which.addEventListener("change", choose);
  fields.addEventListener("input", ask);
  choose();
  return h("div", { class: "cost" }, h("strong", {}, text("rates.cost")), which, fields, cost);
}

/**
 * Where somebody writes how much it would be: once, or once for each quantity.
 *
 * @param {Words} words
 * @param {string} name  of the quantity, where there are several
 * @param {string} [value]
 */
function field({ text }, name, value = name ? "1000" : "30") {
  const label = name ? text("rates.how_many_of", { quantity: quantityName(name) }) : text("rates.how_many");
  const input = h("input", { type: "text", inputmode: "decimal", value, "aria-label": label, maxlength: "12", "data-quantity": name });
  return [input, h("span", {})];
}

/**
 * What stands in a field, which is marked where it is no amount; its unit is written behind it. Of several quantities one may be 0.
 *
 * @param {Words} words
 * @param {HTMLInputElement} input
 * @param {Api.Feature} feature
 */
function amountIn({ units, locale }, input, feature) {
  const name = input.dataset.quantity ?? "";
  const quantity = reading(locale).typed(input.value, QUANTITY_PLACES);
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
 * @param {Words} words
 * @param {Api.Quote} quote
 * @param {string} asked
 */
function answerOf({ text, said, inCredits }, { items: [item] }, asked) {
  if (!item) return [];
  if (item.credits === null) return [sentence(said(item.detail ?? ""))];
  const why = item.detail ? text("rates.but", { why: said(item.detail) }) : "";
  return [`${asked} = `, h("strong", {}, inCredits(item.credits)), h("span", { class: "quiet" }, item.allowed ? "" : why)];
}

customElements.define("rate-card", RateCard);
