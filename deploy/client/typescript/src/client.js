/** The client. */

import { Api } from "./calls.js";
import { holding } from "./holds.js";
import * as requests from "./requests.js";

/** @typedef {{ warn: (message: string) => void, error: (message: string) => void }} Log */

/**
 * @typedef {object} Options
 * @property {string} url  where the API is
 * @property {import("./calls.js").Token} token  a text, or a function that has a fresh one at hand: it is called for each request
 * @property {string} [source]  of your service: work whose hold has expired meanwhile is reported as plain usage of it. Without a source
 *   its block throws HoldHasExpired
 * @property {string} [spool]  a folder for captures that the API has not taken yet, in Node. It needs a `source`. A spool belongs to one
 *   process at a time
 * @property {number} [patienceSeconds]  how long a call is sent again while no answer counts
 * @property {Log} [log]  the console unless told
 * @property {() => string | undefined} [traceparent]  the W3C trace context of whoever asks, for each call; the API carries it on
 */

/** @typedef {(options: Options, api: Api, log: Log) => import("./captures.js").Captures} OpenCaptures */

const PATIENCE_SECONDS = 30;
const AFFORDABLE_SECONDS = 1;
const REMEMBERED_MAX = 1_000;

/** Creditwell. One for each process is enough. */
export class Creditwell {
  #api;
  #patienceSeconds;
  #traceparent;
  /** @type {Map<string, { at: number, allowed: boolean }>}  quotes of the last moment, for `affordable` */
  #remembered = new Map();

  /**
   * Throws TypeError for a spool without a source, and CaptureSpoolInUse where another process has it.
   *
   * @param {Options} options
   * @param {OpenCaptures} [openCaptures]  Node's own
   */
  constructor(options, openCaptures = noSpool) {
    const { url, token, source = null, spool, patienceSeconds = PATIENCE_SECONDS, log = console, traceparent } = options;
    this.#api = new Api(url, token);
    this.#patienceSeconds = patienceSeconds;
    this.#traceparent = traceparent;
    this.log = log;
    this.source = source;
    this.captures = spool === undefined ? null : openCaptures(options, this.#api, log);
  }

  /**
   * Send a call, again where that helps. Throws ApiError, the API said no, and NoAnswer, no answer that counts came in time. So do all
   * methods.
   *
   * @template T
   * @param {import("./calls.js").ApiCall<T>} call
   * @param {AbortSignal} [stop]
   * @returns {Promise<T>}
   */
  send = (call, stop) => this.#api.send({ ...call, traceparent: this.#traceparent?.() }, this.#patienceSeconds, stop);

  /**
   * What a team has. `atLeast`: a position that the answer must know.
   *
   * @param {string} team
   * @param {{ atLeast?: string }} [options]
   */
  balance(team, { atLeast } = {}) {
    return this.send(requests.balance(team, atLeast));
  }

  /**
   * What work would cost, and whether the team may do it.
   *
   * @param {string} team
   * @param {readonly import("./requests.js").Item[]} items
   */
  quote(team, items) {
    return this.send(requests.quote(team, items));
  }

  /**
   * Whether the team may do the work, as of the last second: quick, and no promise. A hold is one.
   *
   * @param {string} team
   * @param {readonly import("./requests.js").Item[]} items
   * @param {{ maxAgeSeconds?: number }} [options]
   */
  async affordable(team, items, { maxAgeSeconds = AFFORDABLE_SECONDS } = {}) {
    const key = JSON.stringify([team, items]);
    const known = this.#remembered.get(key);
    if (known && performance.now() - known.at < maxAgeSeconds * 1000) return known.allowed;
    const { allowed } = await this.quote(team, items);
    if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered.clear();
    this.#remembered.set(key, { at: performance.now(), allowed });
    return allowed;
  }

  /**
   * The credit activity, newest first, page after page: `for await (const entry of credits.activity(team))`.
   *
   * @param {string} team
   * @param {{ days?: number }} [options]
   */
  async *activity(team, { days = 30 } = {}) {
    /** @type {string | null} */
    let cursor = null;
    do {
      /** @type {import("../types/bodies.js").Activity} */
      const page = await this.send(requests.activity(team, days, cursor));
      yield* page.items;
      cursor = page.next_cursor;
    } while (cursor !== null);
  }

  /**
   * What became of a usage.
   *
   * @param {string} team
   * @param {{ source: string, id: string }} usage
   */
  receipt(team, { source, id }) {
    return this.send(requests.receipt(team, source, id));
  }

  /**
   * The settings of automatic top-ups, and how they stand.
   *
   * @param {string} team
   */
  topUp(team) {
    return this.send(requests.topUp(team));
  }

  /**
   * Set credits aside while a callback runs; gives what the callback gives.
   *
   * NotAllowed says that the team may not do the work: the callback did not run. While it runs the hold is made longer. At its end what it
   * said to have `used` is captured, and the rest is free again. A callback that throws is thrown on; what it had used was used, and is
   * captured, and where that was nothing the hold is released.
   *
   * @template T
   * @param {import("./holds.js").Work} work
   * @param {(hold: import("./holds.js").Hold) => T | Promise<T>} run
   * @returns {Promise<T>}
   */
  hold(work, run) {
    return holding(this, work, run);
  }

  /** Let go of the spool. What waits in it is sent by the next client that opens it. */
  async close() {
    await this.captures?.close();
  }
}

/** @type {OpenCaptures} */
function noSpool() {
  throw new TypeError("spool: there is no disk here; a spool is for Node");
}
