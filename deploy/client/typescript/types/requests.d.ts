/** The calls that this client knows, with the types of their answers. */
export type ApiCall<T> = import("./calls.js").ApiCall<T>;
export type Item = {
    feature: string;
    quantity?: string;
    quantities?: Record<string, string>;
    attributes?: Record<string, string>;
};
/**
 * @template T
 * @typedef {import("./calls.js").ApiCall<T>} ApiCall
 */
/**
 * What work needs or has used: a quantity of a feature, a decimal text in the feature's own unit, or several by name.
 *
 * @typedef {object} Item
 * @property {string} feature
 * @property {string} [quantity]
 * @property {Record<string, string>} [quantities]
 * @property {Record<string, string>} [attributes]
 */
/**
 * @param {string} team
 * @param {string | undefined} atLeast  a position that the answer must know
 * @returns {ApiCall<import("../types/bodies.js").Balance>}
 */
export declare const balance: (team: string, atLeast: string | undefined) => ApiCall<import("../types/bodies.js").Balance>;
/**
 * @param {string} team
 * @param {readonly Item[]} items
 * @returns {ApiCall<import("../types/bodies.js").Quote>}
 */
export declare const quote: (team: string, items: readonly Item[]) => ApiCall<import("../types/bodies.js").Quote>;
/**
 * @param {string} team
 * @param {number} days
 * @param {string | null} cursor
 * @returns {ApiCall<import("../types/bodies.js").Activity>}
 */
export declare const activity: (team: string, days: number, cursor: string | null) => ApiCall<import("../types/bodies.js").Activity>;
/**
 * @param {string} team
 * @param {string} source
 * @param {string} id
 * @returns {ApiCall<import("../types/bodies.js").Receipt>}
 */
export declare const receipt: (team: string, source: string, id: string) => ApiCall<import("../types/bodies.js").Receipt>;
/**
 * @param {string} team
 * @returns {ApiCall<import("../types/bodies.js").TopUp>}
 */
export declare const topUp: (team: string) => ApiCall<import("../types/bodies.js").TopUp>;
/**
 * @param {string} team
 * @param {readonly Item[]} items
 * @param {number} ttl
 * @param {string | null} member
 * @param {string} key
 * @returns {ApiCall<import("../types/bodies.js").Placed>}
 */
export declare const place: (team: string, items: readonly Item[], ttl: number, member: string | null, key: string) => ApiCall<import("../types/bodies.js").Placed>;
/**
 * @param {string} team
 * @param {string} hold
 * @param {number} ttl
 * @param {string} key
 * @returns {ApiCall<import("../types/bodies.js").Hold>}
 */
export declare const extend: (team: string, hold: string, ttl: number, key: string) => ApiCall<import("../types/bodies.js").Hold>;
/**
 * @param {string} team
 * @param {string} hold
 * @param {readonly Item[]} items
 * @param {string} key
 * @returns {ApiCall<import("../types/bodies.js").Captured>}
 */
export declare const capture: (team: string, hold: string, items: readonly Item[], key: string) => ApiCall<import("../types/bodies.js").Captured>;
/**
 * @param {string} team
 * @param {string} hold
 * @param {string} key
 * @returns {ApiCall<import("../types/bodies.js").Hold>}
 */
export declare const release: (team: string, hold: string, key: string) => ApiCall<import("../types/bodies.js").Hold>;
/**
 * @param {readonly object[]} events  of CloudEvents
 * @returns {ApiCall<{ results?: { status: number }[] }>}
 */
export declare const report: (events: readonly object[]) => ApiCall<{
    results?: {
        status: number;
    }[];
}>;
