/**
 * One process for each folder, for as long as it lives.
 *
 * Node can't lock a file as `flock` does. So a process puts its own name into the folder first, and then looks for others that live: of two
 * that come at the same moment at least one sees the other. The name holds what no later process has again: the boot of the machine, the
 * pid, and when the process began. So a dead process holds nothing, also where its pid is given out again, as in a container.
 */

import { closeSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

import { CaptureSpoolInUse } from "./errors.js";

const NAME = /^lock-(?<boot>[0-9a-f-]*)-(?<pid>\d+)-(?<began>\d+)$/;

/**
 * Take the folder. Gives what lets go of it. Throws CaptureSpoolInUse.
 *
 * @param {string} folder
 */
export function take(folder) {
  const mine = nameOf(process.pid);
  const inUse = () => new CaptureSpoolInUse(`${folder}: another process has this spool; give each process one of its own`);
  try {
    closeSync(openSync(join(folder, mine), "wx"));
  } catch (error) {
    if (codeOf(error) === "EEXIST") throw inUse(); // another client of this very process
    throw error;
  }
  const release = () => rmSync(join(folder, mine), { force: true });
  for (const name of readdirSync(folder)) {
    if (name === mine || !NAME.test(name)) continue;
    if (isAlive(name)) {
      release();
      throw inUse();
    }
    rmSync(join(folder, name), { force: true });
  }
  return release;
}

/** @param {string} name */
function isAlive(name) {
  const pid = Number(NAME.exec(name)?.groups?.pid);
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
  if (process.platform !== "linux") return `lock--${pid}-${Math.round(performance.timeOrigin)}`;
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  let stat = "";
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return ""; // it has ended
  }
  // The name of the program is in parentheses, and may hold some itself; the 20th field after it is when the process began.
  return `lock-${boot}-${pid}-${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`;
}

/** @param {unknown} error */
function codeOf(error) {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
