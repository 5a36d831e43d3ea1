/**
 * A feature service with @creditwell/client. On standard input: { url, token, team, source?, spool?, patienceSeconds?, trace?, does },
 * where `does` names what it does. Prints what came of it as JSON.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { Creditwell as InBrowsers } from "../../../deploy/client/typescript/src/index.js";
import { ApiError, Creditwell, CreditwellError } from "../../../deploy/client/typescript/src/node.js";

const { does, team, source, spool: folder, trace, ...about } = JSON.parse(readFileSync(0, "utf8"));
const options = { ...about, traceparent: () => trace };
/** @type {string[]} */
const said = [];
const log = { warn: (/** @type {string} */ message) => said.push(message), error: (/** @type {string} */ message) => said.push(message) };
const spool = folder && { source, spool: folder, log };
const credits = new Creditwell(does === "dies" ? options : { ...options, source, ...spool });
const FOUR_IMAGES = [{ feature: "ai_image.generate", quantity: "4", attributes: { tier: "standard" } }];
const work = { team, member: "mem_1", items: FOUR_IMAGES };

/**
 * The error that something ends in, by its name, status and code.
 *
 * @param {() => unknown} doing
 */
async function errorOf(doing) {
  try {
    await doing();
  } catch (error) {
    if (error instanceof ApiError) return [error.name, error.status, error.code];
    return [error instanceof Error ? error.name : error, error instanceof CreditwellError];
  }
  return null;
}

/**
 * @param {string} hold
 * @returns {{ method: "GET", path: string, answer?: { expires_at: string } }}
 */
const placed = (hold) => ({ method: "GET", path: `/v1/teams/${team}/holds/${hold}` });

async function nothingWaits() {
  while (credits.captures?.pending()) await wait(20);
}

/** @type {Record<string, () => Promise<unknown>>} */
const scenarios = {
  async block() {
    const seen = { captured: /** @type {unknown} */ (null), during: /** @type {unknown} */ (null) };
    /** @type {import("../../../deploy/client/typescript/src/node.js").Hold | undefined} */
    let kept;
    const result = await credits.hold(work, async (hold) => {
      kept = hold;
      seen.during = (await credits.balance(team)).held;
      hold.used(1);
      hold.used("2", { attributes: { tier: "high" } });
      return "answer";
    });
    const late = await errorOf(() => kept?.used(1));
    return { ...seen, captured: kept?.captured, result, late, after: await credits.balance(team) };
  },

  /** A call of a model, which is measured in several things. */
  async tokens() {
    const about = { feature: "ai_chat.answer", attributes: { model: "large" } };
    const items = [{ ...about, quantities: { input_token: "2000", output_token: "500" } }];
    const hold = await credits.hold({ team, member: "mem_1", items }, (hold) => {
      hold.used({ input_token: 1200, cached_input_token: 800n, output_token: "350" });
      return hold;
    });
    return [hold.credits, hold.captured?.captured];
  },

  async failures() {
    const left = [];
    for (const images of [0, 1]) {
      const fails = async () =>
        credits.hold(work, (hold) => {
          if (images) hold.used(images);
          throw new RangeError("the model failed");
        });
      left.push(await errorOf(fails), (await credits.balance(team)).total, (await credits.balance(team)).held);
    }
    return left;
  },

  async errors() {
    const tooMany = [{ feature: "ai_image.generate", quantity: "1000", attributes: { tier: "standard" } }];
    const never = () => {
      throw new Error("the callback ran");
    };
    const stranger = new Creditwell({ ...options, token: async () => "none" });
    const alone = new Creditwell({ ...options, url: "http://127.0.0.1:9", patienceSeconds: 0 });
    return {
      exhausted: await errorOf(() => credits.hold({ team, items: tooMany }, never)),
      affordable: [await credits.affordable(team, tooMany), await credits.affordable(team, FOUR_IMAGES)],
      unknown: await errorOf(() => credits.hold({ team, items: [{ feature: "ai_smell.generate", quantity: "1" }] }, never)),
      elsewhere: await errorOf(() => credits.balance("somebody_elses")),
      stranger: await errorOf(() => stranger.balance(team)),
      alone: await errorOf(() => alone.balance(team)),
      fraction: await errorOf(() => credits.hold(work, (hold) => hold.used(0.1 + 0.2))),
      unclear: await errorOf(() => credits.hold({ team, items: [...FOUR_IMAGES, ...FOUR_IMAGES] }, (hold) => hold.used(1))),
    };
  },

  async reads() {
    const kinds = [];
    for await (const entry of credits.activity(team, { days: 1 })) kinds.push(entry.type);
    return { kinds, topUp: await credits.topUp(team) };
  },

  async longer() {
    return credits.hold({ ...work, ttl: 5 }, async (hold) => {
      const ends = async () => (await credits.send(placed(hold.id))).expires_at;
      const first = await ends();
      while ((await ends()) === first) await wait(50);
      return true;
    });
  },

  /** One block, whatever the network does meanwhile, and then until nothing waits. */
  async once() {
    const hold = await credits.hold(work, (hold) => {
      hold.used(4);
      return hold;
    });
    await nothingWaits();
    return hold.captured;
  },

  /** Killed when it asks for a token to send the capture with. */
  async dies() {
    const token = () => {
      if (mortal.captures?.pending()) process.kill(process.pid, "SIGKILL");
      return options.token;
    };
    const mortal = new Creditwell({ ...options, ...spool, token });
    return mortal.hold(work, (hold) => hold.used(3));
  },

  async refused() {
    return errorOf(() => credits.hold(work, (hold) => hold.used(1, { feature: "ai_smell.generate" })));
  },

  async waits() {
    while (said.length === 0) await wait(20);
    return said;
  },

  async takes() {
    await nothingWaits();
    return credits.captures?.pending();
  },

  async spools() {
    const again = () => new Creditwell({ ...options, ...spool });
    const inUse = await errorOf(again);
    const input = JSON.stringify({ ...options, team, source, spool: folder, does: "takes" });
    const other = spawnSync(process.execPath, [fileURLToPath(import.meta.url)], { input, encoding: "utf8" });
    const inAnotherProcess = other.stderr.includes("CaptureSpoolInUse");
    await credits.close();
    const reopened = await errorOf(async () => again().close());
    const sourceless = await errorOf(() => new Creditwell({ ...options, spool: folder }));
    const inBrowsers = await errorOf(() => new InBrowsers({ ...options, ...spool }));
    return { inUse, inAnotherProcess, reopened, sourceless, inBrowsers };
  },
};

const done = await scenarios[does]?.();
await credits.close();
console.log(JSON.stringify(done));
