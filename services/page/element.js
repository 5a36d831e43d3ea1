// What all elements have in common: a root, a session, and an end.

import { controls } from "./controls.js";
import { Session } from "./session.js";
import { base } from "./style.js";

const sessions = new WeakMap(); // by getToken: elements that share a way to tokens share one stream

/** An element of the page. Give it a `session`, or a `getToken` callback that gives (a promise of) a token whenever one is needed. */
export class CreditsElement extends HTMLElement {
  static live = true; // whether it shows what changes by itself

  #left = new AbortController();
  #session = null;
  #joined = null;

  constructor(...sheets) {
    super();
    this.attachShadow({ mode: "open" }).adoptedStyleSheets = [base, controls, ...sheets];
  }

  connectedCallback() {
    // A host may have set them before this file had arrived.
    for (const name of ["filter", "getToken", "session"]) {
      if (!Object.hasOwn(this, name)) continue;
      const given = this[name];
      delete this[name];
      this[name] = given;
    }
    this.#join();
  }

  disconnectedCallback() {
    this.#joined?.leave();
    this.#joined = null;
  }

  set getToken(getToken) {
    if (!sessions.has(getToken)) sessions.set(getToken, new Session({ getToken, team: this.getAttribute("team") }));
    this.session = sessions.get(getToken);
  }

  get session() {
    return this.#session;
  }

  set session(session) {
    this.#left.abort();
    this.#left = new AbortController();
    this.#session = session;
    this.begin(session);
    this.#join();
  }

  /** Hear what the session tells, until another one takes its place. */
  hear(name, listener) {
    this.#session.addEventListener(name, ({ detail }) => listener(detail), { signal: this.#left.signal });
  }

  #join() {
    if (!this.constructor.live || !this.isConnected || this.#joined === this.#session) return;
    this.#joined?.leave();
    this.#joined = this.#session;
    this.#joined?.join();
  }
}
