/** Credits set aside while a callback runs. */

import { pause } from "./calls.js";
import { ApiError, CreditwellError, NoAnswer } from "./errors.js";
import { textOf, textsOf } from "./quantities.js";
import * as requests from "./requests.js";
import { settle } from "./settling.js";

/** @typedef {import("./quantities.js").Quantity} Quantity */

/**
 * What a callback is about to do.
 *
 * @typedef {object} Work
 * @property {string} team
 * @property {readonly import("./requests.js").Item[]} items  what it is expected to need
 * @property {string} [member]
 * @property {number} [ttl]  seconds; the hold is made longer while the callback runs, up to 24 hours
 */

/**
 * What a hold needs of its client.
 *
 * @typedef {object} Client
 * @property {<T>(call: import("./calls.js").ApiCall<T>, stop?: AbortSignal) => Promise<T>} send
 * @property {string | null} source
 * @property {import("./captures.js").Captures | null} captures
 * @property {import("./client.js").Log} log
 */

export const TTL_SECONDS = 900;

/** Credits that are set aside. */
export class Hold {
  /** @type {readonly import("./requests.js").Item[]} */
  #planned;
  /** @type {import("./requests.js").Item[]} */
  #used = [];
  /** @type {(() => void)[]} */
  #ending = [];
  #over = false;

  /**
   * @param {readonly import("./requests.js").Item[]} planned
   * @param {import("../types/bodies.js").Placed} placed
   */
  constructor(planned, placed) {
    this.#planned = planned;
    this.id = placed.id;
    /** What is set aside, a decimal text. */
    this.credits = placed.credits;
    /** @type {import("../types/bodies.js").Captured | null}  what the API answered when the work was captured */
    this.captured = null;
  }

  /**
   * Say what the work has used: one quantity, `used(12)`, or several by name, `used({ input_token: 900 })`. Say it as often as there is
   * something to say. Feature and attributes are those of the hold's only item unless told.
   *
   * Throws TypeError where that is no quantity, or it is not clear of which feature, and where the callback has ended.
   *
   * @param {Quantity | Record<string, Quantity>} quantity
   * @param {{ feature?: string, attributes?: Record<string, string> }} [of]
   */
  used(quantity, { feature, attributes } = {}) {
    if (this.#over) throw new TypeError(`hold ${this.id}: its callback has ended, and what it had used was captured`);
    const only = this.#planned.length === 1 ? this.#planned[0] : undefined;
    const planned = feature === undefined ? only : { feature };
    if (!planned) throw new TypeError(`feature: the hold is for ${this.#planned.length} items; say of which this was used`);
    const chosen = attributes ?? planned.attributes;
    const used = typeof quantity === "object" ? { quantities: textsOf(quantity) } : { quantity: textOf("quantity", quantity) };
    this.#used.push({ feature: planned.feature, ...(chosen && { attributes: { ...chosen } }), ...used });
  }

  /**
   * Call this when the callback ends, while `used` is still heard: what is open says then what it knows.
   *
   * @param {() => void} tell
   */
  beforeEnd(tell) {
    this.#ending.push(tell);
  }

  /**
   * What was used, once nothing more can be.
   *
   * @internal
   */
  end() {
    for (const tell of this.#ending) tell();
    this.#over = true;
    return this.#used;
  }
}

/**
 * Place a hold, run the callback, and capture what it used. Throws as the callback does, and as `Creditwell.hold` says.
 *
 * @template T
 * @param {Client} client
 * @param {Work} work
 * @param {(hold: Hold) => T | Promise<T>} run
 * @returns {Promise<T>}
 */
export async function holding(client, work, run) {
  const { team, items, member = null, ttl = TTL_SECONDS } = work;
  const hold = new Hold(items, await client.send(requests.place(team, items, ttl, member, crypto.randomUUID())));
  const over = new AbortController();
  const extending = keepOpen(client, team, hold.id, ttl, over.signal);
  const end = async () => {
    over.abort();
    await extending;
    const used = hold.end();
    if (used.length === 0) return giveUp(client, team, hold.id);
    const at = new Date().toISOString();
    hold.captured = await settled(client, { team, hold: hold.id, member, items: used, at, key: `capture:${hold.id}` });
  };
  let result;
  try {
    result = await run(hold);
  } catch (error) {
    await end().catch((trouble) => client.log.error(`what was used under hold ${hold.id} was not taken: ${trouble}`));
    throw error;
  }
  await end();
  return result;
}

/**
 * Make the hold longer until told to stop.
 *
 * @param {Client} client
 * @param {string} team
 * @param {string} hold
 * @param {number} ttl
 * @param {AbortSignal} stop
 */
async function keepOpen(client, team, hold, ttl, stop) {
  for (let number = 1; ; number++) {
    await pause(ttl / 3, stop);
    if (stop.aborted) return;
    try {
      await client.send(requests.extend(team, hold, ttl, `extend:${hold}:${number}`), stop);
    } catch (error) {
      if (stop.aborted) return;
      client.log.warn(`hold ${hold} is not made longer: ${error}`);
      if (error instanceof ApiError) return; // 24 hours have passed, or somebody else has ended it
    }
  }
}

/**
 * Release a hold; one that is not released ends by itself.
 *
 * @param {Client} client
 * @param {string} team
 * @param {string} hold
 */
async function giveUp(client, team, hold) {
  try {
    await client.send(requests.release(team, hold, `release:${hold}`));
  } catch (error) {
    if (!(error instanceof CreditwellError)) throw error;
    client.log.warn(`hold ${hold} was not released: ${error}`);
  }
}

/**
 * Settle work, from the disk where there is a spool: then the API may be away.
 *
 * @param {Client} client
 * @param {import("./settling.js").Settlement} work
 */
async function settled(client, work) {
  const { captures } = client;
  if (captures === null) return settle(work, client.source, client.send);
  await captures.keep(work);
  try {
    return await captures.outcome(work.hold, () => settle(work, client.source, client.send));
  } catch (error) {
    if (error instanceof NoAnswer) return null;
    throw error;
  }
}
