/** What Node imports: the same as index.js, with a spool. */

import { openCaptures } from "./captures.js";
import { Creditwell as WithoutSpool } from "./client.js";

export * from "./index.js";

/** As in index.js. */
export class Creditwell extends WithoutSpool {
  /** @param {import("./client.js").Options} options */
  constructor(options) {
    super(options, openCaptures);
  }
}
