/** What Node imports: the same as index.js, with a spool. */
import { Creditwell as WithoutSpool } from "./client.js";
export * from "./index.js";
/** As in index.js. */
export declare class Creditwell extends WithoutSpool {
    /** @param {import("./client.js").Options} options */
    constructor(options: import("./client.js").Options);
}
