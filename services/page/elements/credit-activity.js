// <credit-activity>: every credit event, newest first, filtered and page by page; new ones appear as they happen.

import { choices, h } from "../dom.js";
import { CreditsElement } from "../element.js";
import { daysIn, during, Filter } from "../filter.js";
import { failure, loader, skeleton } from "../loading.js";
import { css } from "../style.js";
import { entryRows, entryStyle, TYPES } from "./activity-entry.js";

const PAGE = 25;
const SKETCHED = 12; // lines of a list that is still to come
const NEW_NAMES_EVERY = 60_000; // milliseconds; somebody who joined meanwhile has a name, too
const GROWN = 100; // rows that the first page may grow to before it is asked for anew

const sheet = css`
  .filters {
    display: flex;
    flex-wrap: wrap;
    gap: 10px;
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
  nav {
    display: flex;
    align-items: center;
    justify-content: space-between;
    gap: 12px;
    margin-top: 14px;
  }
  nav span { display: flex; gap: 10px; }
  .newer-came { margin-top: 12px; }
  @media (max-width: 860px) {
    th.member { width: 124px; }
    th.amount { width: 92px; }
    select { max-width: 164px; }
  }
  @media (max-width: 640px) {
    table { table-layout: auto; }
    th.at, td.at, th.member, td.member { display: none; }
    th.amount { width: 1px; }
    .amount { white-space: nowrap; }
    .filters, .choices { width: 100%; }
    .choices label { flex: 1; justify-items: center; padding: 0 4px; }
    select { flex: 1 1 140px; min-width: 0; max-width: none; padding-inline: 10px 28px; }
    .filters button { flex: 1 1 100%; }
  }
`;

