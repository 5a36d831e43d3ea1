/**
 * How a service in Node reports usage without a hold: nothing that was reported is ever lost.
 *
 *     import { Emitter } from "@creditwell/client/emitter";
 *
 *     const usage = new Emitter({ url, token, source: "/features/video", spool: "/var/spool/creditwell-usage/0" });
 *     const receipt = usage.report({ team: "team_42", feature: "ai_video.generate", quantity: "12.5", attributes: { tier: "high" } });
 *     usage.void({ team: "team_42", usage: receipt, reason: "the clip was unusable" });
 *
 * A report is written to the spool, and that is all the caller waits for. It goes to `POST /v1/usage` from there: while the API is away
 * reports wait on disk, and after a crash they are sent again with the same ids. At least once, and Creditwell counts each once.
 */

import { Api } from "./calls.js";
import { textOf, textsOf } from "./quantities.js";
import * as requests from "./requests.js";
import { Spool } from "./spool.js";
import { judge } from "./verdicts.js";

export { SpoolClosed, SpoolFull, SpoolInUse } from "./errors.js";

/** @typedef {import("./quantities.js").Quantity} Quantity */
/** @typedef {{ team: string, source: string, id: string, at: Date }} UsageReceipt  (team, source, id) is its identity, for ever */

/**
 * @typedef {object} EmitterOptions
 * @property {string} url  where the API is
 * @property {import("./calls.js").Token} token  of role service: a text, or a function that has a fresh one, called for each request
 * @property {string} source  of your service, such as /features/video
 * @property {string} spool  a folder on the disk of this machine or container; one process at a time has it
 * @property {number} [spoolMaxBytes]  256 MiB unless told; then `report` throws SpoolFull
 * @property {import("./spool.js").Fsync} [fsync]  what a power failure may take: with "interval" the last 100 ms, with "always" nothing, at
 *   the price of waiting for the disk, with "never" what the kernel had not written. The death of the process takes nothing
 * @property {import("./client.js").Log} [log]  the console unless told
 */

/**
 * @typedef {object} Measured  a quantity in the feature's own unit, or several by name
 * @property {Quantity | undefined} [quantity]
 * @property {Record<string, Quantity> | undefined} [quantities]
 */

/** @typedef {{ team: string, at?: Date, id?: string }} Report  `id`: of your own job, where it may run twice; `at`: now unless told */
/** @typedef {Report & { usage: UsageReceipt | string, reason: string }} Taking  by its receipt or its id */

/**
 * @typedef {object} EmitterMetrics
 * @property {number} reported  since it was made
 * @property {number} delivered  those that an earlier process left, too
 * @property {number} putAside  what the API will never take, in refused.jsonl beside the spool
 * @property {number} spooled  waiting now
 * @property {number} damaged  files of the spool that could not be read to their end
 * @property {number | null} oldestAgeSeconds  of those waiting
 * @property {string | null} trouble  why none is taken
 */

const SPOOL_MAX_BYTES = 256 * 1024 * 1024;
const BATCH_MAX_BYTES = 512 * 1024;
const BATCH_MAX_EVENTS = 1_000; // as many as the API takes at once
const [RETRY_MIN_SECONDS, RETRY_MAX_SECONDS] = [0.1, 2];
const RETRY_AFTER_MAX_SECONDS = 60; // a proxy's idea of later may be a day
const LINGER_SECONDS = 0.005; // so that a burst travels together
const CLOSE_SECONDS = 5;
const OURS = "creditwell:";

/** Reports usage of one source. */
export class Emitter {
  #spool;
  #api;
  #log;
  #source;
  #stop = new AbortController();
  #eventsMax = BATCH_MAX_EVENTS;
  #retrySeconds = RETRY_MIN_SECONDS;
  #putAside = 0;
  /** @type {string | null} */
  #trouble = null;
  /** @type {Set<() => void>}  who waits for deliveries */
  #waiting = new Set();
  #wake = () => {};
  #woken = false;
  #running;

  /**
   * Open the spool, and begin to send what an earlier process left in it. The API need not be there.
   *
   * Throws SpoolInUse where another process has the spool, and TypeError for what is no source or no folder.
   *
   * @param {EmitterOptions} options
   */
  constructor({ url, token, source, spool, spoolMaxBytes = SPOOL_MAX_BYTES, fsync = "interval", log = console }) {
    if (!named(source) || source.startsWith(OURS)) throw new TypeError(`source: ${source} is none of yours; write one like /features/video`);
    if (!named(spool)) throw new TypeError("spool: name a folder that is this process's own, such as /var/spool/creditwell-usage/0");
    this.#source = source;
    this.#log = log;
    this.#api = new Api(url, token);
    this.#spool = new Spool(spool, spoolMaxBytes, fsync);
    this.#running = this.#run();
  }

