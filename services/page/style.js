// What all elements share: colours for the kinds of credits, type, cards, the designed states.
//
// A host product themes them by custom properties (--creditwell-accent and so on) and by ::part().

/** @param {TemplateStringsArray} strings */
export function css(strings) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(strings.join(""));
  return sheet;
}

export const base = css`
  :host {
    --accent: var(--creditwell-accent, light-dark(#3b4fe0, #8f9bff));
    --on-accent: var(--creditwell-on-accent, light-dark(#fff, #11131c));
    --included: var(--creditwell-included, light-dark(#3b4fe0, #8f9bff));
    --additional: var(--creditwell-additional, light-dark(#0f9486, #2fc7b1));
    --held: var(--creditwell-held, light-dark(#8e8e87, #696d7a));
    --card: var(--creditwell-card, light-dark(#fff, #191a1f));
    --inset: var(--creditwell-inset, light-dark(#f5f5f2, #101115));
    --line: var(--creditwell-line, light-dark(#e6e5e0, #2a2b32));
    --edge: var(--creditwell-edge, light-dark(#d0cfc8, #3d3f49));
    --text: var(--creditwell-text, light-dark(#17181c, #f2f2f4));
    --quiet: var(--creditwell-quiet, light-dark(#5c606a, #a6a9b4));
    --good: var(--creditwell-good, light-dark(#0a7a5a, #45d3a6));
    --bad: var(--creditwell-bad, light-dark(#b3261e, #ff9188));
    --warn: var(--creditwell-warn, light-dark(#845600, #f2c46d));
    --warn-ground: var(--creditwell-warn-ground, light-dark(#fff5e0, #2b2213));
    --radius: var(--creditwell-radius, 14px);
    --shadow: light-dark(0 1px 2px rgb(23 24 28 / 5%), 0 0 transparent);
    display: block;
    color: var(--text);
    font: var(--creditwell-font, 15px/1.5 -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Helvetica Neue", Arial, system-ui, sans-serif);
    -webkit-text-size-adjust: 100%;
  }
  :host([hidden]), [hidden] {
    display: none !important;
  }
  * {
    box-sizing: border-box;
  }
  h1, h2, h3, p, dl, dd, table, ul, fieldset, figure {
    margin: 0;
  }
  h2 {
    font-size: 16px;
    font-weight: 650;
    line-height: 1.4;
    letter-spacing: -0.005em;
  }
  strong {
    font-weight: 650;
  }
  .card {
    height: 100%;
    background: var(--card);
    border: 1px solid var(--line);
    border-radius: var(--radius);
    box-shadow: var(--shadow);
    padding: 22px 24px;
  }
  .head {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    justify-content: space-between;
    gap: 10px 16px;
    min-height: 32px;
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
    padding: 1px 8px;
    border-radius: 6px;
    font-size: 12px;
    font-weight: 600;
    line-height: 1.6;
    white-space: nowrap;
    color: color-mix(in srgb, var(--chip, var(--quiet)), var(--text) 25%);
    background: color-mix(in srgb, var(--chip, var(--quiet)) 12%, transparent);
  }
  .chip.included { --chip: var(--included); }
  .chip.purchased, .chip.topped_up, .chip.promotional, .chip.adjusted, .chip.additional { --chip: var(--additional); }
  .chip.good { --chip: var(--good); }
  .chip.warn { --chip: var(--warn); }
  .chip.overdraft { --chip: var(--bad); }
  /* Bars, their keys and switches: where the system chooses colours, those that mean something stay. */
  i, ::before, .switch {
    forced-color-adjust: none;
  }
  a {
    color: var(--accent);
    text-underline-offset: 3px;
  }
  :focus-visible {
    outline: 2px solid var(--accent);
    outline-offset: 2px;
  }
  .skeleton {
    display: grid;
    align-content: start;
    gap: 14px;
    padding: 16px 0 4px;
  }
  .bone {
    height: 14px;
    border-radius: 6px;
    background: var(--line);
    animation: breathe 1.4s ease-in-out infinite alternate;
  }
  .bone.short { width: 22%; }
  .bone.half { width: 50%; }
  .bone.big { width: 40%; height: 44px; }
  .bone.tall { height: 240px; }
  @keyframes breathe {
    to { opacity: 0.45; }
  }
  .failure, .empty {
    display: grid;
    justify-items: start;
    gap: 4px;
    padding: 16px 0 4px;
  }
  .empty {
    align-content: center;
    justify-items: center;
    padding: 40px 0;
    text-align: center;
  }
  .stale {
    opacity: 0.5;
    transition: opacity 0.2s 0.15s;
  }
  .failure button {
    margin-top: 8px;
  }
  @media (max-width: 640px) {
    .card { padding: 18px 16px; }
  }
  @media (prefers-reduced-motion: reduce) {
    * { animation: none !important; transition: none !important; scroll-behavior: auto !important; }
  }
`;
