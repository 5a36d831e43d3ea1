/**
 * Reports on disk until they have arrived: append-only files, one process at a time. Node only.
 *
 * What was appended survives the death of the process, because the kernel owns the pages; against a power failure, `fsync` says how long
 * the disk may lag behind. The folder holds:
 *
 *     00000000000000000007.jsonl    reports in the order in which they came, one a line: CRC-32, milliseconds since 1970, event
 *     delivered                     up to where everything has arrived: number of the file, offset, CRC-32
 *     refused.jsonl                 what the API will never take
 *
 * Nothing is thrown away before it has arrived. What can't be read (a torn end after a power failure, a rotten disk) stays in a file that
 * ends in `.damaged`.
 */

import * as fs from "node:fs";
import { join } from "node:path";

import { SpoolClosed, SpoolFull, SpoolInUse } from "./errors.js";
import { Lock } from "./lock.js";

/** @typedef {"always" | "interval" | "never"} Fsync */
/** @typedef {{ number: number, path: string, file: number, end: number, damaged: boolean }} Segment */
/** @typedef {{ events: object[], segment: number, end: number }} Batch  the oldest that have not arrived, and the place after them */

const SEGMENT_BYTES = 4 * 1024 * 1024;
const READ_BYTES = 64 * 1024;
const SYNC_MS = 100;
const NEWLINE = 10;
const NAME = /^(\d{20})\.jsonl$/;

/** A folder of undelivered reports. */
export class Spool {
  #lock;
  #maxBytes;
  #fsync;
  #delivered;
  /** @type {Segment[]}  the last one is written to, where it is ours */
  #segments = [];
  #ours = false;
  #offset = 0; // up to here the first segment is delivered
  #next = 1;
  #left = 0; // what an earlier process left
  #dirty = false;
  #isOpen = true;
  appended = 0; // since it was opened
  dropped = 0; // since it was opened
  damaged = 0; // files that could not be read to their end

  /**
   * Open a folder, made if need be, and find what an earlier process left in it. Throws SpoolInUse.
   *
   * @param {string} folder
   * @param {number} maxBytes
   * @param {Fsync} fsync
   */
  constructor(folder, maxBytes, fsync) {
    fs.mkdirSync(folder, { recursive: true });
    this.folder = folder;
    this.#maxBytes = maxBytes;
    this.#fsync = fsync;
    this.#lock = new Lock(folder, (why) => new SpoolInUse(why));
    try {
      this.#delivered = fs.openSync(join(folder, "delivered"), fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
      this.#findLeftovers();
    } catch (error) {
      this.#lock.release();
      throw error;
    }
  }

