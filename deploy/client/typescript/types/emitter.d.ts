/**
 * How a service in Node reports usage without a hold: nothing that was reported is ever lost.
 *
 *     import { Emitter } from "@creditwell/client/emitter";
 *
 *     const usage = new Emitter({ url, token, source: "/features/video", spool: "/var/spool/creditwell-usage/0" });
 *     const receipt = usage.report({ team: "team_42", feature: "ai_video.generate", quantity: "12.5", attributes: { tier: "high" } });
 *     usage.void({ team: "team_42", usage: receipt, reason: "the clip was unusable" });
 *
 * A report is written to the spool, and that is all the caller waits for. It goes to `POST /v1/usage` from there: while the API is away
 * reports wait on disk, and after a crash they are sent again with the same ids. At least once, and Creditwell counts each once.
 */
export { SpoolClosed, SpoolFull, SpoolInUse } from "./errors.js";
export type Quantity = import("./quantities.js").Quantity;
export type UsageReceipt = {
    team: string;
    source: string;
    id: string;
    at: Date;
};
export type EmitterOptions = {
    /**
     * where the API is
     */
    url: string;
    /**
     * of role service: a text, or a function that has a fresh one, called for each request
     */
    token: import("./calls.js").Token;
    /**
     * of your service, such as /features/video
     */
    source: string;
    /**
     * a folder on the disk of this machine or container; one process at a time has it
     */
    spool: string;
    /**
     * 256 MiB unless told; then `report` throws SpoolFull
     */
    spoolMaxBytes?: number;
    /**
     * what a power failure may take: with "interval" the last 100 ms, with "always" nothing, at
     * the price of waiting for the disk, with "never" what the kernel had not written. The death of the process takes nothing
     */
    fsync?: import("./spool.js").Fsync;
    /**
     * the console unless told
     */
    log?: import("./client.js").Log;
};
export type Measured = {
    quantity?: Quantity | undefined;
    quantities?: Record<string, Quantity> | undefined;
};
export type Report = {
    team: string;
    at?: Date;
    id?: string;
};
export type Taking = Report & {
    usage: UsageReceipt | string;
    reason: string;
};
export type EmitterMetrics = {
    /**
     * since it was made
     */
    reported: number;
    /**
     * those that an earlier process left, too
     */
    delivered: number;
    /**
     * what the API will never take, in refused.jsonl beside the spool
     */
    putAside: number;
    /**
     * waiting now
     */
    spooled: number;
    /**
     * files of the spool that could not be read to their end
     */
    damaged: number;
    /**
     * of those waiting
     */
    oldestAgeSeconds: number | null;
    /**
     * why none is taken
     */
    trouble: string | null;
};
/** Reports usage of one source. */
export declare class Emitter {
    #private;
    /**
     * Open the spool, and begin to send what an earlier process left in it. The API need not be there.
     *
     * Throws SpoolInUse where another process has the spool, and TypeError for what is no source or no folder.
     *
     * @param {EmitterOptions} options
     */
    constructor({ url, token, source, spool, spoolMaxBytes, fsync, log }: EmitterOptions);
    /**
     * Say that a feature did paid work for a team. Returns at once; from then on it can't be lost.
     *
     * Throws TypeError where an argument is wrong, SpoolFull where nothing was taken for so long that there is no room, and SpoolClosed.
     *
     * `traceparent` is the W3C trace context of the work, which is carried on to what comes of it.
     *
     * @param {Report & Measured & { feature: string, member?: string | undefined, attributes?: Record<string, string> | undefined,
     *   hold?: string | undefined, traceparent?: string | undefined }} used
     * @returns {UsageReceipt}
     */
    report({ feature, member, attributes, hold, quantity, quantities, traceparent, ...about }: Report & Measured & {
        feature: string;
        member?: string | undefined;
        attributes?: Record<string, string> | undefined;
        hold?: string | undefined;
        traceparent?: string | undefined;
    }): UsageReceipt;
    /**
     * Take a usage back: its credits return. Throws as `report`.
     *
     * @param {Taking} taking
     * @returns {UsageReceipt}
     */
    void({ usage, reason, ...about }: Taking): UsageReceipt;
    /**
     * Say how much a usage really was. The receipt is the new usage's. Throws as `report`.
     *
     * @param {Taking & Measured} taking
     * @returns {UsageReceipt}
     */
    amend({ usage, reason, quantity, quantities, ...about }: Taking & Measured): UsageReceipt;
    /**
     * Wait until everything that was reported before this call has arrived; false if it has not in time.
     *
     * @param {{ timeoutSeconds?: number }} [options]
     * @returns {Promise<boolean>}
     */
    flush({ timeoutSeconds }?: {
        timeoutSeconds?: number;
    }): Promise<boolean>;
    /**
     * Flush, and let go of the spool; false where reports remain, which the next emitter of this spool sends. Call it at the program's end:
     * while nothing else is to be done, a program ends though reports wait.
     *
     * @param {{ timeoutSeconds?: number }} [options]
     * @returns {Promise<boolean>}
     */
    close({ timeoutSeconds }?: {
        timeoutSeconds?: number;
    }): Promise<boolean>;
    /** @returns {EmitterMetrics}  what it did and what waits */
    metrics(): EmitterMetrics;
}
