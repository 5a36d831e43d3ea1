/** What a finished block of work comes to: a capture of its hold, or plain usage where the hold has expired. */
export type Settlement = {
    team: string;
    hold: string;
    member: string | null;
    items: readonly import("./requests.js").Item[];
    /**
     * when the work ended
     */
    at: string;
    key: string;
};
export type Send = <T>(call: import("./calls.js").ApiCall<T>) => Promise<T>;
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
export declare function settle(work: Settlement, source: string | null, send: Send): Promise<import("../types/bodies.js").Captured | null>;
