/** How a call is sent, and when it is sent again. Every call may be: reads by nature, commands by their key, usage by its id. */
export type Token = string | (() => string | Promise<string>);
export type ApiCall<T> = {
    method: "GET" | "POST";
    path: string;
    query?: Record<string, string>;
    body?: unknown;
    /**
     * of a command
     */
    key?: string;
    mediaType?: string;
    /**
     * of whoever asks
     */
    traceparent?: string | undefined;
    /**
     * only a type: no call has it
     */
    answer?: T;
};
export type Answer = {
    status: number;
    body: unknown;
    retryAfterSeconds: number | null;
    trouble: string;
};
/** Where the API is, and who asks it. */
export declare class Api {
    #private;
    /**
     * @param {string} url
     * @param {Token} token
     */
    constructor(url: string, token: Token);
    /**
     * Send a call, again where that helps. Throws ApiError, the API said no, and NoAnswer, it said nothing that counts in time.
     *
     * @template T
     * @param {ApiCall<T>} call
     * @param {number} patienceSeconds
     * @param {AbortSignal} [stop]
     * @returns {Promise<T>}
     */
    send<T>(call: ApiCall<T>, patienceSeconds: number, stop?: AbortSignal): Promise<T>;
    /**
     * Send a call once. Throws what `token` does.
     *
     * @param {ApiCall<unknown>} call
     * @param {AbortSignal | undefined} stop
     * @returns {Promise<Answer>}
     */
    answer(call: ApiCall<unknown>, stop: AbortSignal | undefined): Promise<Answer>;
}
/**
 * Wait so long, or until told to stop.
 *
 * @param {number} seconds
 * @param {AbortSignal} [stop]
 * @returns {Promise<void>}
 */
export declare function pause(seconds: number, stop?: AbortSignal): Promise<void>;
