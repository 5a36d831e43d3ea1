// <usage-chart>: credits used per day, stacked by feature or by member, as a drawing and as a table of the same numbers.

import { choices, h, svg } from "../dom.js";
import { CreditsElement } from "../element.js";
import { daysIn, during, Filter } from "../filter.js";
import { failure, loader, skeleton } from "../loading.js";
import { namesOf, rounded, scale, stacked } from "../stacks.js";
import { css } from "../style.js";
import "../texts/en-later.js";

const HEIGHT = 240;
const LEFT = 44;
const BOTTOM = 26;
const TOP = 10;
const DATED = 48; // about as wide as a date
const RENEW_EVERY = 4_000; // milliseconds, while usage streams in
const OF = "of "; // before the name of an attribute that usage is counted by

/** @typedef {"chart" | "table"} As */
/** @typedef {Known & { member: string, zone: string, attributes: string[] }} Looked */

const sheet = css`
  /* Other colours than those of kinds of credits: a feature is no kind. */
  :host {
    --series-1: var(--creditwell-series-1, light-dark(#1f7fbf, #62bdf0));
    --series-2: var(--creditwell-series-2, light-dark(#b86e00, #f4b54d));
    --series-3: var(--creditwell-series-3, light-dark(#d6456b, #fb8aa5));
    --series-4: var(--creditwell-series-4, light-dark(#8a3fb8, #d09bf7));
    --series-5: var(--creditwell-series-5, light-dark(#6d8412, #b5cf5a));
    --series-6: var(--creditwell-series-6, light-dark(#9a5b3c, #d39f7f));
    --series-7: var(--creditwell-series-7, light-dark(#8b8d94, #7d808b));
  }
  .tools {
    display: flex;
    flex-wrap: wrap;
    gap: 10px;
  }
  .skeleton, .empty { min-height: 292px; }
  .zone {
    min-height: 1.5em;
    margin-top: 12px;
  }
  figure {
    position: relative;
    margin-top: 14px;
  }
  svg {
    display: block;
    width: 100%;
    height: 240px;
    overflow: visible;
  }
  svg text {
    font-size: 12px;
    fill: var(--quiet);
    font-variant-numeric: tabular-nums;
  }
  svg line {
    stroke: var(--line);
  }
  .column:hover .band, .column.shown .band {
    fill: color-mix(in srgb, var(--text) 6%, transparent);
  }
  .band { fill: transparent; }
  .s1 { --series: var(--series-1); }
  .s2 { --series: var(--series-2); }
  .s3 { --series: var(--series-3); }
  .s4 { --series: var(--series-4); }
  .s5 { --series: var(--series-5); }
  .s6 { --series: var(--series-6); }
  .s7 { --series: var(--series-7); }
  rect.piece { fill: var(--series); }
  .legend {
    display: flex;
    flex-wrap: wrap;
    gap: 6px 18px;
    margin-top: 14px;
    padding: 0;
    list-style: none;
    font-size: 13px;
    color: var(--quiet);
  }
  .legend li, .tip li span {
    display: inline-flex;
    align-items: center;
    gap: 7px;
  }
  .legend li::before, .tip li span::before, .rank span::before, th.series::before {
    content: "";
    flex: none;
    width: 10px;
    height: 10px;
    border-radius: 3px;
    background: var(--series);
  }
  th.series::before {
    display: inline-block;
    margin-inline-end: 7px;
  }
  .tip {
    position: absolute;
    z-index: 1;
    top: 0;
    min-width: 200px;
    max-width: 280px;
    padding: 12px 14px;
    border: 1px solid var(--line);
    border-radius: 10px;
    font-size: 13px;
    background: var(--card);
    box-shadow: 0 8px 24px rgb(0 0 0 / 16%);
    pointer-events: none;
  }
  .tip ul {
    margin-top: 6px;
    padding: 0;
    list-style: none;
  }
  .tip li {
    display: flex;
    justify-content: space-between;
    gap: 18px;
    line-height: 1.7;
  }
  .rank {
    display: grid;
    grid-template-columns: minmax(110px, max-content) 1fr max-content;
    gap: 12px 16px;
    align-items: center;
    margin-top: 18px;
    font-size: 14px;
  }
  .rank span {
    display: inline-flex;
    align-items: center;
    gap: 7px;
  }
  .rank i {
    height: 14px;
    min-width: 3px;
    border-radius: 4px;
    background: var(--series);
  }
  .rank strong { text-align: end; }
  .scroll {
    margin-top: 14px;
    overflow: auto;
    max-height: 420px;
  }
  table {
    width: 100%;
    border-collapse: collapse;
    font-size: 14px;
  }
  th, td {
    padding: 8px 0 8px 18px;
    border-bottom: 1px solid var(--line);
    text-align: end;
    white-space: nowrap;
  }
  thead th {
    position: sticky;
    z-index: 1;
    top: 0;
    background: var(--card);
    font-size: 13px;
    color: var(--quiet);
  }
  th:first-child {
    position: sticky;
    left: 0;
    padding-inline-start: 0;
    background: var(--card);
    text-align: start;
    font-weight: 400;
  }
  thead th:first-child {
    z-index: 2;
    font-weight: 650;
  }
  tfoot td, tfoot th:first-child { font-weight: 650; }
  @media (max-width: 640px) {
    .empty { min-height: 200px; }
    .tools { width: 100%; }
    .tools .choices { flex: 1 1 auto; }
    .choices label { flex: 1; justify-items: center; padding: 0 8px; }
  }
`;

