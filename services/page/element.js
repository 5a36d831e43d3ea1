// What all elements have in common: a root, a session, and an end.

import { controls } from "./controls.js";
import { Session } from "./session.js";
import { base } from "./style.js";

const sessions = new WeakMap(); // by getToken, then by team: elements that share both share one stream

/** An element of the page. Give it a `session`, or a `getToken` callback that gives (a promise of) a token whenever one is needed. */
export class CreditsElement extends HTMLElement {
  static live = true; // whether it shows what changes by itself

  #session; // undefined until one was given; null where nobody is signed in
  #left = null; // aborted when the element is taken from the page; null while it has not begun

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
    this.#start();
  }

  disconnectedCallback() {
    this.#stop();
  }

  set getToken(getToken) {
    const team = this.getAttribute("team");
    if (!sessions.has(getToken)) sessions.set(getToken, new Map());
    const ofTeams = sessions.get(getToken);
    if (!ofTeams.has(team)) ofTeams.set(team, new Session({ getToken, team }));
    this.session = ofTeams.get(team);
  }

  get session() {
    return this.#session;
  }

  set session(session) {
    this.#stop();
    this.#session = session;
    this.#start();
  }

  /** Whether it is in its place and has a session. */
  get hasBegun() {
    return this.#left !== null;
  }

  /** Hear what a session or a filter tells, until another session takes its place, or the element is taken from the page. */
  hear(name, listener, source = this.#session) {
    source.addEventListener(name, ({ detail }) => listener(detail), { signal: this.#left.signal });
  }

  /** It begins where it has both a place and a session, and again after it was moved. */
  #start() {
    if (this.#left || !this.isConnected || this.#session === undefined) return;
    this.#left = new AbortController();
    this.begin(this.#session);
    if (this.constructor.live) this.#session?.join();
  }

  #stop() {
    if (!this.#left) return;
    this.#left.abort();
    this.#left = null;
    if (this.constructor.live) this.#session?.leave();
  }
}