  /**
   * Keep an event. When this returns, it survives the death of the process. Throws SpoolFull and SpoolClosed.
   *
   * @param {object} event
   */
  append(event) {
    if (!this.#isOpen || !this.#lock.isHeld()) throw new SpoolClosed(`the spool ${this.folder} is closed, or another process has taken it`);
    const line = lineOf(event, Date.now());
    const used = this.#segments.reduce((sum, { end }) => sum + end, 0);
    if (used + line.length > this.#maxBytes) {
      throw new SpoolFull(
        `${this.pending()} reports wait in ${this.folder}, which may hold ${this.#maxBytes} bytes: report again when some are sent`,
      );
    }
    try {
      this.#write(this.#writable(), line);
    } catch (error) {
      throw new SpoolFull(`${this.pending()} reports wait; ${this.folder} takes no more: ${error}`, { cause: error });
    }
    this.appended += 1;
    this.#syncSoon();
  }

  /** How many have not arrived yet. */
  pending() {
    return this.#left + this.appended - this.dropped;
  }

  /** How many there ever were in it, to wait for. */
  goal() {
    return this.#left + this.appended;
  }

  /** When the oldest of them was spooled, in milliseconds since 1970; null where none waits. */
  oldest() {
    return this.#read(1, 1)?.spooledAt ?? null;
  }

  /**
   * The oldest that have not arrived, one at least if there are any; the same again until they are dropped.
   *
   * @param {number} eventsMax
   * @param {number} bytesMax
   * @returns {Batch | null}
   */
  peek(eventsMax, bytesMax) {
    return this.#isOpen && this.#lock.isHeld() ? this.#read(eventsMax, bytesMax) : null;
  }

  /**
   * They have arrived: write it down.
   *
   * @param {Batch} batch
   */
  drop({ events, segment, end }) {
    if (!this.#isOpen || !this.#lock.isHeld()) return;
    const place = `${segment} ${end}`;
    fs.writeSync(this.#delivered, `${place} ${checksum(place)}`.padEnd(64), 0);
    this.#offset = end;
    this.dropped += events.length;
  }

  /**
   * Keep events that the API will never take beside the spool: a line for each, with why; after a crash perhaps two.
   *
   * @param {readonly object[]} refused
   */
  keepRefused(refused) {
    const file = fs.openSync(join(this.folder, "refused.jsonl"), "a", 0o600);
    try {
      for (const one of refused) fs.writeSync(file, `${JSON.stringify({ refused_at: new Date().toISOString(), ...one })}\n`);
      fs.fsyncSync(file);
    } finally {
      fs.closeSync(file);
    }
  }

  /** Leave what is undelivered for the next process. */
  close() {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    while (this.#segments.length && this.#offset >= (this.#segments[0]?.end ?? 0)) this.#removeFirst();
    for (const { file } of this.#segments.splice(0)) fs.closeSync(file);
    fs.closeSync(this.#delivered);
    this.#lock.release();
  }

  /** @returns {Segment} */
  #writable() {
    const last = this.#segments.at(-1);
    if (last && this.#ours && last.end < SEGMENT_BYTES) return last;
    const number = this.#next;
    const path = join(this.folder, `${String(number).padStart(20, "0")}.jsonl`);
    const made = { number, path, file: fs.openSync(path, "wx+", 0o600), end: 0, damaged: false };
    if (this.#fsync !== "never") syncFolder(this.folder);
    this.#next += 1;
    this.#ours = true;
    this.#segments.push(made);
    return made;
  }

  /**
   * All of it or nothing: until `end` says so it is not there, and the next one is written over it.
   *
   * @param {Segment} segment
   * @param {Buffer} line
   */
  #write(segment, line) {
    try {
      for (let done = 0; done < line.length; ) done += fs.writeSync(segment.file, line, done, line.length - done, segment.end + done);
      if (this.#fsync === "always") fs.fdatasyncSync(segment.file);
    } catch (error) {
      try {
        fs.ftruncateSync(segment.file, segment.end);
      } catch {
        // the next one is written over it
      }
      throw error;
    }
    segment.end += line.length;
  }

  #syncSoon() {
    if (this.#fsync !== "interval" || this.#dirty) return;
    this.#dirty = true;
    setTimeout(() => {
      this.#dirty = false;
      const last = this.#segments.at(-1);
      if (this.#isOpen && last) fs.fdatasync(last.file, () => {}); // a disk that fails shows when it is written to
    }, SYNC_MS).unref();
  }

  /**
   * @param {number} eventsMax
   * @param {number} bytesMax
   */
  #read(eventsMax, bytesMax) {
    while (this.#segments.length > 1 && this.#offset >= (this.#segments[0]?.end ?? 0)) this.#removeFirst();
    const first = this.#segments[0];
    if (!first || this.#offset >= first.end) return null;
    const events = [];
    let end = this.#offset;
    let spooledAt = 0;
    for (const { line, after } of linesOf(first, this.#offset)) {
      if (events.length && (events.length >= eventsMax || after - this.#offset > bytesMax)) break;
      const read = parsed(line);
      if (read !== null) {
        events.push(read.event);
        spooledAt ||= read.spooledAt;
      }
      end = after;
    }
    return { events, segment: first.number, end, spooledAt };
  }

  #removeFirst() {
    const first = /** @type {Segment} */ (this.#segments.shift());
    fs.closeSync(first.file);
    if (first.damaged) fs.renameSync(first.path, first.path.replace(/jsonl$/, "damaged"));
    else fs.rmSync(first.path);
    this.#offset = 0;
    if (this.#segments.length === 0) this.#ours = false;
  }

  #findLeftovers() {
    const { number: delivered, offset } = this.#place();
    this.#next = delivered + 1;
    for (const name of fs.readdirSync(this.folder).sort()) {
      const number = Number(NAME.exec(name)?.[1]);
      if (!number) continue;
      const path = join(this.folder, name);
      const file = fs.openSync(path, "r");
      const segment = { number, path, file, end: fs.fstatSync(file).size, damaged: false };
      const start = number === delivered ? Math.min(offset, segment.end) : 0;
      if (number < delivered || start === segment.end) {
        fs.closeSync(file);
        fs.rmSync(path);
        continue;
      }
      if (this.#segments.length === 0) this.#offset = start;
      this.#left += whole(segment, start);
      this.damaged += Number(segment.damaged);
      this.#segments.push(segment);
      this.#next = Math.max(this.#next, number + 1);
    }
  }

  /** Up to where an earlier process delivered; the very beginning if that can't be read. */
  #place() {
    const [number = "", offset = "", sum] = fs.readFileSync(this.#delivered, "utf8").trim().split(" ");
    return sum === checksum(`${number} ${offset}`) ? { number: Number(number), offset: Number(offset) } : { number: 0, offset: 0 };
  }
}

/**
 * How many events of a file that an earlier process left can be read; it ends with its last whole line.
 *
 * @param {Segment} segment
 * @param {number} start
 */
function whole(segment, start) {
  let [count, end] = [0, start];
  for (const { line, after } of linesOf(segment, start)) {
    if (parsed(line) === null) segment.damaged = true;
    else count += 1;
    end = after;
  }
  segment.damaged ||= end < segment.end;
  segment.end = end;
  return count;
}

/**
 * The lines of a file from an offset on, each with the offset after it.
 *
 * @param {Segment} segment
 * @param {number} offset
 */
function* linesOf({ file, end }, offset) {
  let rest = Buffer.alloc(0);
  for (let at = offset; at < end; ) {
    const chunk = Buffer.alloc(Math.min(READ_BYTES, end - at));
    const count = fs.readSync(file, chunk, 0, chunk.length, at);
    if (count === 0) return;
    at += count;
    rest = Buffer.concat([rest, chunk.subarray(0, count)]);
    for (let stop = rest.indexOf(NEWLINE); stop >= 0; stop = rest.indexOf(NEWLINE)) {
      const line = rest.subarray(0, stop);
      rest = rest.subarray(stop + 1);
      yield { line: line.toString("utf8"), after: at - rest.length };
    }
  }
}

/**
 * @param {object} event
 * @param {number} now
 */
function lineOf(event, now) {
  const said = `${now} ${JSON.stringify(event)}`;
  return Buffer.from(`${checksum(said)} ${said}\n`);
}

/**
 * What a line says; null where it is not as it was written.
 *
 * @param {string} line
 */
function parsed(line) {
  const said = line.slice(9);
  if (line.slice(0, 8) !== checksum(said)) return null;
  const space = said.indexOf(" ");
  return { spooledAt: Number(said.slice(0, space)), event: /** @type {object} */ (JSON.parse(said.slice(space + 1))) };
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? (remainder >>> 1) ^ 0xedb88320 : remainder >>> 1;
  return remainder;
});

/**
 * CRC-32 in hex: Node has one of its own from 20.15 and 22.2 on.
 *
 * @param {string} text
 */
function checksum(text) {
  let sum = 0xffffffff;
  for (const byte of Buffer.from(text)) sum = (TABLE[(sum ^ byte) & 0xff] ?? 0) ^ (sum >>> 8);
  return ((sum ^ 0xffffffff) >>> 0).toString(16).padStart(8, "0");
}

/** @param {string} folder */
function syncFolder(folder) {
  const file = fs.openSync(folder, "r");
  try {
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
}