  /**
   * Say that a feature did paid work for a team. Returns at once; from then on it can't be lost.
   *
   * Throws TypeError where an argument is wrong, SpoolFull where nothing was taken for so long that there is no room, and SpoolClosed.
   *
   * `traceparent` is the W3C trace context of the work, which is carried on to what comes of it.
   *
   * @param {Report & Measured & { feature: string, member?: string | undefined, attributes?: Record<string, string> | undefined,
   *   hold?: string | undefined, traceparent?: string | undefined }} used
   * @returns {UsageReceipt}
   */
  report({ feature, member, attributes, hold, quantity, quantities, traceparent, ...about }) {
    if (!named(feature)) throw new TypeError("feature: it is missing");
    const data = { feature, ...measured({ quantity, quantities }), member_id: member, attributes, hold_id: hold };
    return this.#keep("usage.reported.v1", about, data, traceparent);
  }

  /**
   * Take a usage back: its credits return. Throws as `report`.
   *
   * @param {Taking} taking
   * @returns {UsageReceipt}
   */
  void({ usage, reason, ...about }) {
    return this.#keep("usage.voided.v1", about, { usage_source: this.#source, ...this.#of(about.team, usage, reason) });
  }

  /**
   * Say how much a usage really was. The receipt is the new usage's. Throws as `report`.
   *
   * @param {Taking & Measured} taking
   * @returns {UsageReceipt}
   */
  amend({ usage, reason, quantity, quantities, ...about }) {
    return this.#keep("usage.amended.v1", about, { ...this.#of(about.team, usage, reason), ...measured({ quantity, quantities }) });
  }

