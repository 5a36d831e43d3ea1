// A row of the activity. What it says when it is opened comes when it is asked for.

import { h, icon } from "../dom.js";
import { isNegative, isZero } from "../formats.js";
import { asked, failure, loader, skeleton } from "../loading.js";
import { css } from "../style.js";
import { capital } from "../words.js";

const MINUS = "M4 8h8";
const PLUS = "M8 4v8M4 8h8";
const ROUND = "M12.500 8a4.500 4.500 0 1 1-1.400-3.300M12.500 3v2.500H10";
const CROSS = "M5 5l6 6M11 5l-6 6";
const BACK = "M6 4L3 7l3 3M3 7h6a3 3 0 0 1 0 6H7";

/** @type {Record<Api.Kind, [path: string, look: string]>} */
const LOOKS = {
  usage: [MINUS, "used"],
  usage_voided: [BACK, "gained"],
  purchase: [PLUS, "gained"],
  top_up: [PLUS, "gained"],
  refill: [ROUND, "included"],
  grant: [PLUS, "gained"],
  adjustment: [PLUS, "gained"],
  expiry: [CROSS, "used"],
  refund: [BACK, "used"],
  dispute: [CROSS, "warned"],
  top_up_failed: [CROSS, "warned"],
  top_up_skipped: [CROSS, "warned"],
};

/** The types of entries, in the order in which they are offered. */
export const TYPES = /** @type {Api.Kind[]} */ (Object.keys(LOOKS));

const MINUTE = 60_000;
const SAID_BY_THE_SERVER = new Set(["usage", "purchase", "top_up", "refund", "dispute", "top_up_skipped"]); // other details are the words of a person or a bank

export const entryStyle = css`
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
  .what::after {
    content: "";
    display: inline-block;
    width: 6px;
    height: 6px;
    margin-inline-start: 9px;
    border: solid var(--quiet);
    border-width: 0 1.5px 1.5px 0;
    rotate: 45deg;
    translate: 0 -3px;
    opacity: 0.55;
  }
  .what[aria-expanded="true"]::after {
    rotate: 225deg;
    translate: 0 0;
  }
  .entry { cursor: pointer; }
  .entry:hover .what { color: var(--accent); }
  .entry:hover .what::after { opacity: 1; }
  .more {
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
  .explanation button {
    min-height: 0;
    font-weight: 400;
  }
  .explanation .part { display: block; }
  .paid { margin-inline-end: 10px; }
  .entry.fresh td {
    animation: arrive 2.5s ease-out;
  }
  @keyframes arrive {
    from { background: color-mix(in srgb, var(--accent) 16%, transparent); }
  }
  @media (max-width: 640px) {
    .narrow { display: block; }
    .explanation div { grid-template-columns: 1fr; gap: 0; }
  }
`;

/**
 * The rows of an entry: what happened, and below it, once asked for, why.
 *
 * @param {Api.ActivityItem} item
 * @param {CreditsElement} element
 * @param {(id: string) => string} nameOf
 */
export function entryRows(item, element, nameOf) {
  const { words } = element;
  const { when, whenExactly, creditsChange } = words;
  const why = h("tr", { class: "why", hidden: true }, h("td", { colspan: "4" }));
  const isLess = isNegative(item.credits);
  const [path, look] = (isLess && item.type === "adjustment" ? null : LOOKS[item.type]) ?? [MINUS, "used"];
  const toggle = h("button", { type: "button", class: "what", "aria-expanded": "false" }, words.heard(item.description));
  toggle.addEventListener("click", () => {
    const opened = toggle.getAttribute("aria-expanded") !== "true";
    toggle.setAttribute("aria-expanded", String(opened));
    why.hidden = !opened;
    if (opened && !why.dataset.asked) explain(item, element, why);
  });
  const member = item.member_id && nameOf(item.member_id);
  const detail = detailOf(words, item);
  const at = h("time", { datetime: item.recorded_at, title: whenExactly(item.recorded_at) }, when(item.recorded_at));
  const what = h(
    "div",
    {},
    item.type !== "usage" && h("span", { class: "unseen" }, `${typeName(words, item.type)}: `),
    toggle,
    detail && h("span", { class: "quiet more" }, detail),
    h("span", { class: "quiet narrow" }, [when(item.recorded_at), member].filter(Boolean).join(" · ")),
  );
  // The button is what keyboards and screen readers know; a pointer may hit the whole row, or mark its text.
  const row = h("tr", { class: "entry", "data-id": item.id });
  row.addEventListener("click", ({ target }) => !toggle.contains(/** @type {Node} */ (target)) && !getSelection()?.toString() && toggle.click());
  row.append(
    h("td", { class: "at" }, at),
    h("td", { class: "event" }, h("div", { class: "told" }, h("span", { class: `mark ${look}` }, icon(path)), what)),
    h("td", { class: "member" }, member || "—"),
    h("td", { class: `amount number${isLess || isZero(item.credits) ? "" : " plus"}` }, creditsChange(item.credits)),
  );
  return [row, why];
}

/**
 * @param {Words} words
 * @param {Api.Kind} type
 */
const typeName = ({ text }, type) => (TYPES.includes(type) ? text(`type.${type}`) : type);

/**
 * The line below an entry's name. What a formula comes to stands in the column of credits. Usage goes by the feature's name, so its
 * type is said here; the names of all others say it.
 *
 * @param {Words} words
 * @param {Api.ActivityItem} item
 */
function detailOf(words, { type, detail, at, recorded_at: recorded }) {
  // Entries are in the order in which they were recorded, so that is the time which stands beside them.
  const before = Date.parse(recorded) - Date.parse(at) >= MINUTE && words.text("entry.happened", { when: words.when(at) });
  const said = detail && capital(SAID_BY_THE_SERVER.has(type) ? words.said(detail.replace(/ = [\d.]+ credits?/, "")) : words.heard(detail));
  return [type === "usage" && words.text("type.usage"), said, before].filter(Boolean).join(" · ");
}

/**
 * @param {Api.ActivityItem} item
 * @param {CreditsElement} element
 * @param {HTMLTableRowElement} why
 */
function explain(item, element, why) {
  const { text } = element.words;
  const place = /** @type {Element} */ (why.firstElementChild);
  const load = loader((/** @type {Loading<Element>} */ state) => {
    if (state.phase === "ready") {
      why.dataset.asked = "yes";
      place.replaceChildren(state.value);
    } else if (state.phase === "loading") {
      place.replaceChildren(skeleton(text("entry.loading"), "half", "half", "half", "half"));
    } else {
      place.replaceChildren(failure(element.words, text("entry.failed"), state));
    }
  }, why);
  load(async () => {
    const [{ explanation }, entry] = await Promise.all([
      asked(import("./entry-explanation.js")),
      element.session.get(`/entries/${encodeURIComponent(item.id)}`),
    ]);
    return explanation(entry, element);
  });
}
