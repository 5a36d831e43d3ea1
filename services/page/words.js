// What the page says, in one language: texts by their name, and the server's words in it.

import { Formats, isOne } from "./formats.js";

/** @typedef {{ language: string, texts: Texts, said: [english: string, own: string][], problems: Record<string, string> }} Translation */

/**
 * Several of something that a rate card names: its names are English, or whatever its author wrote.
 *
 * @param {string} name
 * @param {string} quantity
 */
const several = (name, quantity) => name + (isOne(quantity) ? "" : "s");

/**
 * The name of one of several quantities as people read it: "cached input tokens".
 *
 * @param {string} name
 * @param {string} [quantity]
 */
export function quantityName(name, quantity = "") {
  const words = name.replaceAll("_", " ");
  return /(s|x|ch|sh)$/.test(words) && !isOne(quantity) ? `${words}es` : several(words, quantity);
}

/**
 * A reason that the server gives, as a sentence.
 *
 * @param {string | null | undefined} text
 */
export const sentence = (text) => (text ? `${capital(text)}${/[.!?]$/.test(text) ? "" : "."}` : "");

/** @param {string} text */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/**
 * `tier=high, model=cinema` as people read it.
 *
 * @param {Record<string, string>} known
 */
export const attributes = (known) =>
  Object.values(known)
    .map((value) => value.replaceAll("_", " "))
    .map((value, place) => (place ? value : capital(value)))
    .join(", ");

/**
 * A pattern for what the server says in English, "rate card {n}"; what is filled in is no part of its own.
 *
 * @param {string} english
 */
function patternOf(english) {
  const literal = english.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
  return new RegExp(`^${literal.replace(/\{(\w+)\}/g, "(?<$1>[^·]+?)")}$`, "i");
}

/** How one language says everything, in numbers as one place writes them. Its functions need no `this`. */
export class Words extends Formats {
  #texts;
  #given;
  #said;
  #problems;
  #rules;

  /**
   * @param {string} locale  whose numbers, dates and money
   * @param {Translation} translation  of which language the words are: not always that of the locale
   * @param {GetText | null} [getText]  a host's own texts
   */
  constructor(locale, { language, texts, said, problems }, getText = null) {
    super(locale, language);
    this.#texts = texts;
    this.#given = getText;
    this.#said = said.map(([english, own]) => /** @type {const} */ ([patternOf(english), own]));
    this.#problems = problems;
    this.#rules = new Intl.PluralRules(language);
  }

  /**
   * A text of the catalog, or the host's own, filled in. `count` is an amount, and chooses between one and several.
   *
   * @type {Say<string>}
   */
  text = (key, ...[filling]) =>
    this.#filled(key, filling ?? {})
      .map((part) => (part instanceof Node ? part.textContent : part))
      .join("");

  /**
   * The same where some of what is filled in are elements.
   *
   * @type {Say<Content[]>}
   */
  rich = (key, ...[filling]) => this.#filled(key, filling ?? {});

  /**
   * @param {keyof CreditwellTexts} key
   * @param {Record<string, Filled>} filling
   * @returns {Content[]}
   */
  #filled(key, filling) {
    const template = this.#ofHost(key, filling) ?? this.#ours(key, filling);
    const pieces = template.split(/\{(\w+)\}/).flatMap((piece, place) => {
      if (place % 2 === 0) return piece;
      const filled = filling[piece] ?? "";
      return piece === "count" ? this.credits(String(filled)) : /** @type {Content | Content[]} */ (filled);
    });
    return pieces.filter((piece) => piece !== "");
  }

  /**
   * @param {keyof CreditwellTexts} key
   * @param {Record<string, Filled>} filling
   */
  #ours(key, filling) {
    const text = this.#texts[key];
    return typeof text === "string" ? text : text[this.#rules.select(Number(filling.count)) === "one" ? "one" : "other"];
  }

  /**
   * A host's function may fail; the element is shown all the same.
   *
   * @param {keyof CreditwellTexts} key
   * @param {Record<string, Filled>} filling
   */
  #ofHost(key, filling) {
    if (!this.#given) return null;
    const plain = Object.entries(filling).map(([name, value]) => [name, plainOf(value)]);
    try {
      const text = this.#given(key, Object.fromEntries(plain));
      return typeof text === "string" ? text : null;
    } catch (error) {
      console.error(error);
      return null;
    }
  }

  /**
   * What the server said, in the page's own language where it is known, with its numbers as the reader's language writes them.
   *
   * @param {string} english
   */
  said = (english) => this.inOwnNumbers(this.#translated(english));

  /**
   * Words that are partly the server's own, and partly those of a person or a bank: their numbers are left alone.
   *
   * @param {string} words
   */
  heard = (words) => this.#translated(words);

  /** @param {string} english */
  #translated(english) {
    if (!this.#said.length) return english;
    return (
      this.#ofServer(english) ??
      english
        .split(" · ")
        .map((part) => this.#ofServer(part) ?? part)
        .join(" · ")
    );
  }

  /**
   * @param {string} english
   * @returns {string | null}
   */
  #ofServer(english) {
    for (const [pattern, own] of this.#said) {
      const found = pattern.exec(english);
      if (found) return own.replace(/\{(\w+)\}/g, (_, name) => this.#ofServer(found.groups?.[name] ?? "") ?? found.groups?.[name] ?? "");
    }
    return null;
  }

  /**
   * Why something did not work, as a sentence.
   *
   * @param {Said} problem
   */
  problem = ({ message, code = "", status = 0 }) => {
    if (message in this.#texts) return this.text(/** @type {"problem.unanswered"} */ (message), { status: String(status) });
    return sentence(this.#problems[code] ?? this.said(message));
  };

  /**
   * "1 credit", "2 credits".
   *
   * @param {string} text
   */
  inCredits = (text) => this.text("credits", { count: text });

  /**
   * "per second", or "per image" where a use has a name; "per 1,000,000 tokens" where a price is for so many.
   *
   * @param {{ unit?: string | null, per: Api.Feature["per"], for_units?: number }} feature
   */
  per = (feature) => {
    const { for_units: many = 1 } = feature;
    if (many > 1) return this.text("per.many", { many: this.credits(many), units: this.units(feature, String(many)) });
    return feature.unit ? this.text("per.named", { unit: feature.unit }) : this.text(`per.${feature.per}`);
  };

  /**
   * "seconds", "images"; "image" where it is one.
   *
   * @param {{ unit?: string | null, per: Api.Feature["per"] }} feature
   * @param {string} quantity
   */
  units = ({ unit, per }, quantity) => (unit ? several(unit, quantity) : this.text(`unit.${per}`, { count: quantity }));

  /** @param {Api.Card} card */
  cardName = ({ brand, last4 }) => `${brand ? capital(brand) : this.text("card")}\u00a0····\u00a0${last4 ?? "····"}`;

  /**
   * What to call each member, by id; of some the name was erased.
   *
   * @param {Api.Team} team
   */
  memberNames = ({ members, erased }) =>
    new Map([
      ...erased.map((id) => /** @type {[string, string]} */ ([id, this.text("member.erased")])),
      ...members.map(({ id, name }) => /** @type {[string, string]} */ ([id, name])),
    ]);
}

/** @param {Filled} value */
const plainOf = (value) =>
  [value]
    .flat()
    .map((part) => (part instanceof Node ? part.textContent : String(part || "")))
    .join("");
