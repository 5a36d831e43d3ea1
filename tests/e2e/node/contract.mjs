/**
 * What both programs know of Creditwell: where it is (what `make up` prints last, on standard input), how it answers over
 * HTTP, and the schemas that its events follow.
 */
import { readFileSync } from "node:fs";

import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

export const world = JSON.parse(readFileSync(0, "utf8").trimEnd().split("\n").at(-1));

const ajv = addFormats(new Ajv({ allErrors: true }));
const schemas = new Map();

/** What is wrong with a value by a schema, say `usage/usage.reported.v1`; null when nothing is. */
export function wrong(name, value) {
  if (!schemas.has(name)) {
    const file = new URL(`../../../schemas/json/${name}.json`, import.meta.url);
    schemas.set(name, ajv.compile(JSON.parse(readFileSync(file, "utf8"))));
  }
  const fits = schemas.get(name);
  return fits(value) ? null : ajv.errorsText(fits.errors);
}

/** The answer to a GET for a team, with the token of a role. What is not a success is an error with its stable code. */
export async function get(team, role, path, headers = {}) {
  const response = await fetch(`${world.api}/v1/teams/${team.id}${path}`, {
    headers: { authorization: `Bearer ${team.tokens[role]}`, ...headers },
    signal: AbortSignal.timeout(20_000),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${(await response.json()).code}`);
  return response;
}
