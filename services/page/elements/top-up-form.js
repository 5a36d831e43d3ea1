// The dialog of <top-up-settings>: the rule as a sentence with gaps, and what it would mean before it is saved.

import { openDialog, wrong } from "../dialog.js";
import { choices, h } from "../dom.js";
import { failure, loader, skeleton } from "../loading.js";
import { newKey } from "../session.js";
import { css } from "../style.js";
import { cardName, credits, currencySign, inOwnNumbers, money, moneyField, onDay, sentence, typed, typedMoney } from "../words.js";

const BEGIN_CAP = "200";
const DATES_MAX = 6;
const TIMES_MAX = 1_000;
const MINUTES_MAX = 24 * 60;
const PAUSE = 300; // milliseconds after the last key, before the server is asked
const BEGIN = { threshold: "500", credits: "2000", restore_to: "5000" };

/**
 * @typedef {{ known: Api.TopUp, etag: string | null }} Settings
 * @typedef {{ body: Api.TopUpBody, problem?: undefined } | { problem: string, body?: undefined }} Wanted  what is typed, or what is wrong with it
 */

const sheet = css`
  .sentence {
    font-size: 16px;
    line-height: 46px;
  }
  .sentence input {
    field-sizing: content;
    width: 92px;
    min-width: 64px;
    max-width: 160px;
    margin: 0 1px;
    line-height: 1.4;
    text-align: center;
  }
  @supports (field-sizing: content) {
    .sentence input { width: auto; }
  }
  .meaning.old {
    opacity: 0.45;
  }
  .price {
    display: inline-block;
    min-width: 4ch;
  }
  .money {
    white-space: nowrap;
  }
  details {
    font-size: 14px;
  }
  summary {
    color: var(--quiet);
    font-weight: 600;
    cursor: pointer;
  }
  details .sentence {
    margin-top: 6px;
    font-size: 14px;
  }
  .meaning {
    display: grid;
    gap: 8px;
  }
  fieldset.choices {
    width: max-content;
    max-width: 100%;
  }
`;

/**
 * Look at the settings as they are now, and let an admin change them; `enable` if that is what was pressed.
 *
 * @param {TopUpSettings} element
 * @param {{ enable: boolean }} how
 */
export function editTopUps(element, { enable }) {
  const sheets = element.root.adoptedStyleSheets;
  if (!sheets.includes(sheet)) sheets.push(sheet);
  const body = h("div", {});
  const dialog = openDialog(element, { title: "Automatic top-ups" }, body);
  const load = loader((/** @type {Loading<Settings>} */ state) => {
    if (state.phase === "ready") {
      dialog.close();
      editKnown(element, state.value, { enable });
    } else if (state.phase === "loading") {
      body.replaceChildren(skeleton("The settings are loading", "full", "half", "full"));
    } else {
      body.replaceChildren(failure("The settings did not load.", state));
    }
  }, dialog);
  load(() => settingsOf(element.session));
}

/**
 * @param {Session} session
 * @returns {Promise<Settings>}
 */
async function settingsOf(session) {
  const response = await session.fetch("/top-up", { accept: "application/json" });
  return { known: await response.json(), etag: response.headers.get("etag") };
}

/**
 * @param {TopUpSettings} element
 * @param {Settings} settings
 * @param {{ enable?: boolean, told?: Thrown | null }} [how]
 */
