// What all elements share: colours for the kinds of credits, type, cards, buttons.
//
// A host product themes them by custom properties (--creditwell-accent and so on) and by ::part().

export function css(strings) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(strings.join(""));
  return sheet;
}

export const base = css`
  :host {
    --accent: var(--creditwell-accent, light-dark(#3b4fe0, #8b97ff));
    --on-accent: var(--creditwell-on-accent, light-dark(#fff, #14151b));
    --included: var(--creditwell-included, light-dark(#3b4fe0, #8b97ff));
    --additional: var(--creditwell-additional, light-dark(#12a594, #2cc5ae));
    --held: var(--creditwell-held, light-dark(#c9c9c4, #4b4d57));
    --card: var(--creditwell-card, light-dark(#fff, #1a1b20));
    --inset: var(--creditwell-inset, light-dark(#f4f4f1, #111216));
    --line: var(--creditwell-line, light-dark(#e4e4df, #2b2c33));
    --text: var(--creditwell-text, light-dark(#16181d, #f1f1f3));
    --quiet: var(--creditwell-quiet, light-dark(#5c616b, #a5a8b3));
    --good: light-dark(#0a7d5c, #3fd1a2);
    --bad: light-dark(#b3261e, #ff8f85);
    --warn: light-dark(#8a5a00, #f3c36b);
    --warn-ground: light-dark(#fff4df, #2e2415);
    --radius: var(--creditwell-radius, 12px);
    display: block;
    color: var(--text);
    font: var(--creditwell-font, 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif);
  }
  :host([hidden]) {
    display: none;
  }
  * {
    box-sizing: border-box;
  }
  h1, h2, h3, p, dl, dd, table {
    margin: 0;
  }
  h2 {
    font-size: 16px;
    line-height: 1.4;
  }
  .card {
    background: var(--card);
    border: 1px solid var(--line);
    border-radius: var(--radius);
    padding: 22px;
  }
  .head {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    justify-content: space-between;
    gap: 10px 16px;
  }
  .quiet {
    color: var(--quiet);
    font-size: 13px;
  }
  .number {
    font-variant-numeric: tabular-nums;
  }
  .unseen {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  .chip {
    display: inline-block;
    padding: 1px 7px;
    border-radius: 6px;
    font-size: 12px;
    font-weight: 600;
    color: var(--chip, var(--quiet));
    background: color-mix(in srgb, var(--chip, var(--quiet)) 13%, transparent);
  }
  button, select {
    font: inherit;
    font-weight: 600;
    font-size: 14px;
    color: var(--text);
    background: var(--card);
    border: 1px solid light-dark(#8a8d96, #6f727d);
    border-radius: 8px;
    min-height: 38px;
    padding: 0 13px;
    cursor: pointer;
  }
  button:hover:not(:disabled), select:hover {
    border-color: var(--accent);
  }
  button:disabled {
    color: var(--quiet);
    border-color: var(--line);
    cursor: default;
  }
  :focus-visible {
    outline: 2px solid var(--accent);
    outline-offset: 2px;
  }
  .link {
    min-height: 0;
    padding: 0;
    border: 0;
    background: none;
    color: var(--accent);
    text-decoration: underline;
    text-underline-offset: 3px;
  }
  .skeleton {
    display: grid;
    gap: 14px;
    padding: 8px 0;
  }
  .bone {
    height: 16px;
    border-radius: 6px;
    background: var(--line);
    animation: breathe 1.4s ease-in-out infinite alternate;
  }
  .bone.short { width: 22%; }
  .bone.half { width: 50%; }
  .bone.big { width: 40%; height: 44px; }
  @keyframes breathe {
    to { opacity: 0.45; }
  }
  .failure, .empty {
    display: grid;
    justify-items: start;
    gap: 6px;
    padding: 8px 0;
  }
  .empty {
    justify-items: center;
    padding: 32px 0;
    text-align: center;
  }
  .failure button {
    margin-top: 6px;
  }
  @media (max-width: 640px) {
    .card { padding: 16px; }
  }
  @media (prefers-reduced-motion: reduce) {
    * { animation: none !important; transition: none !important; }
  }
`;
