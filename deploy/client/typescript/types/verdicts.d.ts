/** What an answer of `POST /v1/usage` means for a batch of reports. */
export type Refusal = {
    index: number;
    status: number;
    code: string;
    detail: string;
};
export type Verdict = {
    kind: "taken";
    refused: Refusal[];
} | {
    kind: "too much";
} | {
    kind: "later";
    reason: string;
    retryAfterSeconds: number | null;
};
export type Said = {
    status?: number;
    code?: string;
    title?: string;
    detail?: string;
    results?: unknown;
};
/**
 * @param {import("./calls.js").Answer} answer
 * @param {number} events  how many there are in the batch
 * @returns {Verdict}
 */
export declare function judge({ status, body, retryAfterSeconds, trouble }: import("./calls.js").Answer, events: number): Verdict;
