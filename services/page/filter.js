// What of the past is looked at. Chart, table, activity and download share one, so that they always speak of the same thing.

export const DAYS = { 1: "1 day", 7: "7 days", 30: "30 days" };

/** Days, member and type; says `change` when one of them is another. */
export class Filter extends EventTarget {
  days = "7";
  member = "";
  type = "";

  set(changed) {
    if (Object.entries(changed).every(([name, value]) => this[name] === value)) return;
    Object.assign(this, changed);
    this.dispatchEvent(new Event("change"));
  }

  /** As an address has it: what is named, and more. */
  query(names, more = {}) {
    const wanted = { ...Object.fromEntries(names.map((name) => [name, this[name]])), ...more };
    return new URLSearchParams(Object.entries(wanted).filter(([, value]) => value !== "" && value !== null));
  }
}

/** "in the last 7 days". */
export const during = (days) => (days === "1" ? "in the last 24 hours" : `in the last ${days} days`);