export class UsageChart extends CreditsElement {
  #load = loader((/** @type {Loading<Looked>} */ state) => this.#show(state), this);
  #filter = new Filter();
  #body = h("div", { part: "body" });
  /** @type {string}  "feature", "member", or an attribute */
  #by = "feature";
  #offered = "";
  #bySet = this.#choicesOf([]);
  /** @type {As} */
  #as = "chart";
  /** @type {Looked | null} */
  #known = null;
  #width = 0;
  /** @type {number | null} */
  #renewing = null;
  #resized = new ResizeObserver(([entry]) => entry && this.#fit(entry.contentRect.width));
  #title = h("h2", {}, this.say("chart.title"));
  #zone = h("p", { class: "quiet zone" });
  #scroll = this.name(h("div", { class: "scroll", tabindex: "0", role: "region" }), "chart.table");
  #days = choices({
    legend: this.say("range"),
    name: "days",
    options: daysIn(this),
    value: this.#filter.days,
    onchange: (days) => this.#filter.set({ days }),
  });

  constructor() {
    super(sheet);
    const ways = { chart: this.say("chart.as_chart"), table: this.say("chart.as_table") };
    const as = choices({ legend: this.say("chart.as"), name: "as", options: ways, value: this.#as, onchange: (chosen) => this.#showAs(chosen) });
    const head = h("div", { class: "head" }, this.#title, h("div", { class: "tools" }, this.#bySet, as, this.#days));
    this.root.append(this.name(h("section", { class: "card", part: "card" }, head, this.#body, this.#zone), "chart.title"));
    this.#resized.observe(this.#body);
  }

  begin() {
    this.#follow();
    this.hear("activity", ({ items, more }) => (more || items.some(({ feature }) => feature)) && this.#renewSoon());
  }

  /** A filter that is shared with others. */
  set filter(/** @type {Filter} */ filter) {
    this.#filter = filter;
    if (this.hasBegun) this.#follow();
  }

  #follow() {
    const filter = this.#filter;
    this.hear("change", () => filter === this.#filter && this.#ask(), filter);
    this.#ask();
  }

  /** @param {{ quietly?: boolean }} [how] */
  #ask({ quietly = false } = {}) {
    this.#days.choose(this.#filter.days);
    const { member } = this.#filter;
    this.#load(
      async () => {
        const query = this.#filter.query(["days", "member"], { by: "day", attribute: this.#attribute() });
        const [used, card, team] = await Promise.all([
          this.session.get(`/usage?${query}`),
          this.session.share("v1/rate-card"),
          this.session.share(""),
        ]);
        const items = /** @type {Api.UsedOnDay[]} */ (used.items); // as asked for
        return { ...used, items, member, zone: team.zone, features: namesOf(card), members: this.words.memberNames(team) };
      },
      { quietly: quietly && this.#known !== null },
    );
  }

  #renewSoon() {
    this.#renewing ??= setTimeout(() => {
      this.#renewing = null;
      if (this.isConnected) this.#ask({ quietly: true });
    }, RENEW_EVERY);
  }

  /** @param {Loading<Looked>} state */
  #show(state) {
    this.#body.classList.toggle("stale", state.phase === "loading" && this.#known !== null);
    if (state.phase === "ready") {
      this.#known = state.value;
      this.#offer(state.value.attributes);
      this.#draw();
    } else if (state.phase === "loading") {
      if (!this.#known) this.#body.replaceChildren(skeleton(this.words.text("chart.loading"), "tall"));
    } else {
      this.#known = null;
      this.#title.textContent = this.words.text("chart.title");
      this.#zone.textContent = "";
      this.#body.replaceChildren(failure(this.words, this.words.text("chart.failed"), state));
    }
  }

  /** The attribute that is added up by, if it is one. */
  #attribute() {
    return this.#by.startsWith(OF) ? this.#by.slice(OF.length) : null;
  }

  /** @param {readonly string[]} attributes */
  #choicesOf(attributes) {
    const more = attributes.map((name) => [OF + name, this.say("chart.by_attribute", { attribute: name.replaceAll("_", " ") })]);
    const options = { feature: this.say("chart.by_feature"), member: this.say("chart.by_member"), ...Object.fromEntries(more) };
    return choices({ legend: this.say("chart.add_up"), name: "by", options, value: this.#by, onchange: (chosen) => this.#addUp(chosen) });
  }

  /**
   * Choices for what usage is counted by; the same ones stay, with the focus.
   *
   * @param {readonly string[]} attributes
   */
  #offer(attributes) {
    if (this.#offered === attributes.join()) return;
    this.#offered = attributes.join();
    const set = this.#choicesOf(attributes);
    this.#bySet.replaceWith(set);
    this.#bySet = set;
  }

  /** @param {string} by */
  #addUp(by) {
    this.#by = by;
    if (by.startsWith(OF) || !this.#known) this.#ask();
    else this.#draw();
  }

  /** @param {As} as */
  #showAs(as) {
    this.#as = as;
    this.#draw();
  }

  /** @param {number} width */
  #fit(width) {
    if (Math.abs(width - this.#width) < 1) return;
    this.#width = width;
    this.#draw();
  }

  #draw() {
    const attribute = this.#attribute();
    if (!this.#known || (attribute ?? this.#known.attribute) !== this.#known.attribute) return; // it is being asked for
    const by = attribute === null ? /** @type {"feature" | "member"} */ (this.#by) : "value";
    const { words } = this;
    const { text, credits } = words;
    const data = stacked(words, this.#known, by);
    const { days, zone } = this.#known;
    const what = titleOf(words, this.#known);
    this.#title.textContent = data.total ? `${what}: ${credits(rounded(data.total))}` : what;
    this.#zone.textContent = text(days === 1 ? "chart.today_in" : "chart.days_in", { zone: zone.replaceAll("_", " ") });
    if (!data.total) {
      const none = days === 1 ? text("chart.none_today") : text("chart.none", { during: during(words, days) });
      const said = [h("strong", {}, none), h("p", { class: "quiet" }, text("chart.soon"))];
      this.#body.replaceChildren(h("div", { class: "empty" }, said));
    } else if (this.#as === "table") {
      this.#scroll.replaceChildren(table(words, data)); // itself it stays, where it was scrolled to and with the focus
      if (!this.#scroll.isConnected) this.#body.replaceChildren(this.#scroll);
    } else {
      this.#body.replaceChildren(data.days.length === 1 ? ranking(words, data) : chart(words, data, this.#width || 640));
    }
  }
}

/**
 * The chart's days are those of the team's calendar, the last one today; the activity looks back by hours.
 *
 * @param {Words} words
 * @param {Looked} looked
 */
function titleOf({ text }, { days, member: id, members }) {
  const member = members.get(id) ?? id;
  if (member) return text(days === 1 ? "chart.today_by" : "chart.by", { member });
  return text(days === 1 ? "chart.today" : "chart.title");
}

/**
 * @param {Words} words
 * @param {Stacks} stacks
 * @param {number} width
 */
function chart(words, { series, days, total }, width) {
  const { text, credits, creditsRoughly, onDate } = words;
  const { step, steps } = scale(Math.max(...days.map(({ sum }) => sum)));
  const [wide, high] = [width - LEFT, HEIGHT - TOP - BOTTOM];
  const slot = wide / days.length;
  const bar = Math.min(48, slot * 0.74);
  /** @param {number} value */
  const y = (value) => TOP + high - (high * value) / (step * steps);
  const grid = Array.from({ length: steps + 1 }, (_, n) => [
    svg("line", { x1: LEFT, x2: width, y1: y(n * step), y2: y(n * step) }),
    svg("text", { x: LEFT - 10, y: y(n * step) + 4, "text-anchor": "end" }, creditsRoughly(n * step)),
  ]);
  const every = Math.ceil(64 / slot); // no two dates closer than they are wide
  const tip = h("div", { class: "tip", hidden: true });
  const columns = days.map((row, place) => {
    const middle = LEFT + slot * (place + 0.5);
    let base = 0;
    const pieces = row.values.map((value, n) => {
      const from = y(base);
      base += value;
      const to = y(base);
      const height = Math.max(0, from - to - (base > value ? 1 : 0));
      return value > 0
        ? svg("rect", {
            class: `piece ${series[n]?.look}`,
            x: middle - bar / 2,
            y: to,
            width: bar,
            height: Math.max(0.75, height),
            rx: Math.min(2, bar / 4),
          })
        : [];
    });
    const band = svg("rect", { class: "band", x: LEFT + slot * place, y: TOP, width: slot, height: high });
    const dated = (days.length - 1 - place) % every === 0;
    const isAtEdge = width - middle < DATED / 2;
    const label = dated
      ? svg("text", { x: isAtEdge ? width : middle, y: HEIGHT - 6, "text-anchor": isAtEdge ? "end" : "middle" }, onDate(row.day))
      : [];
    const column = svg("g", { class: "column" }, band, pieces, label);
    column.addEventListener("pointerenter", () => showTip(words, tip, row, series, { middle, width }));
    column.addEventListener("pointerleave", () => (tip.hidden = true));
    return column;
  });
  const most = days.reduce((one, other) => (other.sum > one.sum ? other : one));
  const said = text("chart.said", {
    total: credits(rounded(total)),
    days: String(days.length),
    day: onDate(most.day),
    most: credits(rounded(most.sum)),
  });
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": said }, grid, columns);
  return h(
    "figure",
    {},
    drawing,
    tip,
    h(
      "ul",
      { class: "legend" },
      series.map(({ name, look }) => h("li", { class: look }, name)),
    ),
  );
}

/**
 * @param {Words} words
 * @param {HTMLElement} tip
 * @param {Row} row
 * @param {Series[]} series
 * @param {{ middle: number, width: number }} place
 */
function showTip({ credits, onDate }, tip, row, series, { middle, width }) {
  const lines = series.map(({ name, look }, n) => ({ name, look, value: row.values[n] ?? 0 })).filter(({ value }) => value > 0);
  tip.replaceChildren(
    h("strong", {}, `${onDate(row.day)} · ${credits(rounded(row.sum))}`),
    h(
      "ul",
      {},
      lines.map(({ name, look, value }) => h("li", {}, h("span", { class: look }, name), h("b", { class: "number" }, credits(rounded(value))))),
    ),
  );
  tip.hidden = false;
  const room = tip.offsetWidth + 16;
  tip.style.left = `${middle + room > width ? Math.max(0, middle - room) : middle + 16}px`;
}

/**
 * One day has no course; who used how much is what there is to see.
 *
 * @param {Words} words
 * @param {Stacks} stacks
 */
function ranking({ credits }, { series, days: [row] }) {
  const values = row?.values ?? [];
  const most = Math.max(...values);
  const lines = series.map(({ name, look }, n) => {
    const value = values[n] ?? 0;
    const bar = h("i", { class: look, "aria-hidden": "true" });
    bar.style.width = `${(100 * value) / most}%`;
    return [h("span", { class: look }, name), bar, h("strong", { class: "number" }, credits(rounded(value)))];
  });
  return h("div", { class: "rank" }, lines.flat());
}

/**
 * @param {Words} words
 * @param {Stacks} stacks
 */
function table({ text, credits, onDate }, { series, days, total }) {
  const sums = series.map((_, n) => days.reduce((sum, { values }) => sum + (values[n] ?? 0), 0));
  /** @param {number[]} values */
  const cells = (values) => values.map((value) => h("td", { class: "number" }, value ? credits(rounded(value)) : "–"));
  const head = h(
    "tr",
    {},
    h("th", { scope: "col" }, text("chart.day")),
    series.map(({ name, look }) => h("th", { scope: "col", class: `series ${look}` }, name)),
    h("th", { scope: "col" }, text("chart.all")),
  );
  const rows = days.toReversed().map(({ day, values, sum }) => h("tr", {}, h("th", { scope: "row" }, onDate(day)), cells([...values, sum])));
  const foot = h("tr", {}, h("th", { scope: "row" }, text("chart.all")), cells([...sums, total]));
  return h("table", {}, h("thead", {}, head), h("tbody", {}, rows), h("tfoot", {}, foot));
}

customElements.define("usage-chart", UsageChart);
