// Loading that goes on until it works: it says what is the matter, and when it tries again.

import { h } from "./dom.js";

const AGAIN = [2, 4, 8, 15]; // seconds

/**
 * A loader. `show` gets `{phase: "loading"}`, then `{phase: "ready", value}`, or `{phase: "error", problem, seconds, again}` while it
 * waits, or `{phase: "refused", problem}` where asking again would not help. A newer load replaces an older one.
 */
export function loader(show) {
  let turn = 0;
  return async function load(work, { quietly = false } = {}) {
    const mine = ++turn;
    if (!quietly) show({ phase: "loading" });
    for (let attempt = 0; mine === turn; attempt++) {
      try {
        const value = await work();
        if (mine === turn) show({ phase: "ready", value });
        return;
      } catch (problem) {
        if (mine !== turn) return;
        if (problem.final) return show({ phase: "refused", problem });
        const seconds = Math.max(problem.wait ?? 0, AGAIN[Math.min(attempt, AGAIN.length - 1)]);
        await countdown(seconds, problem, () => mine === turn, show);
      }
    }
  };
}

function countdown(seconds, problem, isOurs, show) {
  return new Promise((resolve) => {
    let left = seconds;
    const again = () => {
      clearInterval(timer);
      resolve();
    };
    const tick = () => (isOurs() && left > 0 ? show({ phase: "error", problem, seconds: left--, again }) : again());
    const timer = setInterval(tick, 1_000);
    tick();
  });
}

/** Grey shapes where text will be. */
export function skeleton(label, ...widths) {
  return h(
    "div",
    { class: "skeleton", role: "status" },
    h("span", { class: "unseen" }, label),
    widths.map((width) => h("span", { class: `bone ${width}`, "aria-hidden": "true" })),
  );
}

/** What did not load, why, and when it tries again. */
export function failure(title, { problem, seconds, again }) {
  return h(
    "div",
    { class: "failure", role: "alert" },
    h("strong", {}, title),
    h("p", { class: "quiet" }, seconds ? `${problem.message} It tries again in ${seconds} s.` : problem.message),
    again && h("button", { type: "button", onclick: again }, "Try now"),
  );
}
