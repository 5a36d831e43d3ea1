/**
 * What both programs know of Creditwell: where it is (what `make up` prints last, on standard input), how it answers over
 * HTTP, and the schemas that its events follow.
 */
import { readFileSync } from "node:fs";

import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

/**
 * @typedef {object} Team
 * @property {string} id
 * @property {{ id: string }[]} members
 * @property {Record<string, string>} tokens  by role
 */

/** @type {{ api: string, kafka: string, teams: Team[] }} */
export const world = JSON.parse(readFileSync(0, "utf8").trimEnd().split("\n").at(-1) ?? "");

// Both packages are CommonJS, and what they export by default is a member to those who look from here.
const ajv = addFormats.default(new Ajv.default({ allErrors: true }));
/** @type {Map<string, import("ajv").ValidateFunction>} */
const schemas = new Map();

/**
 * What is wrong with a value by a schema, say `usage/usage.reported.v1`; null when nothing is.
 *
 * @param {string} name
 * @param {unknown} value
 */
export function wrong(name, value) {
  const fits = schemas.get(name) ?? compile(name);
  return fits(value) ? null : ajv.errorsText(fits.errors);
}

/** @param {string} name */
function compile(name) {
  const file = new URL(`../../../schemas/json/${name}.json`, import.meta.url);
  const fits = ajv.compile(JSON.parse(readFileSync(file, "utf8")));
  schemas.set(name, fits);
  return fits;
}

/**
 * The answer to a GET for a team, with the token of a role. What is not a success is an error with its stable code.
 *
 * @param {Team} team
 * @param {"member" | "service"} role
 * @param {string} path
 * @param {Record<string, string>} [headers]
 */
export async function get(team, role, path, headers = {}) {
  const response = await fetch(`${world.api}/v1/teams/${team.id}${path}`, {
    headers: { authorization: `Bearer ${team.tokens[role]}`, ...headers },
    signal: AbortSignal.timeout(20_000),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${(await response.json()).code}`);
  return response;
}
