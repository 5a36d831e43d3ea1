// Loading that goes on until it works: it says what is the matter, and when it tries again.

import { h } from "./dom.js";
import { Problem } from "./session.js";

const AGAIN = [2, 4, 8]; // seconds
const PATIENT = 15; // from then on

/**
 * A loader. `show` gets `{phase: "loading"}`, then `{phase: "ready", value}`, or `{phase: "error", problem, seconds, again}` while it
 * waits, or `{phase: "refused", problem}` where asking again would not help. A newer load replaces an older one, and one whose `owner`
 * was taken from the page ends.
 *
 * An error is shown once, however often the same one comes: drawn anew, it would lose the focus and be read out again. Its `seconds`
 * go on, and its `tell` is called when they do.
 *
 * @template T
 * @param {(state: Loading<T>) => void} show
 * @param {{ isConnected: boolean } | null} [owner]
 */
export function loader(show, owner = null) {
  let turn = 0;
  /**
   * @param {() => Promise<T>} work
   * @param {{ quietly?: boolean }} [how]
   */
  return async function load(work, { quietly = false } = {}) {
    const mine = ++turn;
    const isOurs = () => mine === turn && owner?.isConnected !== false;
    /** @type {Failed | null} */
    let failed = null;
    if (!quietly) show({ phase: "loading" });
    for (let attempt = 0; isOurs(); attempt++) {
      try {
        const value = await work();
        if (isOurs()) show({ phase: "ready", value });
        return;
      } catch (error) {
        const problem = /** @type {Thrown} */ (error);
        if (!isOurs()) return;
        if (problem.final) return show({ phase: "refused", problem });
        const seconds = Math.max(problem.wait ?? 0, AGAIN[attempt] ?? PATIENT);
        const isNews = failed?.problem.message !== problem.message;
        if (!failed || isNews) failed = { phase: "error", problem };
        const counted = countdown(failed, seconds, isOurs);
        if (isNews) show(failed);
        await counted;
      }
    }
  };
}

/**
 * @param {Failed} failed
 * @param {number} seconds
 * @param {() => boolean} isOurs
 */
function countdown(failed, seconds, isOurs) {
  return /** @type {Promise<void>} */ (
    new Promise((resolve) => {
      /** @param {number} left */
      const say = (left) => {
        failed.seconds = left;
        failed.tell?.();
      };
      const again = () => {
        clearInterval(timer);
        say(0);
        resolve();
      };
      failed.again = again;
      const timer = setInterval(() => (isOurs() && failed.seconds && failed.seconds > 1 ? say(failed.seconds - 1) : again()), 1_000);
      say(seconds);
    })
  );
}

/**
 * Grey shapes where text will be.
 *
 * @param {string} label
 * @param {string[]} widths
 */
export function skeleton(label, ...widths) {
  return h(
    "div",
    { class: "skeleton", role: "status" },
    h("span", { class: "unseen" }, label),
    widths.map((width) => h("span", { class: `bone ${width}`, "aria-hidden": "true" })),
  );
}

/**
 * What did not load, why, and when it tries again. The seconds stand outside of what is read out.
 *
 * @param {Words} words
 * @param {string} title
 * @param {Failed} state
 */
export function failure({ text, problem }, title, state) {
  const why = h("div", { role: "alert" }, h("strong", {}, title), h("p", { class: "quiet" }, problem(state.problem)));
  const { again } = state;
  if (!again) return h("div", { class: "failure" }, why);
  const left = h("p", { class: "quiet number" });
  const tell = () => (left.textContent = state.seconds ? text("again.in", { seconds: String(state.seconds) }) : text("again.now"));
  state.tell = tell;
  tell();
  return h("div", { class: "failure" }, why, left, h("button", { type: "button", onclick: () => again() }, text("again.press")));
}

/**
 * A part of the page whose code did not come.
 *
 * @param {Words} words
 * @param {string} title
 */
export const missing = (words, title) => failure(words, title, { problem: { message: words.text("reload") } });

/**
 * Code that comes when it is asked for; a Problem where it does not.
 *
 * @template Module
 * @param {Promise<Module>} coming
 */
export const asked = (coming) =>
  coming.catch(() => {
    throw new Problem(0, { detail: "problem.unreachable" });
  });