function editKnown(element, { known, etag }, { enable = false, told = null } = {}) {
  const { session } = element;
  const fields = fieldsOf(known);
  const on = h("input", { type: "checkbox", class: "switch", role: "switch", "aria-label": "Automatic top-ups", checked: known.enabled || enable });
  const meaning = h("div", { class: "meaning", role: "status" });
  const save = h("button", { class: "primary" }, "Save");
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const gaps = h("div", { class: "meaning" }, fields.elements);
  let key = newKey();
  let turn = 0;

  /** @returns {Wanted} */
  const wanted = () => (on.checked ? fields.read() : { body: { enabled: false } });
  /** @param {Node[]} said */
  const say = (...said) => {
    meaning.classList.remove("old");
    meaning.replaceChildren(...said);
  };
  // Nobody can agree to the price of something else: what stands there can be saved once its own price is there.
  const foresee = async () => {
    const mine = ++turn;
    key = newKey();
    gaps.hidden = !on.checked;
    save.disabled = true;
    fields.price.textContent = "…";
    const { body, problem } = wanted();
    if (!body) return say(wrong({ message: problem }));
    if (!on.checked) {
      save.disabled = false;
      return say(note("Top-ups are off. Nothing is charged, and your amounts are kept."));
    }
    meaning.classList.add("old");
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    if (mine !== turn) return;
    const said = await session.send("POST", "/top-up/simulate", body).catch((/** @type {Thrown} */ refusal) => refusal);
    if (mine !== turn) return;
    if (said instanceof Error)
      return say(said.final ? wrong(inWords(said)) : failure("What this would charge is not known.", { problem: said, again: foresee }));
    save.disabled = false;
    say(...foreseen(said, fields, known.card));
  };
  /**
   * Somebody else was faster: what they saved is to be looked at before it is changed.
   *
   * @param {Thrown} problem
   */
  const beginAgain = async (problem) => {
    const latest = await settingsOf(session);
    session.renew("/top-up");
    if (!dialog.isConnected) return;
    dialog.close();
    editKnown(element, latest, { told: problem });
  };
  const store = async () => {
    const mine = turn;
    /** @param {Thrown} problem */
    const fail = (problem) => {
      if (mine !== turn) return; // something else stands there now
      say(wrong(inWords(problem)));
      save.disabled = false;
    };
    save.disabled = true;
    try {
      const { body } = wanted();
      if (body) await session.send("PUT", "/top-up", body, { key, headers: etag ? { "if-match": etag } : {} });
      dialog.close();
      session.renew("/top-up");
    } catch (error) {
      const problem = /** @type {Thrown} */ (error);
      if (problem.status === 412) await beginAgain(problem).catch(fail);
      else fail(problem);
    }
  };

  on.addEventListener("change", foresee);
  fields.hear(foresee);
  const dialog = openDialog(
    element,
    {
      title: "Automatic top-ups",
      beside: on,
      about: "Keeps work running. Nothing is charged until credits are low.",
      onsubmit: () => save.disabled || store(),
    },
    told && wrong(inWords(told)),
    gaps,
    meaning,
    h("div", { class: "buttons" }, cancel, save),
  );
  foresee();
}

/**
 * The gaps of the sentence, filled with what is in force, or with something sensible.
 *
 * @param {Api.TopUp} known
 */
