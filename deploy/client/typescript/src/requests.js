/** The calls that this client knows, with the types of their answers. */

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
export const balance = (team, atLeast) => ({
  method: "GET",
  path: pathOf(team, "balance"),
  query: atLeast === undefined ? {} : { at_least: atLeast },
});

/**
 * @param {string} team
 * @param {readonly Item[]} items
 * @returns {ApiCall<import("../types/bodies.js").Quote>}
 */
export const quote = (team, items) => ({ method: "POST", path: pathOf(team, "quotes"), body: { items } });

/**
 * @param {string} team
 * @param {number} days
 * @param {string | null} cursor
 * @returns {ApiCall<import("../types/bodies.js").Activity>}
 */
export const activity = (team, days, cursor) => ({
  method: "GET",
  path: pathOf(team, "activity"),
  query: { days: String(days), ...(cursor !== null && { cursor }) },
});

/**
 * @param {string} team
 * @param {string} source
 * @param {string} id
 * @returns {ApiCall<import("../types/bodies.js").Receipt>}
 */
export const receipt = (team, source, id) => ({ method: "GET", path: pathOf(team, "receipts"), query: { source, id } });

/**
 * @param {string} team
 * @returns {ApiCall<import("../types/bodies.js").TopUp>}
 */
export const topUp = (team) => ({ method: "GET", path: pathOf(team, "top-up") });

/**
 * @param {string} team
 * @param {readonly Item[]} items
 * @param {number} ttl
 * @param {string | null} member
 * @param {string} key
 * @returns {ApiCall<import("../types/bodies.js").Placed>}
 */
export const place = (team, items, ttl, member, key) => ({
  method: "POST",
  path: pathOf(team, "holds"),
  body: { items, ttl_seconds: ttl, member_id: member },
  key,
});

/**
 * @param {string} team
 * @param {string} hold
 * @param {number} ttl
 * @param {string} key
 * @returns {ApiCall<import("../types/bodies.js").Hold>}
 */
export const extend = (team, hold, ttl, key) => ({
  method: "POST",
  path: pathOf(team, "holds", hold, "extend"),
  body: { ttl_seconds: ttl },
  key,
});

/**
 * @param {string} team
 * @param {string} hold
 * @param {readonly Item[]} items
 * @param {string} key
 * @returns {ApiCall<import("../types/bodies.js").Captured>}
 */
export const capture = (team, hold, items, key) => ({ method: "POST", path: pathOf(team, "holds", hold, "capture"), body: { items }, key });

/**
 * @param {string} team
 * @param {string} hold
 * @param {string} key
 * @returns {ApiCall<import("../types/bodies.js").Hold>}
 */
export const release = (team, hold, key) => ({ method: "POST", path: pathOf(team, "holds", hold, "release"), body: {}, key });

/**
 * @param {readonly object[]} events  of CloudEvents
 * @returns {ApiCall<{ results?: { status: number }[] }>}
 */
export const report = (events) => ({ method: "POST", path: "/v1/usage", body: events, mediaType: "application/cloudevents-batch+json" });

/**
 * The address of something of a team.
 *
 * @param {string[]} parts
 */
function pathOf(...parts) {
  return ["/v1/teams", ...parts.map(encodeURIComponent)].join("/");
}
