/**
 * Settlements on disk until the API has taken them, and what brings them there. Node only.
 *
 * A folder has a file for each: `ID.json` waits, `ID.refused.json` was refused for good, `ID.damaged.json` can't be read. The last two are
 * kept for a person to look at.
 */
export type Settlement = import("./settling.js").Settlement;
/** @type {import("./client.js").OpenCaptures} */
export declare function openCaptures({ spool, source }: import("./client.js").Options, api: import("./calls.js").Api, log: import("./client.js").Log): Captures;
/** A folder with a file for each settlement that the API has not taken. */
export declare class Captures {
    #private;
    source: string;
    /**
     * Take the folder, and begin to send what an earlier process left in it. Throws CaptureSpoolInUse.
     *
     * @param {string} folder
     * @param {string} source
     * @param {import("./calls.js").Api} api
     * @param {import("./client.js").Log} log
     */
    constructor(folder: string, source: string, api: import("./calls.js").Api, log: import("./client.js").Log);
    /**
     * It is on the disk when this returns; whoever keeps it tries to settle it first.
     *
     * @param {Settlement} work
     */
    keep(work: Settlement): Promise<void>;
    /**
     * Settle what was kept: then it is taken, refused for good, or left for later. Throws as `settling` does.
     *
     * @template T
     * @param {string} hold
     * @param {() => Promise<T>} settling
     */
    outcome<T>(hold: string, settling: () => Promise<T>): Promise<T>;
    /** How many wait. */
    pending(): number;
    /** Let go of the folder. What waits is sent by the next client that opens it. */
    close(): Promise<void>;
}
