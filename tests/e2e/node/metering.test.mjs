/** The middleware of @creditwell/client with the real AI SDK and its providers of OpenAI and Anthropic; their HTTP is tests/vectors/answers. */
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText, wrapLanguageModel } from "ai";

import { metering } from "../../../deploy/client/typescript/src/index.js";

/** @typedef {{ call: string, status?: number, fails?: boolean, body?: any, events?: any[], quantities: Record<string, number> }} Vector */

/**
 * @param {string} provider
 * @returns {Record<string, Vector>}
 */
const vectors = (provider) => JSON.parse(readFileSync(new URL(`../../vectors/answers/${provider}.json`, import.meta.url), "utf8"));
const OPENAI = vectors("openai");
const ANTHROPIC = vectors("anthropic");
const REFUSED = { call: "chat", status: 400, body: { error: { message: "no" } }, quantities: {} };

/** What a hold is told, and the calls that nothing is told of. */
class Uses {
  /** @type {unknown[]} */
  told = [];
  /** @type {unknown[]} */
  of = [];
  /** @type {import("../../../deploy/client/typescript/types/index.js").UncountedCall[]} */
  uncounted = [];
  /** @type {(() => void)[]} */
  ending = [];

  /** @param {() => void} tell */
  beforeEnd(tell) {
    this.ending.push(tell);
  }

  /**
   * @param {unknown} quantities
   * @param {unknown} [of]
   */
  used(quantities, of) {
    this.told.push(quantities);
    this.of.push(of);
  }
}

/**
 * A model of the SDK that answers as a vector says, one event a piece; without `ends` a stream stays open behind its last event.
 *
 * @param {Vector} vector
 * @param {{ events?: number }} [cut]
 */
function modelOf({ call, status = 200, body, events }, { events: sent = events?.length } = {}) {
  const pieces = (events ?? []).slice(0, sent).map((event) => `${event.type ? `event: ${event.type}\n` : ""}data: ${JSON.stringify(event)}\n\n`);
  const isCut = sent !== events?.length;
  const stream = () =>
    new ReadableStream({
      start(controller) {
        for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
        if (!isCut) controller.close();
      },
    });
  const fetch = async () =>
    events
      ? new Response(stream(), { headers: { "content-type": "text/event-stream" } })
      : new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json" } });
  if (call === "messages") return createAnthropic({ apiKey: "sk", fetch })("claude");
  const openai = createOpenAI({ apiKey: "sk", fetch });
  return call === "chat" ? openai.chat("gpt-5") : openai.responses("gpt-5");
}

/**
 * @param {Vector} vector
 * @param {Uses} uses
 * @param {import("../../../deploy/client/typescript/types/index.js").MeteringOptions} [options]
 * @param {{ events?: number }} [cut]
 */
function metered(vector, uses, options, cut) {
  const middleware = metering(uses, { uncounted: (call) => uses.uncounted.push(call), ...options });
  return wrapLanguageModel({ model: modelOf(vector, cut), middleware });
}

/** @param {import("ai").LanguageModel} model */
async function generated(model) {
  return generateText({ model, prompt: "Which animal is the largest?", maxRetries: 0 });
}

/** @param {import("ai").LanguageModel} model */
function streamed(model) {
  return streamText({ model, prompt: "Which animal is the largest?", maxRetries: 0, onError() {} });
}

// The SDK knows neither audio nor what stands beside the totals of other servers.
const NOT_TOLD_BY_THE_SDK = ["chat, audio", "chat of a server that counts reasoning beside its output", "embedding"];

for (const [name, vector] of [...Object.entries(OPENAI), ...Object.entries(ANTHROPIC)]) {
  if (NOT_TOLD_BY_THE_SDK.includes(name)) continue;
  test(`${name}: to the token`, async () => {
    const uses = new Uses();
    const model = metered(vector, uses);
    if (vector.events) await streamed(model).consumeStream({ onError() {} });
    else if (Object.keys(vector.quantities).length) await generated(model);
    else await rejects(generated(model));

    deepEqual(uses.told, Object.keys(vector.quantities).length ? [vector.quantities] : []);
    deepEqual(uses.uncounted, []);
  });
}

