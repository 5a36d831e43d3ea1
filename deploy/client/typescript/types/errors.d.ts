/** What can go wrong, by what a caller does about it. `code` is the API's own; docs/errors.md lists them. */
export type Problem = {
    code?: string;
    title?: string;
    detail?: string;
    [member: string]: unknown;
};
/** @typedef {{ code?: string, title?: string, detail?: string, [member: string]: unknown }} Problem  an answer by RFC 9457 */
/** Of every error of this client. */
export declare class CreditwellError extends Error {
    /** @override */
    get name(): string;
}
/** Another process has this spool. */
export declare class SpoolInUse extends CreditwellError {
}
/** Another process has this spool, of captures. */
export declare class CaptureSpoolInUse extends SpoolInUse {
}
/** There is no room for another report until some have been sent. Nothing that was reported is lost. */
export declare class SpoolFull extends CreditwellError {
}
/** The emitter was closed, or another process has taken its spool. */
export declare class SpoolClosed extends CreditwellError {
}
/** No answer that counts within the patience of the client. The same again, later, is harmless. */
export declare class NoAnswer extends CreditwellError {
    retryAfterSeconds: number | null;
    /**
     * @param {string} message
     * @param {number | null} retryAfterSeconds  as the API asked for
     */
    constructor(message: string, retryAfterSeconds?: number | null);
}
/** The API said no. */
export declare class ApiError extends CreditwellError {
    status: number;
    /** Stable; what to decide by. */
    code: string;
    problem: Problem;
    /**
     * @param {number} status  of HTTP
     * @param {Problem} problem  the whole answer, such as `items` with the verdict of each item
     */
    constructor(status: number, problem: Problem);
}
/** The team may not do this work now. */
export declare class NotAllowed extends ApiError {
}
/** The team can't afford it. */
export declare class Exhausted extends NotAllowed {
}
/** The feature needs a larger plan. */
export declare class PlanRequired extends NotAllowed {
}
/** The feature needs automatic top-ups. */
export declare class TopUpsRequired extends NotAllowed {
}
/** The member has used what their limit allows. */
export declare class MemberLimitReached extends NotAllowed {
}
/** The hold was settled, released, or has expired. */
export declare class HoldEnded extends ApiError {
}
/** The hold has expired: what was set aside is free again. */
export declare class HoldHasExpired extends HoldEnded {
}
/** The request is wrong, today and tomorrow. The message says what to change. */
export declare class InvalidRequest extends ApiError {
}
/** There is no such team, hold or entry that this token may see. */
export declare class NotFound extends ApiError {
}
/** The token does not count. */
export declare class Unauthenticated extends ApiError {
}
/** The token is of another role, team or source. */
export declare class Forbidden extends ApiError {
}
