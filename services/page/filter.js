// What of the past is looked at. Chart, table, activity and download share one, so that they always speak of the same thing.

/** @type {Days[]} */
const DAYS = ["1", "7", "30"];

/**
 * @typedef {"1" | "7" | "30"} Days
 * @typedef {{ days: Days, member: string, type: string }} Chosen
 */

/** Days, member and type; says `change` when one of them is another. */
export class Filter extends EventTarget {
  /** @type {Days} */
  days = "7";
  member = "";
  type = "";

  /** @param {Partial<Chosen>} changed */
  set(changed) {
    const { days = this.days, member = this.member, type = this.type } = changed;
    if (days === this.days && member === this.member && type === this.type) return;
    Object.assign(this, changed);
    this.dispatchEvent(new Event("change"));
  }

  /**
   * As an address has it: what is named, and more.
   *
   * @param {(keyof Chosen)[]} names
   * @param {Record<string, string | number | null>} [more]
   */
  query(names, more = {}) {
    const query = new URLSearchParams();
    for (const name of names) if (this[name]) query.set(name, this[name]);
    for (const [name, value] of Object.entries(more)) if (value !== null) query.set(name, String(value));
    return query;
  }
}

/**
 * What an element offers of a filter's days, named in its words.
 *
 * @param {CreditsElement} element
 */
export const daysIn = (element) =>
  /** @type {Record<Days, Text>} */ (Object.fromEntries(DAYS.map((count) => [count, element.say("days", { count })])));

/**
 * "in the last 7 days".
 *
 * @param {Words} words
 * @param {string | number} days
 */
export const during = ({ text }, days) => (String(days) === "1" ? text("during.day") : text("during.days", { days: String(days) }));