export class CreditActivity extends CreditsElement {
  #load = loader((/** @type {Loading<Api.Activity>} */ state) => this.#show(state), this);
  #team = loader((/** @type {Loading<Api.Team>} */ state) => state.phase === "ready" && this.#know(state.value), this);
  #filter = new Filter();
  /** @type {Came | null} */
  #heard = null; // while a page is asked for: what came meanwhile, which its answer may not know
  /** @type {(string | null)[]} */
  #before = []; // the cursors of the pages before this one
  /** @type {string | null} */
  #cursor = null;
  /** @type {string | null} */
  #next = null;
  /** @type {Api.ActivityItem[]} */
  #items = [];
  /** @type {Map<string, HTMLTableRowElement[]>} */
  #drawn = new Map(); // the rows of entries, by id: drawn again, they stay as they were, open or in focus
  /** @type {Map<string, string>} */
  #names = new Map();
  #askedNames = Date.now();
  #body = h("div", { part: "body" });
  #shown = h("span", { class: "quiet number" });
  #everybody = h("option", { value: "" }, this.say("activity.all_members"));
  #newer = h("button", { type: "button", onclick: () => this.#leaf(this.#before.pop() ?? null) }, this.say("activity.newer"));
  #older = h("button", { type: "button", onclick: () => this.#leafOn() }, this.say("activity.older"));
  #pages = this.name(h("nav", { hidden: true }, this.#shown, h("span", {}, this.#newer, this.#older)), "activity.pages");
  #days = choices({
    legend: this.say("range"),
    name: "days",
    options: daysIn(this),
    value: this.#filter.days,
    onchange: (days) => this.#filter.set({ days }),
  });
  #type = this.name(h("select"), "activity.type");
  #member = this.name(h("select"), "activity.member");
  #download = h("button", { type: "button", onclick: () => this.#save() }, this.say("activity.download"));

  constructor() {
    super(sheet, entryStyle);
    this.#type.append(h("option", { value: "" }, this.say("activity.all_types")));
    for (const type of TYPES) this.#type.append(h("option", { value: type }, this.say(`type.${type}`)));
    this.#member.append(this.#everybody);
    this.#type.addEventListener("change", () => this.#filter.set({ type: this.#type.value }));
    this.#member.addEventListener("change", () => this.#filter.set({ member: this.#member.value }));
    const filters = h("div", { class: "filters" }, this.#days, this.#type, this.#member, this.#download);
    const head = h("div", { class: "head" }, h("h2", {}, this.say("activity.title")), filters);
    this.root.append(this.name(h("section", { class: "card", part: "card" }, head, this.#body, this.#pages), "activity.title"));
  }

  /** @param {Session} session */
  begin(session) {
    this.#drawn.clear(); // they may be in the words of another language
    this.#follow();
    this.hear("activity", (came) => this.#came(came));
    this.hear("changed", (path) => path === "" && this.#askNames(session));
    this.#askNames(session);
  }

  /**
   * Until names are there, ids are shown; it goes on asking.
   *
   * @param {Session} session
   */
  #askNames(session) {
    this.#team(() => session.share(""), { quietly: true });
  }

  /** A filter that is shared with others. */
  set filter(/** @type {Filter} */ filter) {
    this.#filter = filter;
    if (this.hasBegun) this.#follow();
  }

  #follow() {
    const filter = this.#filter;
    this.hear("change", () => filter === this.#filter && this.#first(), filter);
    this.#first();
  }

  /**
   * Who is who; rows that are shown already are drawn anew with it.
   *
   * @param {Api.Team} team
   */
  #know(team) {
    const { members } = team;
    this.#names = this.words.memberNames(team);
    this.#member.replaceChildren(this.#everybody, ...members.map(({ id, name }) => new Option(name, id)));
    this.#member.value = this.#filter.member;
    this.#drawn.clear();
    if (this.#items.length) this.#draw();
  }

  /**
   * @param {Record<string, string | number | null>} [more]
   * @returns {`/activity?${string}`}
   */
  #query(more = {}) {
    return `/activity?${this.#filter.query(["days", "type", "member"], more)}`;
  }

  #first() {
    const { days, type, member } = this.#filter;
    this.#days.choose(days);
    this.#type.value = type;
    this.#member.value = member;
    this.#before = [];
    this.#turn(null);
  }

  /**
   * @param {string | null} cursor
   * @param {{ quietly?: boolean }} [how]
   */
  #turn(cursor, { quietly = false } = {}) {
    this.#cursor = cursor;
    this.#heard = { items: [], more: false };
    return this.#load(() => this.session.get(this.#query({ limit: PAGE, cursor })), { quietly });
  }

  #leafOn() {
    this.#before.push(this.#cursor);
    this.#leaf(this.#next);
  }

  /**
   * To another page, and there to its first line.
   *
   * @param {string | null} cursor
   */
  async #leaf(cursor) {
    await this.#turn(cursor);
    if (this.getBoundingClientRect().top < 0) this.scrollIntoView();
  }

  /** @param {Loading<Api.Activity>} state */
  #show(state) {
    this.#body.classList.toggle("stale", state.phase === "loading" && this.#items.length > 0);
    if (state.phase === "ready") {
      this.#items = state.value.items;
      this.#next = state.value.next_cursor;
      this.#draw();
      const heard = this.#heard;
      this.#heard = null;
      if (heard) this.#came(heard);
    } else if (state.phase !== "loading") {
      this.#items = [];
      if (state.phase === "refused") this.#heard = null; // no answer is to come
      this.#pages.hidden = true;
      this.#body.replaceChildren(failure(this.words, this.words.text("activity.failed"), state));
    } else if (!this.#items.length) {
      this.#body.replaceChildren(skeleton(this.words.text("activity.loading"), ...Array(SKETCHED).fill("full")));
    }
  }

  #draw() {
    const focused = /** @type {HTMLElement | null} */ (this.root.activeElement);
    const shown = new Set(this.#items.map(({ id }) => id));
    for (const id of this.#drawn.keys()) if (!shown.has(id)) this.#drawn.delete(id);
    this.#count();
    if (!this.#items.length) return this.#body.replaceChildren(nothing(this.words, this.#filter));
    const { text } = this.words;
    const head = h(
      "tr",
      {},
      h("th", { scope: "col", class: "at" }, text("activity.date")),
      h("th", { scope: "col", class: "event" }, text("activity.event")),
      h("th", { scope: "col", class: "member" }, text("activity.member")),
      h("th", { scope: "col", class: "amount" }, text("activity.credits")),
    );
    const rows = this.#items.flatMap((item) => this.#rows(item));
    for (const row of rows) row.classList.remove("fresh");
    this.#body.replaceChildren(h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }

  /** @param {Api.ActivityItem} item */
  #rows(item) {
    if (item.member_id && this.#names.size && !this.#names.has(item.member_id)) this.#askAnew();
    const rows = this.#drawn.get(item.id) ?? entryRows(item, this, (id) => this.#names.get(id) ?? id);
    this.#drawn.set(item.id, rows);
    return rows;
  }

  /** Somebody is shown who was not in the team when its names were asked for. */
  #askAnew() {
    if (Date.now() - this.#askedNames < NEW_NAMES_EVERY) return;
    this.#askedNames = Date.now();
    this.session.renew("");
  }

  /** Where one is among the pages; the buttons stay the same, so that who presses one keeps the focus. */
  #count() {
    const { credits } = this.words;
    const first = this.#before.length * PAGE;
    this.#shown.textContent = this.#items.length ? `${credits(first + 1)}–${credits(first + this.#items.length)}` : "";
    this.#newer.disabled = !this.#before.length;
    this.#older.disabled = !this.#next;
    this.#pages.hidden = this.#newer.disabled && this.#older.disabled;
  }

  /**
   * New entries: on the first page they are put on top, elsewhere one is told that there are some.
   *
   * @param {Came} came
   */
  #came({ items, more }) {
    if (this.#heard) return keep(this.#heard, { items, more });
    const [newest] = this.#items;
    const fresh = items.filter((item) => this.#wants(item) && (!newest || isAfter(item, newest)));
    if (!more && !fresh.length) return;
    const table = this.root.querySelector("tbody");
    if (this.#cursor !== null) return this.#offer();
    if (more || !table || this.#items.length > GROWN) return this.#turn(null, { quietly: true });
    this.#items = [...fresh, ...this.#items];
    const rows = fresh.flatMap((item) => this.#rows(item));
    for (const row of rows) row.classList.toggle("fresh", row.classList.contains("entry"));
    table.prepend(...rows);
    this.#count();
  }

  /** @param {Api.ActivityItem} item */
  #wants(item) {
    const { type, member } = this.#filter;
    return (!type || item.type === type) && (!member || item.member_id === member);
  }

  #offer() {
    if (this.root.querySelector(".newer-came")) return;
    const offer = h("button", { type: "button", class: "newer-came", onclick: () => this.#first() }, this.words.text("activity.new"));
    this.#body.prepend(offer);
  }

  async #save() {
    this.#download.disabled = true;
    try {
      const response = await this.session.fetch(this.#query(), { accept: "text/csv" });
      const [, name = "credit-activity.csv"] = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "") ?? [];
      const link = h("a", { href: URL.createObjectURL(await response.blob()), download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (problem) {
      this.#body.prepend(failure(this.words, this.words.text("activity.download_failed"), { problem: /** @type {Thrown} */ (problem) }));
    } finally {
      this.#download.disabled = false;
    }
  }
}

/**
 * Note what came while a page is asked for.
 *
 * @param {Came} heard
 * @param {Came} came
 */
function keep(heard, { items, more }) {
  heard.items.unshift(...items);
  heard.more ||= more || heard.items.length > GROWN;
  if (heard.more) heard.items = [];
}

/**
 * Whether an entry has the later place in the log: an id is shard, position and part.
 *
 * @param {Api.ActivityItem} one
 * @param {Api.ActivityItem} other
 */
function isAfter({ id }, { id: other }) {
  const [, position = 0, part = 0] = id.split(":").map(Number);
  const [, before = 0, itsPart = 0] = other.split(":").map(Number);
  return position > before || (position === before && part > itsPart);
}

/**
 * @param {Words} words
 * @param {Filter} filter
 */
function nothing(words, { days, type, member }) {
  const { text } = words;
  const said = text(type || member ? "activity.no_match" : "activity.none", { during: during(words, days) });
  return h("div", { class: "empty" }, h("strong", {}, said), h("p", { class: "quiet" }, text("activity.soon")));
}

customElements.define("credit-activity", CreditActivity);
