/** What a finished block of work comes to: a capture of its hold, or plain usage where the hold has expired. */

import { errorOf, HoldHasExpired } from "./errors.js";
import * as requests from "./requests.js";

/**
 * Work that was done. It counts once, however often it is settled: by `key` as a capture, by its ids as usage.
 *
 * @typedef {object} Settlement
 * @property {string} team
 * @property {string} hold
 * @property {string | null} member
 * @property {readonly import("./requests.js").Item[]} items
 * @property {string} at  when the work ended
 * @property {string} key
 */

/** @typedef {<T>(call: import("./calls.js").ApiCall<T>) => Promise<T>} Send */

/**
 * The capture; null where the hold has expired and the work is reported as usage of `source`.
 *
 * Throws ApiError, the API said no, and NoAnswer, it said nothing that counts in time: the same again is harmless.
 *
 * @param {Settlement} work
 * @param {string | null} source
 * @param {Send} send
 */
export async function settle(work, source, send) {
  try {
    return await send(requests.capture(work.team, work.hold, work.items, work.key));
  } catch (error) {
    if (source === null || !(error instanceof HoldHasExpired)) throw error;
  }
  const { results = [] } = (await send(requests.report(eventsOf(work, source)))) ?? {};
  for (const result of results) if (result.status >= 400) throw errorOf(result.status, result);
  return null;
}

/**
 * The same work as plain usage.
 *
 * @param {Settlement} work
 * @param {string} source
 */
function eventsOf({ team, hold, member, items, at }, source) {
  return items.map((item, number) => ({
    specversion: "1.0",
    type: "usage.reported.v1",
    source,
    id: `${hold}:${number}`,
    subject: team,
    time: at,
    data: { member_id: member, ...item },
  }));
}
