/**
 * One process for each folder, for as long as it lives.
 *
 * Node can't lock a file as `flock` does. So a process puts its own name into the folder first, and then looks for others that live: of two
 * that come at the same moment at least one sees the other. The name holds what no later process has again: the boot of the machine, where
 * its pid counts (its namespace: each container has one), the pid, and when the process began. So a dead process holds nothing, also where
 * its pid is given out again.
 *
 * Whether a process of another container or machine lives can't be seen. It says so: it opens its file anew every few seconds, and the clock
 * of the disk tells how long ago that was. One that has said nothing for a while holds the folder no longer, and finds out before it goes on.
 */

import { randomUUID } from "node:crypto";
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

const NAME = /^lock-(?<boot>[0-9a-f-]*)-(?<space>\d*)-(?<pid>\d+)-(?<began>\d+)$/;
const BEAT_SECONDS = 5;
const SILENT_SECONDS = 30;
const ENDED = new Set(["Z", "X"]); // a parent that does not wait for it keeps its pid, as many a container's first process does
const [BOOT, SPACE] = where();

/** A folder that this process has. */
export class Lock {
  #path;
  #beating;
  #beaten = performance.now();
  #lost = false;

  /**
   * Take the folder.
   *
   * @param {string} folder
   * @param {(why: string) => Error} inUse  what is thrown where somebody else has it
   */
  constructor(folder, inUse) {
    const mine = nameOf(process.pid);
    this.#path = join(folder, mine);
    try {
      closeSync(openSync(this.#path, "wx"));
    } catch (error) {
      if (codeOf(error) === "EEXIST") throw inUse(`${folder} is in use by this very process: one client for each folder`);
      throw error;
    }
    const holder = othersIn(folder, mine);
    if (holder !== null) {
      rmSync(this.#path, { force: true });
      throw inUse(`${folder} is in use by ${holder}: give each process a folder of its own`);
    }
    this.#beating = setInterval(() => this.isHeld(), BEAT_SECONDS * 1000).unref();
  }

  /** True while the folder is ours. It may not be any more where this process was stopped for long: then leave it alone. */
  isHeld() {
    const since = (performance.now() - this.#beaten) / 1000;
    if (since < BEAT_SECONDS || this.#lost) return !this.#lost;
    try {
      closeSync(openSync(this.#path, constants.O_WRONLY | constants.O_TRUNC)); // its time is the disk's, not that of our clock
      this.#beaten = performance.now();
    } catch (error) {
      this.#lost = codeOf(error) === "ENOENT"; // somebody took us for dead; a disk that fails takes nothing away
    }
    return !this.#lost;
  }

  /** Let go of it. */
  release() {
    clearInterval(this.#beating);
    rmSync(this.#path, { force: true });
  }
}

/**
 * Who else has the folder, in words; the names of the dead are taken out.
 *
 * @param {string} folder
 * @param {string} mine
 * @returns {string | null}
 */
function othersIn(folder, mine) {
  const now = statSync(join(folder, mine)).mtimeMs; // by the clock of the disk, as the others' are
  for (const name of readdirSync(folder)) {
    const { pid, space, boot } = NAME.exec(name)?.groups ?? {};
    if (name === mine || pid === undefined) continue;
    const own = NAME.exec(mine)?.groups;
    const alive = boot === own?.boot && space === own?.space ? isAlive(name, Number(pid)) : null;
    if (alive) return `process ${pid}`;
    if (alive === null) {
      const seconds = silentSeconds(join(folder, name), now);
      if (seconds < SILENT_SECONDS) {
        const ago = Math.max(0, Math.round(seconds));
        return `a process of another container, machine or user, which was there ${ago} s ago and counts for ${SILENT_SECONDS} s`;
      }
    }
    rmSync(join(folder, name), { force: true });
  }
  return null;
}

/**
 * @param {string} path
 * @param {number} now
 */
function silentSeconds(path, now) {
  try {
    return (now - statSync(path).mtimeMs) / 1000;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return Number.POSITIVE_INFINITY; // it has let go
    throw error;
  }
}

/**
 * Whether a process where we are lives; null where that can't be seen.
 *
 * @param {string} name
 * @param {number} pid
 * @returns {boolean | null}
 */
function isAlive(name, pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) === "ESRCH") return false; // any other error: it is there, and belongs to somebody else
  }
  // Without /proc (macOS) the pid is all there is to go by, save for our own.
  if (process.platform !== "linux") return pid !== process.pid || nameOf(pid) === name;
  const its = statOf(pid);
  if (its === null) return null; // of another user, where /proc hides those
  return !ENDED.has(its.state) && nameOf(pid, its.began) === name;
}

/**
 * @param {number} pid
 * @param {string} [began]
 */
function nameOf(pid, began = statOf(pid)?.began ?? "0") {
  if (process.platform !== "linux") return `lock---${pid}-${Math.round(performance.timeOrigin)}`;
  return `lock-${BOOT}-${SPACE}-${pid}-${began}`;
}

/** Which boot of which machine this is, and which namespace of pids. Where that can't be seen nobody else is taken for a neighbour. */
function where() {
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    return [boot, /\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? ""];
  } catch {
    return [randomUUID(), "0"];
  }
}

/**
 * How a process is and when it began; null where /proc does not show it.
 *
 * @param {number} pid
 */
function statOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name of the program is in parentheses, and may hold some itself; the 20th field after it is when the process began.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0] ?? "", began: fields[19] ?? "" };
  } catch {
    return null;
  }
}

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
