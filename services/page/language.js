// Which language an element speaks: that of the `lang` around it, else the browser's. English is there at once, others are loaded.

import { EN } from "./texts/en.js";
import { Words } from "./words.js";

/** @typedef {import("./words.js").Translation} Translation */

/** @type {Translation} */
const english = { language: "en", texts: EN, said: [], problems: {} };

/** @type {Record<string, () => Promise<Translation>>} */
const TRANSLATIONS = { de: async () => (await import("./texts/de.js")).TRANSLATION };

/** @type {Map<string, Translation | Promise<Translation>>} */
const loaded = new Map();

/** @type {Map<string, Words>} */
const ours = new Map(); // where the host has no texts of its own
/** @type {WeakMap<GetText, Map<string, Words>>} */
const hosts = new WeakMap();

/**
 * The words of an element: those of the element that it is a part of, or those that its language and its host have. A promise of them
 * while a translation is on its way.
 *
 * @param {Element & { getText?: GetText | null }} element
 */
export function wordsOf(element) {
  const root = element.getRootNode();
  const whole = root instanceof ShadowRoot && "words" in root.host ? /** @type {CreditsElement} */ (root.host) : null;
  return whole ? whole.words : wordsIn(localeOf(element), element.getText);
}

/**
 * @param {string} locale
 * @param {GetText | null} [getText]
 * @returns {Words | Promise<Words>}
 */
export function wordsIn(locale, getText = null) {
  const known = (getText && hosts.get(getText)) ?? (getText ? new Map() : ours);
  if (getText) hosts.set(getText, known);
  const found = known.get(locale);
  if (found) return found;
  const translation = translationInto(languageOf(locale));
  if (translation instanceof Promise) return translation.then(() => wordsIn(locale, getText));
  const words = new Words(locale, translation, getText);
  known.set(locale, words);
  return words;
}

/**
 * What is missing is English; so is what did not load.
 *
 * @param {string} language
 */
function translationInto(language) {
  const load = TRANSLATIONS[language];
  if (!load) return english;
  const known = loaded.get(language);
  if (known) return known;
  const coming = load()
    .catch(() => english)
    .then((translation) => {
      loaded.set(language, translation);
      return translation;
    });
  loaded.set(language, coming);
  return coming;
}

/**
 * The locale of the page's `lang` around an element. One without a country is that which the reader's browser has for it: "en" may be
 * "en-GB". Where none is named, or none that there can be, it is the browser's own.
 *
 * @param {Element} element
 */
function localeOf(element) {
  const named = canonical(langAround(element));
  if (!named) return navigator.language;
  return navigator.languages.find((own) => languageOf(own) === named) ?? named;
}

/**
 * @param {Element} element
 * @returns {string}
 */
function langAround(element) {
  const found = element.closest("[lang]");
  if (found) return found.getAttribute("lang") ?? "";
  const root = element.getRootNode();
  return root instanceof ShadowRoot ? langAround(root.host) : "";
}

/** @param {string} lang */
function canonical(lang) {
  try {
    return Intl.getCanonicalLocales(lang)[0] ?? "";
  } catch {
    return ""; // "en_US", say
  }
}

/** @param {string} locale */
const languageOf = (locale) => locale.split("-")[0] ?? "";
