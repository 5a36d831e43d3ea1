// The way to the API: requests with the token in a header, and one stream of what changes.
//
// Events: `balance` and `activity` (detail: what came), `link` (detail: "live", "connecting", "offline" or "ended"), `ended` (detail: why),
// `changed` (detail: the path of what was asked for before and is different now), `error` (detail: why a request failed). Elements add
// `purchase` and `top-up` (detail: what came of it).

import { readEvents } from "./events.js";

const PATIENCE = 10_000;
const SILENCE = 40_000; // the server says something every 15 seconds
const AGAIN = [500, 1_000, 2_000, 4_000, 8_000];
const PATIENT = 15_000; // from then on

/**
 * @typedef {"live" | "connecting" | "offline" | "ended"} Link
 *
 * @typedef {object} Options
 * @property {() => string | Promise<string>} getToken
 * @property {string | null} [team]
 * @property {string | URL} [base]
 * @property {string | null} [returnUrl]
 * @property {boolean} [newTab]
 */

/**
 * @template {string} Method
 * @template {string} Path
 * @typedef {Api.Commands[`${Method} ${Path}` & keyof Api.Commands]} Command
 */

/** What the API refused, in its own words, or by the name of a text of ours where it said nothing. `final`: asking again would not help; `wait`: it would, after so many seconds. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {Partial<Api.Problem>} said
   * @param {number} [wait]
   */
  constructor(status, said, wait = 0) {
    super(said.detail ?? said.title ?? "problem.unanswered");
    this.status = status;
    this.code = said.code ?? "unavailable";
    this.said = said;
    this.wait = wait;
    this.final = status >= 400 && status < 500 && status !== 408 && status !== 429;
  }
}

/**
 * The claims of a token, to show them; the API alone decides what they are worth.
 *
 * @param {string} token
 * @returns {{ team?: string, role?: string, sub?: string }}
 */
