/** What can go wrong, by what a caller does about it. `code` is the API's own; docs/errors.md lists them. */

/** @typedef {{ code?: string, title?: string, detail?: string, [member: string]: unknown }} Problem  an answer by RFC 9457 */

/** Of every error of this client. */
export class CreditwellError extends Error {
  /** @override */
  get name() {
    return this.constructor.name;
  }
}

/** Another process has this spool. */
export class SpoolInUse extends CreditwellError {}

/** Another process has this spool, of captures. */
export class CaptureSpoolInUse extends SpoolInUse {}

/** There is no room for another report until some have been sent. Nothing that was reported is lost. */
export class SpoolFull extends CreditwellError {}

/** The emitter was closed, or another process has taken its spool. */
export class SpoolClosed extends CreditwellError {}

/** No answer that counts within the patience of the client. The same again, later, is harmless. */
export class NoAnswer extends CreditwellError {
  /**
   * @param {string} message
   * @param {number | null} retryAfterSeconds  as the API asked for
   */
  constructor(message, retryAfterSeconds = null) {
    super(message);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** The API said no. */
export class ApiError extends CreditwellError {
  /**
   * @param {number} status  of HTTP
   * @param {Problem} problem  the whole answer, such as `items` with the verdict of each item
   */
  constructor(status, problem) {
    const code = String(problem.code ?? "unknown");
    super(`${code}: ${problem.detail || problem.title || status}`);
    this.status = status;
    /** Stable; what to decide by. */
    this.code = code;
    this.problem = problem;
  }
}

/** The team may not do this work now. */
export class NotAllowed extends ApiError {}

/** The team can't afford it. */
export class Exhausted extends NotAllowed {}

/** The feature needs a larger plan. */
export class PlanRequired extends NotAllowed {}

/** The feature needs automatic top-ups. */
export class TopUpsRequired extends NotAllowed {}

/** The member has used what their limit allows. */
export class MemberLimitReached extends NotAllowed {}

/** The hold was settled, released, or has expired. */
export class HoldEnded extends ApiError {}

/** The hold has expired: what was set aside is free again. */
export class HoldHasExpired extends HoldEnded {}

/** The request is wrong, today and tomorrow. The message says what to change. */
export class InvalidRequest extends ApiError {}

/** There is no such team, hold or entry that this token may see. */
export class NotFound extends ApiError {}

/** The token does not count. */
export class Unauthenticated extends ApiError {}

/** The token is of another role, team or source. */
export class Forbidden extends ApiError {}

/** @type {Record<string, typeof ApiError>} */
const BY_CODE = {
  exhausted: Exhausted,
  plan_required: PlanRequired,
  top_ups_required: TopUpsRequired,
  member_limit: MemberLimitReached,
  unknown_feature: InvalidRequest,
  unknown_rate: InvalidRequest,
  hold_settled: HoldEnded,
  hold_released: HoldEnded,
  hold_expired: HoldHasExpired,
};
/** @type {Record<number, typeof ApiError>} */
const BY_STATUS = {
  400: InvalidRequest,
  401: Unauthenticated,
  402: NotAllowed,
  403: Forbidden,
  404: NotFound,
  413: InvalidRequest,
  415: InvalidRequest,
  422: InvalidRequest,
};

/**
 * The error for an answer. One that is none of ours, such as a proxy's page, has no code.
 *
 * @internal
 * @param {number} status
 * @param {unknown} body
 */
export function errorOf(status, body) {
  /** @type {Problem} */
  const problem = body !== null && typeof body === "object" ? { ...body } : {};
  const Kind = BY_CODE[problem.code ?? ""] ?? BY_STATUS[status] ?? ApiError;
  return new Kind(status, problem);
}
