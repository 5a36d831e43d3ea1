/**
 * One process for each folder, for as long as it lives.
 *
 * Node can't lock a file as `flock` does. So a process puts its own name into the folder first, and then looks for others that live: of two
 * that come at the same moment at least one sees the other. The name holds what no later process has again: the boot of the machine, where
 * its pid counts (its namespace: each container has one), the pid, and when the process began. So a dead process holds nothing, also where
 * its pid is given out again.
 *
 * Whether a process of another container or machine lives can't be seen. It says so: it touches its name every few seconds, and the clock
 * of the disk tells how long ago that was. One that has said nothing for a while holds the folder no longer, and finds out before it goes on.
 */

import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";

const NAME = /^lock-(?<boot>[0-9a-f-]*)-(?<space>\d*)-(?<pid>\d+)-(?<began>\d+)$/;
const BEAT_SECONDS = 5;
const SILENT_SECONDS = 30;

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
      const now = new Date();
      utimesSync(this.#path, now, now);
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
    if (boot === own?.boot && space === own?.space) {
      if (isAlive(name, Number(pid))) return `process ${pid}`;
    } else {
      const seconds = silentSeconds(join(folder, name), now);
      if (seconds < SILENT_SECONDS) {
        const ago = Math.max(0, Math.round(seconds));
        return `a process of another container or machine, which was there ${ago} s ago and counts for ${SILENT_SECONDS} s`;
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
 * @param {string} name
 * @param {number} pid
 */
function isAlive(name, pid) {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (codeOf(error) === "ESRCH") return false; // any other error: it is there, and belongs to somebody else
  }
  // Without /proc (macOS) the pid is all there is to go by, save for our own.
  return process.platform !== "linux" && pid !== process.pid ? true : nameOf(pid) === name;
}

/** @param {number} pid */
function nameOf(pid) {
  if (process.platform !== "linux") return `lock---${pid}-${Math.round(performance.timeOrigin)}`;
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  const space = /\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? "";
  let stat = "";
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return ""; // it has ended
  }
  // The name of the program is in parentheses, and may hold some itself; the 20th field after it is when the process began.
  return `lock-${boot}-${space}-${pid}-${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`;
}

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
