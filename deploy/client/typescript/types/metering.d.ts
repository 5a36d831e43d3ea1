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
export type InputTokens = {
    total?: number | undefined;
    cacheRead?: number | undefined;
    cacheWrite?: number | undefined;
};
export type OutputTokens = {
    total?: number | undefined;
    reasoning?: number | undefined;
};
export type ModelUsage = {
    inputTokens: InputTokens;
    outputTokens: OutputTokens;
};
export type UncountedCall = {
    model: string;
    reason: string;
};
export type MeteringOptions = {
    /**
     * where the hold is for several items
     */
    feature?: string;
    /**
     * those of the hold's item unless told
     */
    attributes?: Record<string, string> | ((model: string) => Record<string, string>);
    /**
     * the quantities that the rate has prices for: others count as what contains them
     */
    priced?: Iterable<string>;
    /**
     * is told of calls that nothing is charged for; otherwise the console is
     */
    uncounted?: (call: UncountedCall) => void;
};
export type Finish = {
    usage: ModelUsage;
    finishReason: {
        unified: string;
    };
};
/**
 * The middleware of one hold: `wrapLanguageModel({ model, middleware: metering(hold) })`.
 *
 * @param {Pick<import("./holds.js").Hold, "used" | "beforeEnd">} hold
 * @param {MeteringOptions} [options]
 */
export declare function metering(hold: Pick<import("./holds.js").Hold, "used" | "beforeEnd">, { feature, attributes, priced, uncounted }?: MeteringOptions): {
    specificationVersion: "v4";
    /**
     * @template {Finish} R
     * @param {{ doGenerate: () => PromiseLike<R>, model: { modelId: string } }} call
     * @returns {Promise<R>}
     */
    wrapGenerate<R extends Finish>({ doGenerate, model }: {
        doGenerate: () => PromiseLike<R>;
        model: {
            modelId: string;
        };
    }): Promise<R>;
    /**
     * @template {{ type: string }} Part
     * @template {{ stream: ReadableStream<Part> }} R
     * @param {{ doStream: () => PromiseLike<R>, model: { modelId: string } }} call
     * @returns {Promise<R>}
     */
    wrapStream<Part extends {
        type: string;
    }, R extends {
        stream: ReadableStream<Part>;
    }>({ doStream, model }: {
        doStream: () => PromiseLike<R>;
        model: {
            modelId: string;
        };
    }): Promise<R>;
};
