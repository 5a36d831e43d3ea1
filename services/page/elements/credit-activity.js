// <credit-activity>: every credit event, newest first, filtered and page by page; new ones appear as they happen.

import { h } from "../dom.js";
import { failure, loader, skeleton } from "../loading.js";
import { base, css } from "../style.js";
import { TYPES } from "../words.js";
import { entryRows } from "./activity-entry.js";

const PAGE = 25;
const GROWN = 100; // rows that the first page may grow to before it is asked for anew
const DAYS = { 1: "1 day", 7: "7 days", 30: "30 days" };

const sheet = css`
  .filters {
    display: flex;
    flex-wrap: wrap;
    gap: 10px;
  }
  .days {
    display: flex;
    padding: 3px;
    border: 0;
    margin: 0;
    border-radius: 10px;
    background: var(--inset);
  }
  .days label {
    display: grid;
    align-items: center;
    padding: 0 13px;
    min-height: 32px;
    border-radius: 8px;
    font-size: 14px;
    font-weight: 600;
    color: var(--quiet);
    cursor: pointer;
  }
  .days input {
    position: absolute;
    opacity: 0;
  }
  .days label:has(:checked) {
    background: var(--card);
    color: var(--text);
    box-shadow: 0 0 0 1px var(--line), 0 1px 2px rgb(0 0 0 / 12%);
  }
  .days label:has(:focus-visible) {
    outline: 2px solid var(--accent);
    outline-offset: 1px;
  }
  select {
    max-width: 190px;
  }
  table {
    width: 100%;
    margin-top: 14px;
    border-collapse: collapse;
    table-layout: fixed;
  }
  th, td {
    padding: 11px 12px 11px 0;
    text-align: start;
    vertical-align: top;
    border-bottom: 1px solid var(--line);
    overflow-wrap: anywhere;
  }
  th {
    font-size: 13px;
    color: var(--quiet);
  }
  th.at { width: 150px; }
  th.member { width: 170px; }
  th.amount { width: 130px; }
  .at, .member { color: var(--quiet); }
  .amount {
    padding-inline-end: 0;
    text-align: end;
    font-weight: 700;
  }
  th.amount { font-weight: 700; }
  .plus { color: var(--good); }
  .told {
    display: flex;
    gap: 12px;
  }
  .told > div {
    min-width: 0;
  }
  .what {
    min-height: 0;
    padding: 0;
    border: 0;
    background: none;
    font-size: 15px;
    font-weight: 500;
    text-align: start;
  }
  .what:hover {
    color: var(--accent);
    text-decoration: underline;
    text-underline-offset: 3px;
  }
  .more, .narrow {
    display: block;
  }
  .narrow {
    display: none;
  }
  .mark {
    flex: none;
    display: grid;
    place-items: center;
    width: 24px;
    height: 24px;
    border-radius: 7px;
    color: var(--ink, var(--quiet));
    background: color-mix(in srgb, var(--ink, var(--quiet)) 14%, transparent);
  }
  .mark svg {
    width: 16px;
    fill: none;
    stroke: currentColor;
    stroke-width: 1.6;
    stroke-linecap: round;
    stroke-linejoin: round;
  }
  .gained { --ink: var(--good); }
  .mark.included { --ink: var(--included); }
  .warned { --ink: var(--warn); }
  .chip.included { --chip: var(--included); }
  .chip.purchased, .chip.topped_up, .chip.promotional, .chip.adjusted { --chip: var(--good); }
  .chip.overdraft { --chip: var(--bad); }
  .why td {
    padding: 0 0 12px;
  }
  .entry:has(+ .why:not([hidden])) td {
    border-bottom-color: transparent;
  }
  .explanation {
    display: grid;
    gap: 8px;
    padding: 14px 16px;
    border-radius: 10px;
    background: var(--inset);
    font-size: 14px;
  }
  .explanation div {
    display: grid;
    grid-template-columns: 110px 1fr;
    gap: 12px;
  }
  .explanation dt { color: var(--quiet); }
  .explanation a { color: var(--accent); }
  .paid { margin-inline-end: 10px; }
  .entry.fresh td {
    animation: arrive 2.5s ease-out;
  }
  @keyframes arrive {
    from { background: color-mix(in srgb, var(--accent) 16%, transparent); }
  }
  nav {
    display: flex;
    align-items: center;
    justify-content: space-between;
    gap: 12px;
    margin-top: 14px;
  }
  nav span { display: flex; gap: 10px; }
  .newer-came { margin-top: 12px; }
  @media (max-width: 640px) {
    table { table-layout: auto; }
    th.at, td.at, th.member, td.member { display: none; }
    th.amount { width: 96px; }
    .narrow { display: block; }
    .filters, .days { width: 100%; }
    .days label { flex: 1; justify-items: center; padding: 0 4px; white-space: nowrap; }
    select { flex: 1 1 120px; max-width: none; }
    .explanation div { grid-template-columns: 1fr; gap: 0; }
  }
`;