describe("calls that end in other ways", () => {
  test("a call that fails costs nothing", async () => {
    const uses = new Uses();
    await rejects(generated(metered(REFUSED, uses)));

    deepEqual([uses.told, uses.uncounted], [[], []]);
  });

  test("a stream that is left costs nothing and is told", async () => {
    const uses = new Uses();
    const leaving = new AbortController();
    const model = metered(OPENAI["chat, streamed"] ?? REFUSED, uses, {}, { events: 2 });
    const { textStream } = streamText({ model, prompt: "Which?", abortSignal: leaving.signal, onError() {} });
    for await (const _ of textStream) leaving.abort();

    deepEqual(uses.told, []);
    deepEqual(uses.uncounted, [{ model: "gpt-5", reason: "the answer was left before the provider had said what it used" }]);
  });

  test("a stream that is open when the callback ends is told, and not again when it is read after all", async () => {
    const uses = new Uses();
    const { textStream } = streamed(metered(OPENAI["chat, streamed"] ?? REFUSED, uses));
    const reader = textStream.getReader();
    await reader.read();
    for (const tell of uses.ending) tell();
    while (!(await reader.read()).done);

    deepEqual(uses.told, []);
    equal(uses.uncounted.length, 1);
  });

  test("an answer is not lost over a report that fails", async () => {
    const uses = new Uses();
    uses.used = () => {
      throw new TypeError("its callback has ended");
    };
    const { text } = await generated(metered(OPENAI.response ?? REFUSED, uses));

    equal(text, "Blue whales.");
    match(uses.uncounted[0]?.reason ?? "", /its callback has ended/);
  });

  test("attributes may follow from the model, and parts from what the card prices", async () => {
    const uses = new Uses();
    const attributes = (/** @type {string} */ model) => ({ model });
    const priced = ["input_token", "output_token", "reasoning_token"];
    await generated(metered(OPENAI.response ?? REFUSED, uses, { feature: "ai_model.answer", attributes, priced }));

    deepEqual(uses.told, [{ input_token: 2600, output_token: 46, reasoning_token: 12 }]);
    deepEqual(uses.of, [{ feature: "ai_model.answer", attributes: { model: "gpt-5" } }]);
  });
});

test("the program of the page runs, and the hold is captured with what the answer used", async (context) => {
  const [, program = ""] = readFileSync(new URL("../../../docs/model-calls.md", import.meta.url), "utf8").match(/```js\n(.*?)```/s) ?? [];
  const client = new URL("../../../deploy/client/typescript/src/node.js", import.meta.url).href;
  const spool = mkdtempSync(join(tmpdir(), "creditwell-"));
  const located = program
    .replace(/from "([^"]+)"/g, (_, name) => `from "${name === "@creditwell/client" ? client : import.meta.resolve(name)}"`)
    .replace("/var/spool/creditwell/0", spool);
  Object.assign(process.env, { CREDITWELL_TOKEN: "t", OPENAI_API_KEY: "sk" });
  /** @type {any[]} */
  const captured = [];
  context.mock.method(globalThis, "fetch", async (/** @type {string} */ url, /** @type {{ body: string }} */ { body }) => {
    if (url.endsWith("/capture")) captured.push(JSON.parse(body).items);
    const answer = url.includes("openai") ? OPENAI.response?.body : { id: "h1", credits: "1", state: "settled", captured: "1" };
    return new Response(JSON.stringify(answer), { headers: { "content-type": "application/json" } });
  });

  const { answer } = await import(`data:text/javascript,${encodeURIComponent(located)}`);

  equal(await answer("team_42", "mem_7", "Which?"), "Blue whales.");
  const quantities = { input_token: "200", cached_input_token: "2000", cache_write_token: "400", output_token: "58" };
  deepEqual(captured, [[{ feature: "ai_model.answer", attributes: { model: "gpt-5" }, quantities }]]);
  rmSync(spool, { recursive: true });
});
