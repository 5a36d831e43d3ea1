/** The client. */
import { Api } from "./calls.js";
export type Log = {
    warn: (message: string) => void;
    error: (message: string) => void;
};
export type Options = {
    /**
     * where the API is
     */
    url: string;
    /**
     * a text, or a function that has a fresh one at hand: it is called for each request
     */
    token: import("./calls.js").Token;
    /**
     * of your service: work whose hold has expired meanwhile is reported as plain usage of it. Without a source
     * its block throws HoldHasExpired
     */
    source?: string;
    /**
     * a folder for captures that the API has not taken yet, in Node. It needs a `source`. A spool belongs to one
     * process at a time
     */
    spool?: string;
    /**
     * how long a call is sent again while no answer counts
     */
    patienceSeconds?: number;
    /**
     * the console unless told
     */
    log?: Log;
    /**
     * the W3C trace context of whoever asks, for each call; the API carries it on
     */
    traceparent?: () => string | undefined;
};
export type OpenCaptures = (options: Options, api: Api, log: Log) => import("./captures.js").Captures;
/** Creditwell. One for each process is enough. */
export declare class Creditwell {
    #private;
    log: Console | Log;
    source: string | null;
    captures: import("./captures.js").Captures | null;
    /**
     * Throws TypeError for a spool without a source, and CaptureSpoolInUse where another process has it.
     *
     * @param {Options} options
     * @param {OpenCaptures} [openCaptures]  Node's own
     */
    constructor(options: Options, openCaptures?: OpenCaptures);
    /**
     * Send a call, again where that helps. Throws ApiError, the API said no, and NoAnswer, no answer that counts came in time. So do all
     * methods.
     *
     * @template T
     * @param {import("./calls.js").ApiCall<T>} call
     * @param {AbortSignal} [stop]
     * @returns {Promise<T>}
     */
    send: <T>(call: import("./calls.js").ApiCall<T>, stop?: AbortSignal) => Promise<T>;
    /**
     * What a team has. `atLeast`: a position that the answer must know.
     *
     * @param {string} team
     * @param {{ atLeast?: string }} [options]
     */
    balance(team: string, { atLeast }?: {
        atLeast?: string;
    }): Promise<import("../types/bodies.js").Balance>;
    /**
     * What work would cost, and whether the team may do it.
     *
     * @param {string} team
     * @param {readonly import("./requests.js").Item[]} items
     */
    quote(team: string, items: readonly import("./requests.js").Item[]): Promise<import("../types/bodies.js").Quote>;
    /**
     * Whether the team may do the work, as of the last second: quick, and no promise. A hold is one.
     *
     * @param {string} team
     * @param {readonly import("./requests.js").Item[]} items
     * @param {{ maxAgeSeconds?: number }} [options]
     */
    affordable(team: string, items: readonly import("./requests.js").Item[], { maxAgeSeconds }?: {
        maxAgeSeconds?: number;
    }): Promise<boolean>;
    /**
     * The credit activity, newest first, page after page: `for await (const entry of credits.activity(team))`.
     *
     * @param {string} team
     * @param {{ days?: number }} [options]
     */
    activity(team: string, { days }?: {
        days?: number;
    }): AsyncGenerator<import("../types/bodies.js").ActivityItem, void, unknown>;
    /**
     * What became of a usage.
     *
     * @param {string} team
     * @param {{ source: string, id: string }} usage
     */
    receipt(team: string, { source, id }: {
        source: string;
        id: string;
    }): Promise<import("../types/bodies.js").Receipt>;
    /**
     * The settings of automatic top-ups, and how they stand.
     *
     * @param {string} team
     */
    topUp(team: string): Promise<import("../types/bodies.js").TopUp>;
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
    hold<T>(work: import("./holds.js").Work, run: (hold: import("./holds.js").Hold) => T | Promise<T>): Promise<T>;
    /** Let go of the spool. What waits in it is sent by the next client that opens it. */
    close(): Promise<void>;
}
