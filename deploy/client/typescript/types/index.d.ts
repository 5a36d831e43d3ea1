/**
 * Ask Creditwell what a team can afford, and set credits aside around a model call.
 *
 *     const credits = new Creditwell({ url, token, source: "/features/chat", spool: "/var/spool/credits/0" });
 *     const answer = await credits.hold({ team: "team_42", member: "mem_7", items }, async (hold) => {
 *       const answer = await model(prompt);
 *       hold.used(answer.usage.total_tokens);
 *       return answer;
 *     });
 *
 * The hold is placed before the work, made longer while it runs, and captured with what was used. With a spool nothing that was used is
 * lost: not when the API is away, not when the process dies. This file runs in browsers, too, where there is no spool; node.js adds it.
 *
 *     client    the methods
 *     holds     credits set aside while a callback runs
 *     metering  a middleware for the Vercel AI SDK
 *     requests  the calls; types/bodies.d.ts has what they answer, from the API's own document
 *     calls     how a call is sent, and when it is sent again
 *     settling  what finished work comes to
 *     captures  settlements on disk until the API has taken them (Node)
 *     emitter   usage without a hold, from a spool of its own (Node)
 *     spool     reports on disk until they have arrived (Node)
 *     verdicts  what an answer of the API means for a batch of reports
 *     lock      one process for each spool (Node)
 *     quantities  quantities as text
 *     errors    what can go wrong
 */
export type Token = import("./calls.js").Token;
export type Options = import("./client.js").Options;
export type Item = import("./requests.js").Item;
export type Work = import("./holds.js").Work;
export type Quantity = import("./holds.js").Quantity;
export type MeteringOptions = import("./metering.js").MeteringOptions;
export type UncountedCall = import("./metering.js").UncountedCall;
export type ActivityItem = import("../types/bodies.js").ActivityItem;
export type Balance = import("../types/bodies.js").Balance;
export type Captured = import("../types/bodies.js").Captured;
export type Quote = import("../types/bodies.js").Quote;
export type Receipt = import("../types/bodies.js").Receipt;
export type TopUp = import("../types/bodies.js").TopUp;
/**
 * @typedef {import("./calls.js").Token} Token
 * @typedef {import("./client.js").Options} Options
 * @typedef {import("./requests.js").Item} Item
 * @typedef {import("./holds.js").Work} Work
 * @typedef {import("./holds.js").Quantity} Quantity
 * @typedef {import("./metering.js").MeteringOptions} MeteringOptions
 * @typedef {import("./metering.js").UncountedCall} UncountedCall
 * @typedef {import("../types/bodies.js").ActivityItem} ActivityItem
 * @typedef {import("../types/bodies.js").Balance} Balance
 * @typedef {import("../types/bodies.js").Captured} Captured
 * @typedef {import("../types/bodies.js").Quote} Quote
 * @typedef {import("../types/bodies.js").Receipt} Receipt
 * @typedef {import("../types/bodies.js").TopUp} TopUp
 */
export { Creditwell } from "./client.js";
export * from "./errors.js";
export { Hold } from "./holds.js";
export { metering } from "./metering.js";
