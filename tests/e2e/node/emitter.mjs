/**
 * A feature service with the emitter of @creditwell/client. On standard input: { url, token, team, source, spool, does, count? }, where
 * `does` names what it does. Prints what came of it as JSON, a line for each thing.
 */
import fs, { readFileSync, writeSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { setTimeout as wait } from "node:timers/promises";

import { Emitter, SpoolFull } from "../../../deploy/client/typescript/src/emitter.js";

const { does, team, count = 1, tokens, ...options } = JSON.parse(readFileSync(0, "utf8"));
/** @type {string[]} */
const said = [];
const log = { warn: (/** @type {string} */ message) => said.push(message), error: (/** @type {string} */ message) => said.push(message) };
const token = tokens ? () => (usage.metrics().trouble === null ? tokens[0] : tokens[1]) : options.token;
const usage = new Emitter({ ...options, token, log });
const IMAGE = { team, feature: "ai_image.generate", quantity: 1, attributes: { tier: "standard" } };
const say = (/** @type {unknown} */ what) => writeSync(1, `${JSON.stringify(what)}\n`);
const reportSome = () => Array.from({ length: count }, () => usage.report(IMAGE).id);

/** @type {Record<string, () => unknown>} */
const scenarios = {
  async reports() {
    const ids = reportSome();
    const call = usage.report({
      team,
      feature: "ai_chat.answer",
      member: "mem_1",
      quantities: { input_token: 1200, output_token: 350n },
      id: "call",
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    usage.amend({ team, usage: call, quantities: { input_token: "1100" }, reason: "the stream broke off", id: "fix" });
    usage.void({ team, usage: ids[0] ?? "", reason: "no image came", id: "void" });
    await usage.flush();
    return { ids, metrics: usage.metrics() };
  },

  /** Says each id once it is reported; somebody kills it. */
  async forever() {
    for (;;) {
      say(usage.report(IMAGE).id);
      if (usage.metrics().reported % 50 === 0) await wait(1); // let the sender work, too
    }
  },

  /** Reports while the API is there, while it is away, and until all has arrived. */
  async through() {
    const ids = reportSome();
    await usage.flush();
    say("ready");
    while (said.length === 0) {
      ids.push(usage.report(IMAGE).id);
      await wait(20);
    }
    ids.push(...reportSome());
    say("away");
    const arrived = await usage.flush();
    return { ids, arrived, trouble: usage.metrics().trouble };
  },

  /** The disk takes half of a report, and no more; then it has room again. */
  async full() {
    const [first] = reportSome();
    const { writeSync: really } = fs;
    fs.writeSync = /** @type {typeof fs.writeSync} */ (
      (/** @type {number} */ file, /** @type {Buffer} */ line, /** @type {number} */ from, /** @type {number} */ _, /** @type {number} */ at) => {
        if (from > 0) throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
        return really(file, line, from, Math.floor(line.length / 2), at);
      }
    );
    syncBuiltinESMExports();
    let error;
    try {
      usage.report({ ...IMAGE, id: "no-room" });
    } catch (thrown) {
      error = thrown;
    }
    fs.writeSync = really;
    syncBuiltinESMExports();
    const [second] = reportSome();
    await usage.flush();
    return { ids: [first, second], error: [error instanceof SpoolFull, String(error)], metrics: usage.metrics() };
  },

  /** Until nothing waits. */
  async takes() {
    await usage.flush();
    return usage.metrics();
  },

  /** What nobody would take, by the words that say so. */
  async wrong() {
    const wrongs = [
      () => usage.report({ ...IMAGE, quantity: 0.1 }),
      () => usage.report({ ...IMAGE, quantity: "1e3" }),
      () => usage.report({ ...IMAGE, quantity: 0 }),
      () => usage.report({ ...IMAGE, quantities: { token: 1 } }),
      () => usage.report({ ...IMAGE, feature: "" }),
      () => usage.void({ team: "another", usage: { team, source: options.source, id: "1", at: new Date() }, reason: "no" }),
      () => usage.void({ team, usage: "1", reason: " " }),
    ];
    return wrongs.map((doing) => {
      try {
        return doing();
      } catch (error) {
        return error instanceof TypeError && error.message.split(":")[0];
      }
    });
  },

  /** Reports, and leaves it to the next one. */
  async leaves() {
    const ids = reportSome();
    ids.push(usage.report({ ...IMAGE, team: "somebody_elses", id: "not-ours" }).id);
    await usage.close({ timeoutSeconds: 0 });
    return ids;
  },
};

say(await scenarios[does]?.());
await usage.close();
