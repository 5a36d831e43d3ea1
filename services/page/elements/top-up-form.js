// The dialog of <top-up-settings>: the rule as a sentence with gaps, and what it would mean before it is saved.

import { typed, typedMoney } from "../amounts.js";
import { openDialog, wrong } from "../dialog.js";
import { choices, h } from "../dom.js";
import { failure, loader, skeleton } from "../loading.js";
import { newKey } from "../session.js";
import { css } from "../style.js";
import { credits, inOwnNumbers, money, moneyField, sentence, withCurrency } from "../words.js";
import { foreseen, note } from "./top-up-meaning.js";

const BEGIN_CAP = "200";
const COOL_DOWN = 300; // seconds
const LIKE = "1234.5"; // an amount, to show how one is written
const TIMES_MAX = 1_000;
const MINUTES_MAX = 24 * 60;
const PAUSE = 300; // milliseconds after the last key, before the server is asked
const BEGIN = { threshold: "500", credits: "2000", restore_to: "5000" };

/**
 * @typedef {{ known: Api.TopUp, etag: string | null }} Settings
 * @typedef {{ body: Api.TopUpBody, problem?: undefined, field?: undefined } | { problem: string, field: HTMLInputElement, body?: undefined }} Wanted  what is typed, or what is wrong with it
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
  /** @type {Api.TopUpBody | null} */
  let agreed = null; // what was read back; this and nothing else is saved

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
    agreed = null;
    gaps.hidden = !on.checked;
    save.disabled = true;
    fields.price.textContent = "…";
    const { body, problem, field } = wanted();
    fields.mark(field);
    if (!body) return say(wrong({ message: problem }));
    if (!on.checked) {
      agreed = body;
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
    fields.price.textContent = said.each ? money(said.each) : "";
    agreed = body;
    save.disabled = false;
    say(...foreseen(said, body, known));
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
      if (agreed) await session.send("PUT", "/top-up", agreed, { key, headers: etag ? { "if-match": etag } : {} });
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
  const apart = known.cool_down_seconds ?? COOL_DOWN;
  const apartShown = credits(Math.round(apart / 60)); // who leaves it as it is keeps the seconds, too
  const minutes = text(apartShown, "Minutes between two top-ups");
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
  const inputs = [threshold, fixed, full, cap, times, minutes];
  for (const field of inputs) field.addEventListener("input", () => heard.dispatchEvent(new Event("input")));

  /**
   * @param {HTMLInputElement} field
   * @param {string} how
   */
  const asking = (field, how) => ({ problem: `${field.getAttribute("aria-label")}: write ${how}.`, field });
  /** @returns {Wanted} */
  const read = () => {
    const second = how === "add" ? fixed : full;
    const [low, added] = [typed(threshold.value), typed(second.value)];
    const [most, often] = [cap.value.trim(), times.value.trim()];
    const monthly = most ? typedMoney(most, currency) : null;
    const number = `a number such as ${credits(LIKE)}`;
    if (low === null) return asking(threshold, number);
    if (added === null) return asking(second, number);
    if (most && monthly === null) return asking(cap, `an amount of money such as ${moneyField(likeMoney(currency))}, or leave it empty`);
    if (often && !isWhole(often, TIMES_MAX)) return asking(times, `a whole number from 1 to ${credits(TIMES_MAX)}, or leave it empty`);
    const keepsApart = minutes.value === apartShown;
    if (!keepsApart && !isWhole(minutes.value, MINUTES_MAX)) return asking(minutes, `a whole number from 1 to ${credits(MINUTES_MAX)}`);
    const body = {
      enabled: true,
      threshold: low,
      ...(how === "add" ? { credits: added } : { restore_to: added }),
      monthly_cap: monthly === null ? null : { amount: monthly, currency },
      max_per_month: often ? Number(typed(often)) : null,
      cool_down_seconds: keepsApart ? apart : 60 * Number(typed(minutes.value)),
    };
    return { body };
  };
  /** @param {HTMLInputElement} [wrongly] */
  const mark = (wrongly) => {
    for (const field of inputs) field.setAttribute("aria-invalid", String(field === wrongly));
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
      h("span", { class: "money" }, withCurrency(currency, cap)),
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
  return { elements, read, mark, price, hear: (/** @type {() => void} */ listener) => heard.addEventListener("input", listener) };
}

/** @param {string} currency */
const likeMoney = (currency) => ({ amount: 123450, currency }); // in any currency: with decimals where it has some

/**
 * @param {string} text
 * @param {number} most
 */
const isWhole = (text, most) => {
  const number = Number(typed(text, 0) ?? "0");
  return number >= 1 && number <= most;
};

/**
 * What the server says of settings, as a sentence.
 *
 * @param {Said} problem
 */
const inWords = ({ message }) => ({ message: sentence(inOwnNumbers(message)) });