  /**
   * Wait until everything that was reported before this call has arrived; false if it has not in time.
   *
   * @param {{ timeoutSeconds?: number }} [options]
   * @returns {Promise<boolean>}
   */
  flush({ timeoutSeconds = Number.POSITIVE_INFINITY } = {}) {
    const goal = this.#spool.goal();
    const arrived = () => this.#spool.dropped >= goal;
    const until = performance.now() + timeoutSeconds * 1000;
    return new Promise((resolve) => {
      const look = () => {
        if (!arrived() && !this.#stop.signal.aborted && performance.now() < until) return;
        clearInterval(timer);
        this.#waiting.delete(look);
        resolve(arrived());
      };
      const timer = setInterval(look, Math.min(timeoutSeconds, 1) * 1000); // it keeps the program, too
      this.#waiting.add(look);
      look();
    });
  }

  /**
   * Flush, and let go of the spool; false where reports remain, which the next emitter of this spool sends. Call it at the program's end:
   * while nothing else is to be done, a program ends though reports wait.
   *
   * @param {{ timeoutSeconds?: number }} [options]
   * @returns {Promise<boolean>}
   */
  async close({ timeoutSeconds = CLOSE_SECONDS } = {}) {
    await this.flush({ timeoutSeconds });
    this.#stop.abort();
    this.#wake();
    await this.#running;
    this.#spool.close();
    for (const look of [...this.#waiting]) look();
    const remaining = this.#spool.pending();
    if (remaining) this.#log.warn(`${remaining} reports remain in ${this.#spool.folder} and are sent at the next start`);
    return remaining === 0;
  }

  /** @returns {EmitterMetrics}  what it did and what waits */
  metrics() {
    const oldest = this.#spool.oldest();
    return {
      reported: this.#spool.appended,
      delivered: this.#spool.dropped - this.#putAside,
      putAside: this.#putAside,
      spooled: this.#spool.pending(),
      damaged: this.#spool.damaged,
      oldestAgeSeconds: oldest === null ? null : Math.max(0, (Date.now() - oldest) / 1000),
      trouble: this.#trouble,
    };
  }

  /**
   * @param {string} type
   * @param {Report} about
   * @param {object} data
   * @returns {UsageReceipt}
   * @param {string} [traceparent]
   */
  #keep(type, { team, at = new Date(), id = uuid7() }, data, traceparent) {
    if (!named(team)) throw new TypeError("team: it is missing");
    if (!named(id)) throw new TypeError("id: it is empty; leave it out, or pass the id of your job");
    if (Number.isNaN(at.getTime())) throw new TypeError("at: that is no time");
    const source = this.#source;
    this.#spool.append({ specversion: "1.0", type, source, id, subject: team, traceparent, time: at.toISOString(), data });
    this.#woken = true;
    this.#wake();
    return { team, source, id, at };
  }

  /**
   * Which usage is meant, and why.
   *
   * @param {string} team
   * @param {UsageReceipt | string} usage
   * @param {string} reason
   */
  #of(team, usage, reason) {
    if (typeof usage === "object" && (usage.team !== team || usage.source !== this.#source)) {
      throw new TypeError(`usage: it was reported for ${usage.team} by ${usage.source}, and only they can void or amend it`);
    }
    const id = typeof usage === "object" ? usage.id : usage;
    if (!named(id)) throw new TypeError("usage: pass its receipt or its id");
    if (!named(reason)) throw new TypeError("reason: say why; the team reads it beside the credits that return");
    return { usage_id: id, reason };
  }

  /** Send batch by batch, oldest first, until told to stop. */
  async #run() {
    await null; // the constructor is done
    while (!this.#stop.signal.aborted) {
      let seconds = Number.POSITIVE_INFINITY;
      this.#woken = false;
      try {
        const batch = this.#spool.peek(this.#eventsMax, BATCH_MAX_BYTES);
        if (batch !== null) seconds = await this.#send(batch);
      } catch (error) {
        seconds = this.#later(String(error), null);
      }
      if (seconds > 0) await this.#sleep(seconds);
    }
  }

  /**
   * Gives how long to pause.
   *
   * @param {import("./spool.js").Batch} batch
   */
  async #send(batch) {
    const { events } = batch;
    if (events.length === 0) return this.#delivered(batch); // nothing of it can be read, and its file is kept
    const verdict = judge(await this.#api.answer(requests.report(events), this.#stop.signal), events.length);
    if (this.#stop.signal.aborted && verdict.kind === "later") return 0;
    if (verdict.kind === "later") return this.#later(verdict.reason, verdict.retryAfterSeconds);
    if (verdict.kind === "too much") {
      this.#eventsMax = Math.max(1, Math.floor(events.length / 2));
      return 0;
    }
    if (verdict.refused.length) {
      this.#spool.keepRefused(verdict.refused.map(({ index, ...why }) => ({ ...why, event: events[index] })));
      this.#putAside += verdict.refused.length;
      for (const { code, detail } of verdict.refused)
        this.#log.error(`a report was refused, and is kept in ${this.#spool.folder}: ${code}: ${detail}`);
    }
    this.#eventsMax = Math.min(2 * this.#eventsMax, BATCH_MAX_EVENTS);
    return this.#delivered(batch);
  }

  /** @param {import("./spool.js").Batch} batch */
  #delivered(batch) {
    this.#spool.drop(batch);
    this.#retrySeconds = RETRY_MIN_SECONDS;
    this.#trouble = null;
    for (const look of [...this.#waiting]) look();
    return this.#spool.pending() ? LINGER_SECONDS : Number.POSITIVE_INFINITY;
  }

  /**
   * @param {string} reason
   * @param {number | null} retryAfterSeconds
   */
  #later(reason, retryAfterSeconds) {
    if (this.#trouble === null) this.#log.warn(`the API takes no reports: ${reason}; ${this.#spool.pending()} wait in ${this.#spool.folder}`);
    this.#trouble = reason;
    if (retryAfterSeconds !== null) return Math.min(retryAfterSeconds, RETRY_AFTER_MAX_SECONDS);
    const seconds = this.#retrySeconds;
    this.#retrySeconds = Math.min(2 * seconds, RETRY_MAX_SECONDS);
    return seconds;
  }

  /**
   * So long; without an end until something is reported. A program that has nothing else to do may end meanwhile.
   *
   * @param {number} seconds
   * @returns {Promise<void>}
   */
  #sleep(seconds) {
    return new Promise((resolve) => {
      const idle = seconds === Number.POSITIVE_INFINITY && !this.#woken;
      const timer = idle ? undefined : setTimeout(resolve, (this.#woken && seconds === Number.POSITIVE_INFINITY ? LINGER_SECONDS : seconds) * 1000);
      if (this.#waiting.size === 0) timer?.unref();
      this.#wake = () => {
        if (!idle && !this.#stop.signal.aborted) return; // a report does not make the API come back sooner
        clearTimeout(timer);
        this.#wake = () => {};
        setTimeout(resolve, LINGER_SECONDS * 1000);
      };
    });
  }
}

/** @param {unknown} text */
function named(text) {
  return typeof text === "string" && text.trim() !== "";
}

/**
 * The members of an event that say how much was used.
 *
 * @param {Measured} used
 */
function measured({ quantity, quantities }) {
  if ((quantity === undefined) === (quantities === undefined))
    throw new TypeError("quantity: pass how much was used, or quantities where that is several");
  const texts = quantities === undefined ? { quantity: textOf("quantity", quantity) } : textsOf(quantities);
  if (!Object.values(texts).some((text) => /[1-9]/.test(text))) throw new TypeError("quantity: nothing was used; report only what was");
  return quantities === undefined ? texts : { quantities: texts };
}

/** An identity that sorts by its time (RFC 9562, version 7). */
function uuid7() {
  const random = crypto.randomUUID();
  const time = Date.now().toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(15)}`;
}
