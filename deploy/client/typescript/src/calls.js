/** How a call is sent, and when it is sent again. Every call may be: reads by nature, commands by their key, usage by its id. */

import { errorOf, NoAnswer } from "./errors.js";

/** @typedef {string | (() => string | Promise<string>)} Token  a text, or what has a fresh one at hand: it is called for each request */

/**
 * A request whose good answer is a T.
 *
 * @template T
 * @typedef {object} ApiCall
 * @property {"GET" | "POST"} method
 * @property {string} path
 * @property {Record<string, string>} [query]
 * @property {unknown} [body]
 * @property {string} [key]  of a command
 * @property {string} [mediaType]
 * @property {string | undefined} [traceparent]  of whoever asks
 * @property {T} [answer]  only a type: no call has it
 */

/** @typedef {{ status: number, body: unknown, retryAfterSeconds: number | null, trouble: string }} Answer  status 0: none came */

const TIMEOUT_MS = 10_000;
const FIRST_WAIT_SECONDS = 0.1;
const LONGEST_WAIT_SECONDS = 5;
const AGAIN = new Set([429, 502, 503, 504]);

/** Where the API is, and who asks it. */
export class Api {
  #url;
  #token;

  /**
   * @param {string} url
   * @param {Token} token
   */
  constructor(url, token) {
    this.#url = url.replace(/\/+$/, "");
    this.#token = token;
  }

  /**
   * Send a call, again where that helps. Throws ApiError, the API said no, and NoAnswer, it said nothing that counts in time.
   *
   * @template T
   * @param {ApiCall<T>} call
   * @param {number} patienceSeconds
   * @param {AbortSignal} [stop]
   * @returns {Promise<T>}
   */
  async send(call, patienceSeconds, stop) {
    const began = performance.now();
    for (let wait = FIRST_WAIT_SECONDS; ; wait = Math.min(2 * wait, LONGEST_WAIT_SECONDS)) {
      const { status, body, retryAfterSeconds, trouble } = await this.answer(call, stop);
      if (status && !AGAIN.has(status)) {
        if (status < 400) return /** @type {T} */ (body);
        throw errorOf(status, body);
      }
      const seconds = retryAfterSeconds ?? (wait * (1 + Math.random())) / 2;
      if (stop?.aborted || (performance.now() - began) / 1000 + seconds > patienceSeconds) {
        const last = status ? errorOf(status, body).message : trouble;
        throw new NoAnswer(`no answer that counts within ${patienceSeconds} s: ${last}`, retryAfterSeconds);
      }
      await pause(seconds, stop);
    }
  }

  /**
   * Send a call once. Throws what `token` does.
   *
   * @param {ApiCall<unknown>} call
   * @param {AbortSignal | undefined} stop
   * @returns {Promise<Answer>}
   */
  async answer(call, stop) {
    const asked = new URLSearchParams(call.query).toString();
    const token = typeof this.#token === "string" ? this.#token : await this.#token();
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    try {
      const response = await fetch(this.#url + call.path + (asked && `?${asked}`), {
        method: call.method,
        headers: headersOf(call, token),
        body: call.body === undefined ? null : JSON.stringify(call.body),
        signal: stop ? AbortSignal.any([timeout, stop]) : timeout,
      });
      const after = response.headers.get("retry-after") ?? "";
      const retryAfterSeconds = /^\d+$/.test(after) ? Number(after) : null;
      return { status: response.status, body: parsed(await response.text()), retryAfterSeconds, trouble: "" };
    } catch (error) {
      return { status: 0, body: null, retryAfterSeconds: null, trouble: inWords(error) };
    }
  }
}

/**
 * Wait so long, or until told to stop.
 *
 * @param {number} seconds
 * @param {AbortSignal} [stop]
 * @returns {Promise<void>}
 */
export function pause(seconds, stop) {
  return new Promise((resolve) => {
    if (stop?.aborted) return resolve();
    const over = () => {
      clearTimeout(timer);
      stop?.removeEventListener("abort", over);
      resolve();
    };
    const timer = setTimeout(over, seconds * 1000);
    stop?.addEventListener("abort", over);
  });
}

/**
 * @param {ApiCall<unknown>} call
 * @param {string} token
 */
function headersOf({ body, key, mediaType = "application/json", traceparent }, token) {
  return {
    authorization: `Bearer ${token}`,
    ...(body !== undefined && { "content-type": mediaType }),
    ...(key !== undefined && { "idempotency-key": key }),
    ...(traceparent !== undefined && { traceparent }),
  };
}

/**
 * @param {string} text
 * @returns {unknown}
 */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * @param {unknown} error
 * @returns {string}
 */
function inWords(error) {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? `${error}` : `${error}: ${inWords(error.cause)}`;
}
