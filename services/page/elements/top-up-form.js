// The dialog of <top-up-settings>: the rule as a sentence with gaps, and what it would mean before it is saved.

import { reading } from "../amounts.js";
import { openDialog, wrong } from "../dialog.js";
import { choices, h } from "../dom.js";
import { failure, loader, skeleton } from "../loading.js";
import { newKey } from "../session.js";
import { css } from "../style.js";
import { foreseen, note } from "./top-up-meaning.js";
import "../texts/en-later.js";

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
  const { text } = element.words;
  const body = h("div", {});
  const dialog = openDialog(element, { title: text("top_up.title") }, body);
  const load = loader((/** @type {Loading<Settings>} */ state) => {
    if (state.phase === "ready") {
      dialog.close();
      editKnown(element, state.value, { enable });
    } else if (state.phase === "loading") {
      body.replaceChildren(skeleton(text("form.loading"), "full", "half", "full"));
    } else {
      body.replaceChildren(failure(element.words, text("form.failed"), state));
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
  const { session, words } = element;
  const { text } = words;
  const fields = fieldsOf(words, known);
  const named = { role: "switch", "aria-label": text("top_up.title") };
  const on = h("input", { type: "checkbox", class: "switch", ...named, checked: known.enabled || enable });
  const meaning = h("div", { class: "meaning", role: "status" });
  const save = h("button", { class: "primary" }, text("form.save"));
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, text("cancel"));
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
    if (!body) return say(wrong(problem));
    if (!on.checked) {
      agreed = body;
      save.disabled = false;
      return say(note(text("form.off")));
    }
    meaning.classList.add("old");
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    if (mine !== turn) return;
    const said = await session.send("POST", "/top-up/simulate", body).catch((/** @type {Thrown} */ refusal) => refusal);
    if (mine !== turn) return;
    if (said instanceof Error)
      return say(said.final ? wrong(words.problem(said)) : failure(words, text("form.unforeseen"), { problem: said, again: foresee }));
    fields.price.textContent = said.each ? words.money(said.each) : "";
    agreed = body;
    save.disabled = false;
    say(...foreseen(words, said, body, known));
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
      say(wrong(words.problem(problem)));
      save.disabled = false;
    };
    save.disabled = true;
    try {
      const saved = agreed && (await session.send("PUT", "/top-up", agreed, { key, headers: etag ? { "if-match": etag } : {} }));
      dialog.close();
      if (saved) session.tell("top-up", saved);
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
      title: text("top_up.title"),
      beside: on,
      about: text("form.about"),
      onsubmit: () => save.disabled || store(),
    },
    told && wrong(words.problem(told)),
    gaps,
    meaning,
    h("div", { class: "buttons" }, cancel, save),
  );
  foresee();
}

/**
 * The gaps of the sentence, filled with what is in force, or with something sensible.
 *
 * @param {Words} words
 * @param {Api.TopUp} known
 */
function fieldsOf(words, known) {
  const { text, rich, credits, moneyField, withCurrency } = words;
  const { typed, typedMoney } = reading(words.locale);
  /**
   * @param {string} amount
   * @param {number} most
   */
  const isWhole = (amount, most) => {
    const number = Number(typed(amount, 0) ?? "0");
    return number >= 1 && number <= most;
  };
  const fresh = !known.threshold;
  const { currency } = known.price;
  /**
   * @param {string | number} value
   * @param {PlainKey} label
   * @param {Properties} [more]
   */
  const field = (value, label, more = {}) =>
    h("input", { type: "text", inputmode: "decimal", autocomplete: "off", maxlength: "16", "aria-label": text(label), value, ...more });
  const threshold = field(credits(known.threshold ?? BEGIN.threshold), "form.threshold");
  const fixed = field(credits(known.credits ?? BEGIN.credits), "form.fixed");
  const full = field(credits(known.restore_to ?? BEGIN.restore_to), "form.full");
  const cap = field(known.monthly_cap ? moneyField(known.monthly_cap) : fresh ? BEGIN_CAP : "", "form.cap", {
    placeholder: moneyField({ amount: known.price.monthly_cap, currency }),
  });
  const times = field(known.max_per_month ?? "", "form.times", { placeholder: text("form.any") });
  const apart = known.cool_down_seconds ?? COOL_DOWN;
  const apartShown = credits(Math.round(apart / 60)); // who leaves it as it is keeps the seconds, too
  const minutes = field(apartShown, "form.minutes");
  const price = h("strong", { class: "price number" });
  const adding = h("span", {}, rich("form.adds", { credits: fixed, price }));
  const filling = h("span", {}, rich("form.fills", { credits: full }));
  const several = h("p", { class: "quiet" }, text("form.drop"));
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
    legend: text("form.how"),
    name: "how",
    options: { add: text("form.how_add"), fill: text("form.how_fill") },
    value: how,
    onchange: choose,
  });
  const inputs = [threshold, fixed, full, cap, times, minutes];
  for (const input of inputs) input.addEventListener("input", () => heard.dispatchEvent(new Event("input")));

  /** @param {HTMLInputElement} input */
  const nameOf = (input) => ({ field: input.ariaLabel ?? "" });
  /** @param {HTMLInputElement} input */
  const noNumber = (input) => ({ problem: text("form.number", { ...nameOf(input), example: credits(LIKE) }), field: input });
  /** @returns {Wanted} */
  const read = () => {
    const second = how === "add" ? fixed : full;
    const [low, added] = [typed(threshold.value), typed(second.value)];
    const [most, often] = [cap.value.trim(), times.value.trim()];
    const monthly = most ? typedMoney(most, currency) : null;
    if (low === null) return noNumber(threshold);
    if (added === null) return noNumber(second);
    if (most && monthly === null) return { problem: text("form.money", { ...nameOf(cap), example: moneyField(likeMoney(currency)) }), field: cap };
    if (often && !isWhole(often, TIMES_MAX))
      return { problem: text("form.whole_or_none", { ...nameOf(times), most: credits(TIMES_MAX) }), field: times };
    const keepsApart = minutes.value === apartShown;
    if (!keepsApart && !isWhole(minutes.value, MINUTES_MAX))
      return { problem: text("form.whole", { ...nameOf(minutes), most: credits(MINUTES_MAX) }), field: minutes };
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
    for (const input of inputs) input.setAttribute("aria-invalid", String(input === wrongly));
  };
  const elements = [
    kind,
    h(
      "p",
      { class: "sentence" },
      rich("form.rule", { threshold, adds: [adding, filling], cap: h("span", { class: "money" }, withCurrency(currency, cap)) }),
    ),
    several,
    h("details", {}, h("summary", {}, text("form.more")), h("p", { class: "sentence" }, rich("form.limits", { times, minutes }))),
  ];
  return { elements, read, mark, price, hear: (/** @type {() => void} */ listener) => heard.addEventListener("input", listener) };
}

/** @param {string} currency */
const likeMoney = (currency) => ({ amount: 123450, currency }); // in any currency: with decimals where it has some
