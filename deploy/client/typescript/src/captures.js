/**
 * Settlements on disk until the API has taken them, and what brings them there. Node only.
 *
 * A folder has a file for each: `ID.json` waits, `ID.refused.json` was refused for good, `ID.damaged.json` can't be read. The last two are
 * kept for a person to look at.
 */

import { mkdirSync, readdirSync } from "node:fs";
import { open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";

import { ApiError, CaptureSpoolInUse, NoAnswer, Unauthenticated } from "./errors.js";
import { Lock } from "./lock.js";
import { settle } from "./settling.js";

/** @typedef {import("./settling.js").Settlement} Settlement */

const PAUSE_SECONDS = 2;
const WAITING = /^(?<hold>.+?)(?<!\.refused|\.damaged)\.json$/;

/** @type {import("./client.js").OpenCaptures} */
export function openCaptures({ spool, source }, api, log) {
  if (!source) throw new TypeError("a spool needs a source: work whose hold has expired is reported as usage of that source");
  return new Captures(String(spool), source, api, log);
}

/** A folder with a file for each settlement that the API has not taken. */
export class Captures {
  #folder;
  #api;
  #log;
  #lock;
  #running;
  #stop = new AbortController();
  /** @type {Set<string>}  holds of blocks that are settling at this moment */
  #own = new Set();
  #woken = false;
  #wake = () => {};

  /**
   * Take the folder, and begin to send what an earlier process left in it. Throws CaptureSpoolInUse.
   *
   * @param {string} folder
   * @param {string} source
   * @param {import("./calls.js").Api} api
   * @param {import("./client.js").Log} log
   */
  constructor(folder, source, api, log) {
    mkdirSync(folder, { recursive: true });
    this.source = source;
    this.#folder = folder;
    this.#api = api;
    this.#log = log;
    this.#lock = new Lock(folder, (why) => new CaptureSpoolInUse(why));
    this.#running = this.#run();
  }

  /**
   * It is on the disk when this returns; whoever keeps it tries to settle it first.
   *
   * @param {Settlement} work
   */
  async keep(work) {
    this.#own.add(work.hold);
    const partly = join(this.#folder, `${work.hold}.part`);
    const file = await open(partly, "w");
    try {
      await file.writeFile(JSON.stringify(work));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partly, this.#path(work.hold));
    const folder = await open(this.#folder); // its names, too
    await folder.sync().finally(() => folder.close());
  }

  /**
   * Settle what was kept: then it is taken, refused for good, or left for later. Throws as `settling` does.
   *
   * @template T
   * @param {string} hold
   * @param {() => Promise<T>} settling
   */
  async outcome(hold, settling) {
    try {
      const result = await settling();
      await rm(this.#path(hold), { force: true });
      return result;
    } catch (error) {
      // A token that does not count may be replaced by one that does: that is nothing against the work.
      if (error instanceof ApiError && !(error instanceof Unauthenticated)) await this.#putAside(hold, "refused");
      else this.#again();
      throw error;
    } finally {
      this.#own.delete(hold);
    }
  }

  /** How many wait. */
  pending() {
    return this.#waiting().length;
  }

  /** Let go of the folder. What waits is sent by the next client that opens it. */
  async close() {
    this.#stop.abort();
    this.#again();
    await this.#running;
    this.#lock.release();
  }

  /** @param {string} hold */
  #path(hold) {
    return join(this.#folder, `${hold}.json`);
  }

  /**
   * @param {string} hold
   * @param {"refused" | "damaged"} why
   */
  #putAside(hold, why) {
    return rename(this.#path(hold), join(this.#folder, `${hold}.${why}.json`));
  }

  #waiting() {
    const names = readdirSync(this.#folder).sort();
    return names.flatMap((name) => WAITING.exec(name)?.groups?.hold ?? []);
  }

  #again() {
    this.#woken = true;
    this.#wake();
  }

  async #run() {
    while (!this.#stop.signal.aborted) {
      this.#woken = false;
      let seconds = Number.POSITIVE_INFINITY;
      try {
        seconds = await this.#bring();
      } catch (error) {
        this.#log.error(`${this.#folder} can't be used: ${error}`);
        seconds = PAUSE_SECONDS;
      }
      await this.#sleep(seconds);
    }
  }

  /**
   * Until then, or until there is something to do. A program that has nothing else to do may end meanwhile.
   *
   * @param {number} seconds
   * @returns {Promise<void>}
   */
  async #sleep(seconds) {
    if (this.#woken) return;
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    await new Promise((resolve) => {
      this.#wake = () => resolve(null);
      if (seconds !== Number.POSITIVE_INFINITY) timer = setTimeout(resolve, seconds * 1000, null).unref();
    });
    clearTimeout(timer);
  }

  /** Send what waits, once each; gives the seconds until the next try, infinite where nothing is left. */
  async #bring() {
    for (const hold of this.#waiting()) {
      if (!this.#lock.isHeld()) return Number.POSITIVE_INFINITY; // another process took us for dead, and sends them
      if (this.#stop.signal.aborted || this.#own.has(hold)) continue;
      const work = await this.#read(hold);
      if (work === null) continue;
      try {
        await this.outcome(hold, () => settle(work, this.source, (call) => this.#api.send(call, 0, this.#stop.signal)));
      } catch (error) {
        if (error instanceof ApiError && !(error instanceof Unauthenticated)) {
          this.#log.error(`work under hold ${hold} was refused, and is kept in ${this.#folder}: ${error}`);
          continue;
        }
        this.#woken = false; // not at once
        if (!this.#stop.signal.aborted) this.#log.warn(`work under hold ${hold} waits in ${this.#folder}: ${error}`);
        const asked = error instanceof NoAnswer ? error.retryAfterSeconds : null;
        return Math.max(PAUSE_SECONDS, asked ?? 0);
      }
    }
    return Number.POSITIVE_INFINITY;
  }

  /**
   * What was kept; null where it can't be read, and is put aside.
   *
   * @param {string} hold
   * @returns {Promise<Settlement | null>}
   */
  async #read(hold) {
    const text = await readFile(this.#path(hold), "utf8");
    try {
      const work = JSON.parse(text);
      if (work?.hold === hold && Array.isArray(work.items)) return work;
    } catch {
      // as a file that is none of ours
    }
    await this.#putAside(hold, "damaged");
    this.#log.error(`work under hold ${hold} can't be read, and is kept in ${this.#folder}`);
    return null;
  }
}
