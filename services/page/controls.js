// What is pressed, chosen and typed into: buttons, choices, switches, dialogs.

import { css } from "./style.js";

export const controls = css`
  button, select, input {
    font: inherit;
    font-size: 14px;
    color: var(--text);
  }
  button, select {
    min-height: 38px;
    padding: 0 14px;
    font-weight: 600;
    background: var(--card);
    border: 1px solid var(--edge);
    border-radius: 9px;
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
  button.primary {
    color: var(--on-accent);
    background: var(--accent);
    border-color: var(--accent);
  }
  button.primary:hover:not(:disabled) {
    background: color-mix(in srgb, var(--accent), var(--text) 14%);
  }
  button.primary:disabled {
    color: var(--quiet);
    background: var(--inset);
    border-color: var(--line);
  }
  button.link {
    min-height: 24px;
    padding: 0;
    border: 0;
    background: none;
    color: var(--accent);
    text-decoration: underline;
    text-underline-offset: 3px;
  }
  select {
    appearance: none;
    max-width: 200px;
    padding-inline-end: 34px;
    text-overflow: ellipsis;
    background-image: linear-gradient(45deg, transparent 50%, var(--quiet) 50%), linear-gradient(-45deg, transparent 50%, var(--quiet) 50%);
    background-position: right 18px center, right 13px center;
    background-size: 5px 5px;
    background-repeat: no-repeat;
  }
  input[type="text"] {
    min-height: 36px;
    padding: 0 10px;
    font-weight: 600;
    font-variant-numeric: tabular-nums;
    background: var(--inset);
    border: 1px solid light-dark(#8b8e97, #6f727d);
    border-radius: 9px;
  }
  input[aria-invalid="true"] {
    border-color: var(--bad);
    outline-color: var(--bad);
  }
  input[type="radio"], input[type="checkbox"] {
    width: 18px;
    height: 18px;
    margin: 0;
    accent-color: var(--accent);
  }
  .choices {
    display: flex;
    padding: 3px;
    border: 0;
    border-radius: 10px;
    background: color-mix(in srgb, var(--text) 7%, transparent);
  }
  .choices label {
    display: grid;
    align-items: center;
    padding: 0 13px;
    min-height: 32px;
    border-radius: 8px;
    font-size: 14px;
    font-weight: 600;
    color: var(--quiet);
    white-space: nowrap;
    cursor: pointer;
  }
  .choices input {
    position: absolute;
    opacity: 0;
    pointer-events: none;
  }
  .choices label:hover {
    color: var(--text);
  }
  .choices label:has(:checked) {
    color: var(--text);
    background: var(--card);
    box-shadow: 0 0 0 1px var(--line), 0 1px 2px rgb(0 0 0 / 10%);
  }
  .choices label:has(:focus-visible) {
    outline: 2px solid var(--accent);
    outline-offset: 1px;
  }
  .switch {
    appearance: none;
    position: relative;
    flex: none;
    width: 44px !important;
    height: 26px !important;
    border-radius: 13px;
    background: light-dark(#84878f, #6f727d);
    cursor: pointer;
    transition: background 0.15s;
  }
  .switch::before {
    content: "";
    position: absolute;
    inset: 3px auto 3px 3px;
    width: 20px;
    border-radius: 50%;
    background: light-dark(#fff, #14151b);
    transition: translate 0.15s;
  }
  .switch:checked {
    background: var(--good);
  }
  .switch:checked::before {
    translate: 18px 0;
  }
  dialog {
    width: min(540px, calc(100vw - 24px));
    max-height: calc(100dvh - 32px);
    padding: 0;
    overflow: auto;
    overscroll-behavior: contain;
    color: var(--text);
    background: var(--card);
    border: 1px solid var(--line);
    border-radius: 18px;
    box-shadow: 0 24px 64px rgb(0 0 0 / 28%);
  }
  dialog::backdrop {
    background: rgb(10 10 14 / 45%);
  }
  dialog form {
    display: grid;
    gap: 18px;
    padding: 24px 26px;
  }
  dialog h2 {
    font-size: 20px;
    line-height: 1.3;
  }
  dialog .head p {
    flex-basis: 100%;
    margin-top: -6px;
    font-size: 14px;
  }
  .buttons {
    display: flex;
    flex-wrap: wrap;
    justify-content: flex-end;
    gap: 10px;
  }
  .note {
    padding: 12px 14px;
    border-radius: 10px;
    font-size: 14px;
    background: var(--inset);
  }
  .note.wrong {
    color: var(--bad);
  }
  .note.warned {
    color: var(--warn);
    background: var(--warn-ground);
  }
  .ask {
    display: grid;
    justify-items: center;
    gap: 8px;
    padding: 8px 0 0;
    text-align: center;
  }
  .ask svg {
    width: 40px;
    margin-bottom: 6px;
    fill: none;
    stroke: var(--quiet);
    stroke-width: 1.3;
    stroke-linecap: round;
    stroke-linejoin: round;
  }
  .ask button {
    margin-top: 10px;
  }
  @media (max-width: 640px) {
    dialog form { padding: 20px 18px; gap: 16px; }
    .buttons { flex-wrap: wrap-reverse; }
    .buttons > button { flex: 1 1 auto; }
  }
  @media (forced-colors: active) {
    .choices label:has(:checked) { outline: 2px solid Highlight; outline-offset: -2px; }
  }
`;
