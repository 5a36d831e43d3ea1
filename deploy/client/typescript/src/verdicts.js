/** What an answer of `POST /v1/usage` means for a batch of reports. */

/** @typedef {{ index: number, status: number, code: string, detail: string }} Refusal  an event that will never be taken, and why */

/**
 * @typedef {{ kind: "taken", refused: Refusal[] }
 *   | { kind: "too much" }
 *   | { kind: "later", reason: string, retryAfterSeconds: number | null }} Verdict  "too much": something of the batch is wrong, and the
 *   answer does not say what; "later": nothing against the batch, the same again
 */

/** @typedef {{ status?: number, code?: string, title?: string, detail?: string, results?: unknown }} Said  what our answers have */

const [ACCEPTED, IN_PART] = [202, 207];
const WRONG = new Set([413, 422]); // of an event: today and tomorrow
const OF_THE_EVENT = "team_not_allowed"; // any other 403 is against the token or the emitter, which may be mended

/**
 * @param {import("./calls.js").Answer} answer
 * @param {number} events  how many there are in the batch
 * @returns {Verdict}
 */
export function judge({ status, body, retryAfterSeconds, trouble }, events) {
  if (status === 0) return { kind: "later", reason: trouble, retryAfterSeconds };
  const said = membersOf(body); // a proxy's page has none
  if (status === ACCEPTED) return { kind: "taken", refused: [] };
  if (status === IN_PART) return inPart(said.results, events);
  if (WRONG.has(status) || said.code === OF_THE_EVENT) {
    return events === 1 ? { kind: "taken", refused: [refusal(0, status, said)] } : { kind: "too much" };
  }
  const why = said.detail || said.title || "no word why";
  return { kind: "later", reason: `${status} ${said.code ?? ""}: ${why}`, retryAfterSeconds };
}

/**
 * @param {unknown} results
 * @param {number} events
 * @returns {Verdict}
 */
function inPart(results, events) {
  const wait = (/** @type {string} */ why) => /** @type {const} */ ({ kind: "later", reason: `${IN_PART}: ${why}`, retryAfterSeconds: null });
  if (!Array.isArray(results) || results.length !== events) return wait("not a result for each event");
  const refused = [];
  for (const [index, result] of results.entries()) {
    const said = membersOf(result);
    const status = said.status ?? 0;
    if (WRONG.has(status)) refused.push(refusal(index, status, said));
    else if (status !== ACCEPTED) return wait(`event ${index} has ${said.status}`);
  }
  return { kind: "taken", refused };
}

/**
 * @param {number} index
 * @param {number} status
 * @param {Said} said
 * @returns {Refusal}
 */
function refusal(index, status, said) {
  return { index, status, code: String(said.code ?? "unknown"), detail: String(said.detail ?? "") };
}

/**
 * @param {unknown} body
 * @returns {Said}
 */
function membersOf(body) {
  return body !== null && typeof body === "object" && !Array.isArray(body) ? body : {};
}
