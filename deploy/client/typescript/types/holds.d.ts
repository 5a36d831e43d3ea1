/** Credits set aside while a callback runs. */
export type Quantity = import("./quantities.js").Quantity;
export type Work = {
    team: string;
    /**
     * what it is expected to need
     */
    items: readonly import("./requests.js").Item[];
    member?: string;
    /**
     * seconds; the hold is made longer while the callback runs, up to 24 hours
     */
    ttl?: number;
};
export type Client = {
    send: <T>(call: import("./calls.js").ApiCall<T>, stop?: AbortSignal) => Promise<T>;
    source: string | null;
    captures: import("./captures.js").Captures | null;
    log: import("./client.js").Log;
};
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
export declare const TTL_SECONDS = 900;
/** Credits that are set aside. */
export declare class Hold {
    #private;
    id: string;
    /** What is set aside, a decimal text. */
    credits: string;
    /** @type {import("../types/bodies.js").Captured | null}  what the API answered when the work was captured */
    captured: import("../types/bodies.js").Captured | null;
    /**
     * @param {readonly import("./requests.js").Item[]} planned
     * @param {import("../types/bodies.js").Placed} placed
     */
    constructor(planned: readonly import("./requests.js").Item[], placed: import("../types/bodies.js").Placed);
    /**
     * Say what the work has used: one quantity, `used(12)`, or several by name, `used({ input_token: 900 })`. Say it as often as there is
     * something to say. Feature and attributes are those of the hold's only item unless told.
     *
     * Throws TypeError where that is no quantity, or it is not clear of which feature, and where the callback has ended.
     *
     * @param {Quantity | Record<string, Quantity>} quantity
     * @param {{ feature?: string, attributes?: Record<string, string> }} [of]
     */
    used(quantity: Quantity | Record<string, Quantity>, { feature, attributes }?: {
        feature?: string;
        attributes?: Record<string, string>;
    }): void;
    /**
     * Call this when the callback ends, while `used` is still heard: what is open says then what it knows.
     *
     * @param {() => void} tell
     */
    beforeEnd(tell: () => void): void;
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
export declare function holding<T>(client: Client, work: Work, run: (hold: Hold) => T | Promise<T>): Promise<T>;
