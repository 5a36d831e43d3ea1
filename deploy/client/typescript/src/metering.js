/**
 * A middleware for the Vercel AI SDK: every call of the model says in a hold what it used.
 *
 *     await credits.hold({ team: "team_42", member: "mem_7", items }, async (hold) => {
 *       const model = wrapLanguageModel({ model: openai("gpt-5"), middleware: metering(hold) });
 *       return generateText({ model, prompt });
 *     });
 *
 * For the SDK's seventh version, whose providers tell input tokens with those of the cache and output tokens with the reasoning.
 */

/** @typedef {{ total?: number | undefined, cacheRead?: number | undefined, cacheWrite?: number | undefined }} InputTokens */
/** @typedef {{ total?: number | undefined, reasoning?: number | undefined }} OutputTokens */

/**
 * What a provider says of a call, as the SDK has it.
 *
 * @typedef {object} ModelUsage
 * @property {InputTokens} inputTokens
 * @property {OutputTokens} outputTokens
 */

/**
 * A call that was answered, at least in part, and for which nothing is charged.
 *
 * @typedef {object} UncountedCall
 * @property {string} model
 * @property {string} reason
 */

/**
 * @typedef {object} MeteringOptions
 * @property {string} [feature]  where the hold is for several items
 * @property {Record<string, string> | ((model: string) => Record<string, string>)} [attributes]  those of the hold's item unless told
 * @property {Iterable<string>} [priced]  the quantities that the rate has prices for: others count as what contains them
 * @property {(call: UncountedCall) => void} [uncounted]  is told of calls that nothing is charged for; otherwise the console is
 */

/** @typedef {{ usage: ModelUsage, finishReason: { unified: string } }} Finish */

/** @type {Readonly<Record<string, string>>}  a part, and what it counts as where the rate has no price for it */
const WHOLES = { cached_input_token: "input_token", cache_write_token: "input_token", reasoning_token: "output_token" };
const PRICED = ["input_token", "cached_input_token", "cache_write_token", "output_token"];
const LEFT = "the answer was left before the provider had said what it used";
const SILENT = "the answer does not say what it used";

/**
 * The middleware of one hold: `wrapLanguageModel({ model, middleware: metering(hold) })`.
 *
 * @param {Pick<import("./holds.js").Hold, "used" | "beforeEnd">} hold
 * @param {MeteringOptions} [options]
 */
export function metering(hold, { feature, attributes, priced = PRICED, uncounted = warn } = {}) {
  const names = new Set(priced);

  /**
   * An answer is not lost over its report.
   *
   * @param {string} model
   * @param {Finish | null} finish
   * @param {string} reason
   */
  function report(model, finish, reason) {
    if (finish?.finishReason.unified === "error") return;
    try {
      const quantities = finish && quantitiesOf(finish.usage, names);
      if (!quantities) return uncounted({ model, reason });
      if (Object.keys(quantities).length === 0) return;
      const chosen = typeof attributes === "function" ? attributes(model) : attributes;
      hold.used(quantities, { ...(feature !== undefined && { feature }), ...(chosen && { attributes: chosen }) });
    } catch (error) {
      uncounted({ model, reason: `it was not reported: ${error}` });
    }
  }

  return {
    specificationVersion: /** @type {const} */ ("v4"),

    /**
     * @template {Finish} R
     * @param {{ doGenerate: () => PromiseLike<R>, model: { modelId: string } }} call
     * @returns {Promise<R>}
     */
    async wrapGenerate({ doGenerate, model }) {
      const result = await doGenerate();
      report(model.modelId, result, SILENT);
      return result;
    },

    /**
     * @template {{ type: string }} Part
     * @template {{ stream: ReadableStream<Part> }} R
     * @param {{ doStream: () => PromiseLike<R>, model: { modelId: string } }} call
     * @returns {Promise<R>}
     */
    async wrapStream({ doStream, model }) {
      const result = await doStream();
      const { stream, leave } = watched(result.stream, (finish, reason) => report(model.modelId, finish, reason));
      hold.beforeEnd(leave);
      return { ...result, stream };
    },
  };
}

/**
 * The same parts; says once how the stream ended, before its reader knows, or that it was left.
 *
 * @template {{ type: string }} Part
 * @param {ReadableStream<Part>} stream
 * @param {(finish: Finish | null, reason: string) => void} ended
 */
function watched(stream, ended) {
  const reader = stream.getReader();
  let failed = false;
  let over = false;
  /**
   * @param {Finish | null} finish
   * @param {string} reason
   */
  const end = (finish, reason) => {
    if (!over && !failed) ended(finish, reason);
    over = true;
  };
  const leave = () => end(null, LEFT);
  /** @type {ReadableStream<Part>} */
  const same = new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) {
          end(null, SILENT);
          return controller.close();
        }
        if (value.type === "error") failed = true;
        if (value.type === "finish") end(/** @type {Part & Finish} */ (/** @type {unknown} */ (value)), SILENT);
        controller.enqueue(value);
      } catch (error) {
        leave();
        throw error;
      }
    },
    async cancel(reason) {
      leave();
      await reader.cancel(reason);
    },
  });
  return { stream: same, leave };
}

/**
 * What a call used, every token in one quantity; null where the provider does not say.
 *
 * @param {ModelUsage} usage
 * @param {ReadonlySet<string>} priced
 * @returns {Record<string, number> | null}
 */
function quantitiesOf({ inputTokens, outputTokens }, priced) {
  if (inputTokens.total === undefined && outputTokens.total === undefined) return null;
  const parts = {
    ...parted("input_token", inputTokens.total, {
      cached_input_token: inputTokens.cacheRead,
      cache_write_token: inputTokens.cacheWrite,
    }),
    ...parted("output_token", outputTokens.total, { reasoning_token: outputTokens.reasoning }),
  };
  /** @type {Record<string, number>} */
  const sums = {};
  for (const [part, count] of Object.entries(parts)) {
    const name = priced.has(part) ? part : (WHOLES[part] ?? part);
    if (count > 0) sums[name] = (sums[name] ?? 0) + count;
  }
  return sums;
}

/**
 * The whole without its parts, and the parts. What overlaps is counted once.
 *
 * @param {string} whole
 * @param {number | undefined} total
 * @param {Record<string, number | undefined>} parts
 */
function parted(whole, total = 0, parts) {
  let rest = total;
  /** @type {Record<string, number>} */
  const counts = {};
  for (const [name, count = 0] of Object.entries(parts)) {
    counts[name] = Math.min(count, rest);
    rest -= counts[name];
  }
  return { [whole]: rest, ...counts };
}

/** @param {UncountedCall} call */
function warn({ model, reason }) {
  console.warn(`a call of ${model} is not charged: ${reason}`);
}
