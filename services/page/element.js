// What all elements have in common: a root, a language, a session, and an end.

import { controls } from "./controls.js";
import { wordsIn, wordsOf } from "./language.js";
import { Session } from "./session.js";
import { base } from "./style.js";

/** @type {WeakMap<Function, Map<string | null, Session>>} */
const sessions = new WeakMap(); // by getToken, then by team: elements that share both share one stream

/** @type {(keyof News)[]} */
const TOLD = ["balance", "activity", "purchase", "top-up", "link", "error", "ended"]; // to a host product, as events of the element: see host.d.ts

/** An element of the page. Give it a `session`, or a `getToken` callback that gives (a promise of) a token whenever one is needed. */
export class CreditsElement extends HTMLElement {
  static live = true; // whether it shows what changes by itself

  /** @type {Session | null | undefined} */
  #session; // undefined until one was given; null where nobody is signed in
  /** @type {AbortController | null} */
  #left = null; // aborted when the element is taken from the page; null while it has not begun
  #hasSpoken = false;
  /** @type {(() => void)[]} */
  #said = []; // writes what stays, in the words of now
  words = /** @type {Words} */ (wordsIn("en")); // until the element is in its place, where nothing is said yet
  root = this.attachShadow({ mode: "open" });

  /** @param {CSSStyleSheet[]} sheets */
  constructor(...sheets) {
    super();
    this.root.adoptedStyleSheets = [base, controls, ...sheets];
  }

  connectedCallback() {
    // A host may have set them before this file had arrived.
    for (const name of ["filter", "getText", "getToken", "session"]) {
      if (!Object.hasOwn(this, name)) continue;
      const given = Reflect.get(this, name);
      Reflect.deleteProperty(this, name);
      Reflect.set(this, name, given);
    }
    this.#start();
  }

  disconnectedCallback() {
    this.#stop();
  }

  /**
   * A host's own texts, asked for whenever one is shown: see host.d.ts.
   *
   * @type {GetText | null}
   */
  #getText = null;

  get getText() {
    return this.#getText;
  }

  set getText(/** @type {GetText | null} */ getText) {
    this.#stop();
    this.#getText = getText;
    this.#start();
  }

  /**
   * A text that stays: written as soon as the language is known, and again in another one.
   *
   * @type {Say<Text>}
   */
  say = (key, ...filling) => {
    const text = new Text();
    this.#keep(() => (text.data = this.words.text(key, ...filling)));
    return text;
  };

  /**
   * The name of an element for those who hear it, in the same way.
   *
   * @template {Element} Named
   * @param {Named} element
   * @param {PlainKey} key
   * @returns {Named}
   */
  name(element, key) {
    this.#keep(() => element.setAttribute("aria-label", this.words.text(key)));
    return element;
  }

  /** @param {() => void} write */
  #keep(write) {
    this.#said.push(write);
    if (this.#hasSpoken) write();
  }

  /** @param {Words} words */
  #speak(words) {
    if (this.words !== words || !this.#hasSpoken) {
      this.#hasSpoken = true;
      this.words = words;
      for (const write of this.#said) write();
    }
    for (const part of this.root.children) part.setAttribute("lang", words.language); // it may be another than that around it
  }

  /** @param {import("./session.js").Options["getToken"]} getToken */
  set getToken(getToken) {
    const team = this.getAttribute("team");
    const ofTeams = sessions.get(getToken) ?? new Map();
    sessions.set(getToken, ofTeams);
    const session = ofTeams.get(team) ?? new Session({ getToken, team });
    ofTeams.set(team, session);
    this.session = session;
  }

  /** @returns {Session} */
  get session() {
    return /** @type {Session} */ (this.#session); // an element that shows something has begun, and has one
  }

  set session(/** @type {Session | null} */ session) {
    this.#stop();
    this.#session = session;
    this.#start();
  }

  /** Whether it is in its place and has a session. */
  get hasBegun() {
    return this.#left !== null;
  }

  /**
   * Hear what a session or a filter tells, until another session takes its place, or the element is taken from the page.
   *
   * @template {keyof News} Name
   * @param {Name} name
   * @param {(news: News[Name]) => void} listener
   * @param {EventTarget} [source]
   */
  hear(name, listener, source = this.session) {
    const heard = (/** @type {Event} */ event) => listener(/** @type {CustomEvent<News[Name]>} */ (event).detail);
    source.addEventListener(name, heard, { signal: this.#left?.signal });
  }

  /**
   * What it does where it has both a place and a session; `<credits-usage>` also where nobody is signed in.
   *
   * @param {Session} _session
   */
  begin(_session) {}

  /** It speaks where it has a place, begins where it has a session, too, and does so again after it was moved. */
  #start() {
    if (this.#left || !this.isConnected) return;
    const words = wordsOf(this);
    if (words instanceof Promise) return void words.then(() => this.#start());
    this.#speak(words);
    if (this.#session === undefined) return;
    this.#left = new AbortController();
    if (this.#session) for (const name of TOLD) this.hear(name, (detail) => this.dispatchEvent(new CustomEvent(`creditwell-${name}`, { detail })));
    this.begin(this.session);
    if (this.#isLive) this.#session?.join();
  }

  #stop() {
    if (!this.#left) return;
    this.#left.abort();
    this.#left = null;
    if (this.#isLive) this.#session?.leave();
  }

  get #isLive() {
    return /** @type {typeof CreditsElement} */ (this.constructor).live;
  }
}