function fieldsOf(known) {
  const fresh = !known.threshold;
  const { currency } = known.price;
  /**
   * @param {string | number} value
   * @param {string} label
   * @param {Properties} [more]
   */
  const text = (value, label, more = {}) =>
    h("input", { type: "text", inputmode: "decimal", autocomplete: "off", maxlength: "16", "aria-label": label, value, ...more });
  const threshold = text(credits(known.threshold ?? BEGIN.threshold), "Threshold");
  const fixed = text(credits(known.credits ?? BEGIN.credits), "Credits to add");
  const full = text(credits(known.restore_to ?? BEGIN.restore_to), "Fill up to");
  const cap = text(known.monthly_cap ? moneyField(known.monthly_cap) : fresh ? BEGIN_CAP : "", "Most to charge in a month", {
    placeholder: moneyField({ amount: known.price.monthly_cap, currency }),
  });
  const times = text(known.max_per_month ?? "", "Most top-ups in a month", { placeholder: "any" });
  const minutes = text(Math.round((known.cool_down_seconds ?? 300) / 60), "Minutes between two top-ups");
  const price = h("strong", { class: "price number" });
  const adding = h("span", {}, "add ", fixed, " credits for ", price);
  const filling = h("span", {}, "fill it up to ", full, " credits");
  const several = h("p", { class: "quiet" }, "After a big drop, one charge adds that amount as often as needed to get back to the threshold.");
  /** @type {"add" | "fill"} */
  let how = known.restore_to ? "fill" : "add";
  const heard = new EventTarget();
  /** @param {"add" | "fill"} chosen */
  const choose = (chosen) => {
    how = chosen;
    adding.hidden = how !== "add";
    filling.hidden = how !== "fill";
    several.hidden = how !== "add";
    heard.dispatchEvent(new Event("input"));
  };
  choose(how);
  const kind = choices({
    legend: "How many credits",
    name: "how",
    options: { add: "A fixed amount", fill: "Fill up" },
    value: how,
    onchange: choose,
  });
  for (const field of [threshold, fixed, full, cap, times, minutes]) field.addEventListener("input", () => heard.dispatchEvent(new Event("input")));

  /** @returns {Wanted} */
  const read = () => {
    const monthly = cap.value.trim() ? typedMoney(cap.value, currency) : null;
    const amounts = { threshold: typed(threshold.value), ...(how === "add" ? { credits: typed(fixed.value) } : { restore_to: typed(full.value) }) };
    if (Object.values(amounts).includes(null)) return { problem: "Write the credits as a number." };
    if (cap.value.trim() && monthly === null) return { problem: "Write the most to charge in a month as an amount of money, or leave it empty." };
    if (times.value.trim() && !isWhole(times.value, TIMES_MAX))
      return { problem: `Write how often as a whole number from 1 to ${credits(TIMES_MAX)}, or leave it empty.` };
    if (!isWhole(minutes.value, MINUTES_MAX)) return { problem: `Write the minutes between as a whole number from 1 to ${credits(MINUTES_MAX)}.` };
    const more = {
      monthly_cap: monthly === null ? null : { amount: monthly, currency },
      max_per_month: times.value.trim() ? Number(times.value) : null,
    };
    return { body: { enabled: true, ...amounts, ...more, cool_down_seconds: 60 * Number(minutes.value) } };
  };
  const elements = [
    kind,
    h(
      "p",
      { class: "sentence" },
      "When available credits drop below ",
      threshold,
      ", ",
      adding,
      filling,
      ", at most ",
      h("span", { class: "money" }, currencySign(currency), cap),
      " a\u00a0month.",
    ),
    several,
    h(
      "details",
      {},
      h("summary", {}, "More limits"),
      h("p", { class: "sentence" }, "At most ", times, " top-ups a month, at least ", minutes, " minutes apart."),
    ),
  ];
  return { elements, read, price, hear: (/** @type {() => void} */ listener) => heard.addEventListener("input", listener) };
}

/**
 * @param {string} text
 * @param {number} most
 */
const isWhole = (text, most) => /^\d+$/.test(text.trim()) && Number(text) >= 1 && Number(text) <= most;

/**
 * What the server says of settings, as a sentence.
 *
 * @param {Said} problem
 */
const inWords = ({ message }) => ({ message: sentence(inOwnNumbers(message)) });

/** @param {Content | Content[]} said */
const note = (said) => h("p", { class: "note" }, said);

/**
 * What the settings would have meant, and what they mean now; the server says both.
 *
 * @param {Api.Simulation} said
 * @param {{ price: HTMLElement }} fields
 * @param {Api.Card | null} card
 */
function foreseen({ charges, total, days, each, next_charge_preview: next }, fields, card) {
  fields.price.textContent = each ? money(each) : "";
  const past =
    charges && total
      ? [`In the last ${days} days this would have charged `, ...pastOf(charges, total), "."]
      : `It is not known what this would have charged in the last ${days} days: too much has happened to look through.`;
  const now = next?.now && `saving now will charge ${money(next)}${card ? ` to ${cardName(card)}` : ""}`;
  const later = next?.not_now === "no_payment_method" && `${money(next)} will be charged as soon as there is a card`;
  const said = now || later;
  return [
    note(past),
    said
      ? h("p", { class: "note warned" }, "Available credits are below the threshold: ", h("strong", {}, said), ".")
      : note(h("strong", {}, "Saving charges nothing now.")),
  ];
}

/**
 * @param {Api.SimulatedCharge[]} charges
 * @param {Api.Money} total
 */
function pastOf(charges, total) {
  if (!charges.length) return [h("strong", {}, "nothing")];
  const days = [...new Set(charges.map(({ at }) => onDay(at)))];
  const dates = days.length > DATES_MAX ? `${days.slice(0, DATES_MAX).join(", ")} …` : new Intl.ListFormat(undefined).format(days);
  return [h("strong", {}, `${charges.length === 1 ? "once" : `${charges.length} times`}, ${money(total)}`), `: ${dates}`];
}