export class CreditActivity extends HTMLElement {
  #session = null;
  #left = new AbortController();
  #load = loader((state) => this.#show(state));
  #days = "7";
  #before = []; // the cursors of the pages before this one
  #cursor = null;
  #next = null;
  #items = [];
  #names = new Map();
  #body = h("div", { part: "body" });
  #type = h("select", { "aria-label": "Event type" });
  #member = h("select", { "aria-label": "Team member" });
  #download = h("button", { type: "button" }, "Download CSV");

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [base, sheet];
    this.#type.append(new Option("All events", ""), ...Object.entries(TYPES).map(([value, name]) => new Option(name, value)));
    this.#member.append(new Option("All members", ""));
    for (const chooser of [this.#type, this.#member]) chooser.addEventListener("change", () => this.#first());
    this.#download.addEventListener("click", () => this.#save());
    const filters = h("div", { class: "filters" }, this.#daysChooser(), this.#type, this.#member, this.#download);
    const head = h("div", { class: "head" }, h("h2", {}, "Credit activity"), filters);
    root.append(h("section", { class: "card", part: "card", "aria-label": "Credit activity" }, head, this.#body));
  }

  set session(session) {
    this.#left.abort();
    this.#left = new AbortController();
    this.#session = session;
    session.addEventListener("activity", ({ detail }) => this.#came(detail), { signal: this.#left.signal });
    this.#first();
  }

  /** Who is who; rows that are shown already are drawn anew with it. */
  set members(members) {
    this.#names = new Map(members.map(({ id, name }) => [id, name]));
    const chosen = this.#member.value;
    this.#member.replaceChildren(new Option("All members", ""), ...members.map(({ id, name }) => new Option(name, id)));
    this.#member.value = chosen;
    if (this.#items.length) this.#draw();
  }

  #daysChooser() {
    const choices = Object.entries(DAYS).map(([days, name]) => {
      const choice = h("input", { type: "radio", name: "days", value: days, checked: days === this.#days });
      choice.addEventListener("change", () => {
        this.#days = days;
        this.#first();
      });
      return h("label", {}, choice, name);
    });
    return h("fieldset", { class: "days" }, h("legend", { class: "unseen" }, "Time range"), choices);
  }

  #query(more = {}) {
    const query = new URLSearchParams({ days: this.#days });
    if (this.#type.value) query.set("type", this.#type.value);
    if (this.#member.value) query.set("member", this.#member.value);
    for (const [name, value] of Object.entries(more)) if (value !== null) query.set(name, value);
    return `/activity?${query}`;
  }

  #first() {
    this.#before = [];
    this.#turn(null);
  }

  #turn(cursor, { quietly = false } = {}) {
    this.#cursor = cursor;
    this.#load(() => this.#session.get(this.#query({ limit: PAGE, cursor })), { quietly });
  }

  #show(state) {
    if (state.phase === "ready") {
      this.#items = state.value.items;
      this.#next = state.value.next_cursor;
      this.#draw();
    } else if (state.phase === "loading") {
      this.#body.replaceChildren(skeleton("The activity is loading", "full", "full", "full", "full"));
    } else {
      this.#body.replaceChildren(failure("The activity did not load.", state));
    }
  }

  #draw() {
    if (!this.#items.length) {
      this.#body.replaceChildren(nothing(DAYS[this.#days], this.#type.value || this.#member.value), this.#pager());
      return;
    }
    const head = h(
      "tr",
      {},
      h("th", { scope: "col", class: "at" }, "Date"),
      h("th", { scope: "col", class: "event" }, "Event"),
      h("th", { scope: "col", class: "member" }, "Team member"),
      h("th", { scope: "col", class: "amount" }, "Credits"),
    );
    const rows = this.#items.flatMap((item) => this.#rows(item));
    this.#body.replaceChildren(h("table", {}, h("thead", {}, head), h("tbody", {}, rows)), this.#pager());
  }

  #rows(item) {
    return entryRows(item, this.#session, (id) => this.#names.get(id) ?? id);
  }

  #pager() {
    const first = this.#before.length * PAGE;
    const newer = h("button", { type: "button", disabled: !this.#before.length }, "Newer");
    const older = h("button", { type: "button", disabled: !this.#next }, "Older");
    newer.addEventListener("click", () => this.#turn(this.#before.pop()));
    older.addEventListener("click", () => {
      this.#before.push(this.#cursor);
      this.#turn(this.#next);
    });
    const shown = this.#items.length ? `${first + 1}–${first + this.#items.length}` : "";
    return h("nav", { "aria-label": "Pages of the activity" }, h("span", { class: "quiet" }, shown), h("span", {}, newer, older));
  }

  /** New entries: on the first page they are put on top, elsewhere one is told that there are some. */
  #came({ items, more }) {
    const shown = new Set(this.#items.map(({ id }) => id));
    const fresh = items.filter((item) => this.#wants(item) && !shown.has(item.id));
    if (!more && !fresh.length) return;
    const table = this.shadowRoot.querySelector("tbody");
    if (this.#cursor !== null) return this.#offer();
    if (more || !table || this.#items.length > GROWN) return this.#turn(null, { quietly: true });
    this.#items = [...fresh, ...this.#items];
    const rows = fresh.flatMap((item) => this.#rows(item));
    for (const row of rows) row.classList.toggle("fresh", row.classList.contains("entry"));
    table.prepend(...rows);
    this.shadowRoot.querySelector("nav").replaceWith(this.#pager());
  }

  #wants(item) {
    return (!this.#type.value || item.type === this.#type.value) && (!this.#member.value || item.member_id === this.#member.value);
  }

  #offer() {
    if (this.shadowRoot.querySelector(".newer-came")) return;
    const offer = h("button", { type: "button", class: "newer-came", onclick: () => this.#first() }, "New activity: go to the newest");
    this.#body.prepend(offer);
  }

  async #save() {
    this.#download.disabled = true;
    try {
      const response = await this.#session.fetch(this.#query(), { accept: "text/csv" });
      const link = h("a", { href: URL.createObjectURL(await response.blob()), download: `credit-activity-${this.#days}-days.csv` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (problem) {
      this.#body.prepend(failure("The download failed.", { problem }));
    } finally {
      this.#download.disabled = false;
    }
  }
}

function nothing(days, isFiltered) {
  const said = isFiltered ? "Nothing of this kind" : "Nothing used";
  return h(
    "div",
    { class: "empty" },
    h("strong", {}, `${said} in the last ${days.replace("1 day", "day")}`),
    h("p", { class: "quiet" }, "Usage appears here within a second of happening."),
  );
}

customElements.define("credit-activity", CreditActivity);