function claimsOf(token) {
  try {
    const text = atob(/** @type {string} */ (token.split(".")[1]).replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
  } catch {
    return {};
  }
}

/** Names one attempt of a command. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Session extends EventTarget {
  #getToken;
  #claims = claimsOf("");
  #named;
  /** @type {AbortController | null} */
  #stop = null;
  /** @type {string | null} */
  #position = null;
  /** @type {Map<string, Promise<unknown>>} */
  #shared = new Map();
  #shown = 0;

  /** @type {Link} */
  link = "connecting";
  /** @type {Api.Balance | null} */
  balance = null;

  /**
   * `getToken` gives a token, or a promise of one, whenever one is needed; `base` is where the API is; `returnUrl` is where Stripe
   * sends people back to, by default this address, and `newTab` says that it may not take this page's place.
   *
   * @param {Options} options
   */
  constructor({ getToken, team = null, base = new URL("/", import.meta.url), returnUrl = null, newTab = false }) {
    super();
    this.returnUrl = returnUrl ?? location.origin + location.pathname;
    this.newTab = newTab;
    this.#getToken = getToken;
    this.#named = team;
    this.base = new URL(base);
  }

  get team() {
    return this.#named ?? this.#claims.team ?? "";
  }

  get role() {
    return this.#claims.role ?? "";
  }

  get member() {
    return this.#claims.sub ?? "";
  }

  /** Whether the token's bearer may spend. */
  get isAdmin() {
    return this.role === "admin";
  }

  /**
   * A path of the team's own; the empty one is the team itself.
   *
   * @param {string} path
   */
  ofTeam(path) {
    return `v1/teams/${encodeURIComponent(this.team)}${path}`;
  }

  /**
   * The answer of a GET; a Problem says why there is none.
   *
   * @template {keyof Api.Got} Path
   * @param {Path} path
   * @returns {Promise<Api.Got[Path]>}
   */
  async get(path, { accept = "application/json" } = {}) {
    return (await this.fetch(path, { accept, signal: AbortSignal.timeout(PATIENCE) })).json();
  }

  /**
   * The answer of a GET that several elements want: asked for once, until `renew`.
   *
   * @template {keyof Api.Got} Path
   * @param {Path} path
   * @returns {Promise<Api.Got[Path]>}
   */
  share(path) {
    const shared = /** @type {Promise<Api.Got[Path]> | undefined} */ (this.#shared.get(path));
    if (shared) return shared;
    const asked = this.get(path);
    asked.catch(() => this.#shared.get(path) === asked && this.#shared.delete(path));
    this.#shared.set(path, asked);
    return asked;
  }

  /**
   * What was shared is out of date: whoever shows it asks anew.
   *
   * @param {string} path
   */
  renew(path) {
    this.#shared.delete(path);
    this.tell("changed", path);
  }

  /**
   * The answer of a POST or PUT. The same `key` with the same body is done once, however often it is sent.
   *
   * @template {"POST" | "PUT"} Method
   * @template {string} Path
   * @param {Method} method
   * @param {Path} path
   * @param {Command<Method, Path>["body"]} body
   * @param {{ key?: string, headers?: Record<string, string> }} [more]
   * @returns {Promise<Command<Method, Path>["answer"]>}
   */
  async send(method, path, body, { key = newKey(), headers = {} } = {}) {
    const sent = { "content-type": "application/json", "idempotency-key": key, ...headers };
    const signal = AbortSignal.timeout(3 * PATIENCE);
    return (await this.fetch(path, { accept: "application/json", method, body: JSON.stringify(body), headers: sent, signal })).json();
  }

  /**
   * @param {string} path
   * @param {{ accept: string, signal?: AbortSignal, method?: string, body?: string | null, headers?: Record<string, string> }} how
   * @returns {Promise<Response>}
   */
  async fetch(path, how) {
    try {
      return await this.#ask(path, how);
    } catch (error) {
      if (error instanceof Problem) this.tell("error", error);
      throw error;
    }
  }

  /**
   * @template {keyof News} Name
   * @param {Name} name
   * @param {News[Name]} detail
   */
  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** @type {Session["fetch"]} */
  async #ask(path, { accept, signal, method = "GET", body = null, headers = {} }) {
    const token = await this.#getToken();
    this.#claims = claimsOf(token);
    if (!this.team) throw new Problem(401, { code: "unauthenticated", detail: "problem.no_team" });
    const target = path.startsWith("v1/") ? path : this.ofTeam(path);
    let response;
    try {
      response = await fetch(new URL(target, this.base), {
        method,
        body,
        headers: { authorization: `Bearer ${token}`, accept, ...headers },
        credentials: "omit",
        cache: "no-store",
        signal,
      });
    } catch (error) {
      if (/** @type {Error} */ (error).name === "AbortError") throw error;
      throw new Problem(0, { detail: "problem.unreachable" });
    }
    if (response.ok) return response;
    const said = await response.json().catch(() => ({}));
    throw new Problem(response.status, said, Number(response.headers.get("retry-after")) || 0);
  }

  /** Somebody shows what changes: from the first to the last of them, this listens, and reconnects by itself. */
  join() {
    this.#shown++;
    if (this.#stop || this.link === "ended") return;
    this.#stop = new AbortController();
    this.#listen(this.#stop.signal);
  }

  leave() {
    if (--this.#shown === 0) this.close();
  }

  close() {
    this.#stop?.abort();
    this.#stop = null;
  }

  /** @param {AbortSignal} stopped */
  async #listen(stopped) {
    for (let attempt = 0; !stopped.aborted; attempt++) {
      const began = Date.now();
      let wait = 0;
      this.#say("connecting");
      try {
        if ((await this.#read(stopped)) === "end") continue; // the token ended: the next one may be had
      } catch (error) {
        if (stopped.aborted) return;
        const problem = /** @type {Thrown} */ (error);
        if (problem.final) return this.#end(problem);
        wait = 1_000 * (problem.wait ?? 0);
      }
      if (Date.now() - began > SILENCE) attempt = 0;
      this.#say("offline");
      await this.#pause(Math.max(wait, AGAIN[attempt] ?? PATIENT), stopped);
    }
  }

  /** @param {AbortSignal} stopped */
  async #read(stopped) {
    const broken = new AbortController();
    const signal = AbortSignal.any([stopped, broken.signal]);
    const dropped = () => broken.abort();
    let watchdog = setTimeout(dropped, SILENCE);
    addEventListener("offline", dropped, { signal: broken.signal }); // no need to wait for silence to know
    try {
      /** @type {Record<string, string>} */
      const headers = this.#position ? { "last-event-id": this.#position } : {};
      const response = await this.fetch("/stream", { accept: "text/event-stream", signal, headers });
      for await (const { type, data, id } of readEvents(/** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body))) {
        clearTimeout(watchdog);
        watchdog = setTimeout(dropped, SILENCE);
        if (type === "end") return "end";
        if (type) this.#take({ type, data, id });
      }
      return "broken";
    } finally {
      clearTimeout(watchdog);
      broken.abort();
    }
  }

  /** @param {{ type: string, data: string, id: string | null }} event */
  #take(event) {
    this.#say("live");
    const isFirst = !this.#position;
    this.#position = event.id ?? this.#position;
    const detail = JSON.parse(event.data);
    if (event.type === "balance") this.balance = detail;
    this.tell(/** @type {keyof News} */ (event.type), detail);
    // A stream without a position begins at its own head: what was recorded after the page was asked for and before that, it never tells.
    if (isFirst) this.tell("activity", { items: [], more: true });
  }

  /** @param {Link} link */
  #say(link) {
    if (this.link === link) return;
    this.link = link;
    this.tell("link", link);
  }

  /** @param {Thrown} problem */
  #end(problem) {
    this.close();
    this.#say("ended");
    this.tell("ended", /** @type {Problem} */ (problem));
  }

  /**
   * Wait, but no longer than until the browser says that it is online again.
   *
   * @param {number} milliseconds
   * @param {AbortSignal} stopped
   * @returns {Promise<void>}
   */
  #pause(milliseconds, stopped) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        removeEventListener("online", done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      addEventListener("online", done);
      stopped.addEventListener("abort", done, { once: true });
    });
  }
}
