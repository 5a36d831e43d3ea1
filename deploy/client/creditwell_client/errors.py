"""What can go wrong, by what a caller does about it. `code` is the API's own; docs/errors.md lists them."""

from typing import Any


class CreditwellError(Exception):
    """Of every error of this client."""


class NoAnswer(CreditwellError):
    """No answer that counts within the patience of the client. The same again, later, is harmless."""


class ApiError(CreditwellError):
    """The API said no.

    Attributes:
        status: of HTTP.
        code: stable; what to decide by.
        problem: the whole answer (RFC 9457), such as `items` with the verdict of each item.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status, self.problem = status, problem
        self.code = str(problem.get("code", "unknown"))
        super().__init__(f"{self.code}: {problem.get('detail') or problem.get('title') or status}")

    @property
    def is_verdict(self) -> bool:
        """Whether the API has judged what was asked, so that the same again changes nothing.

        A page of a proxy, a server that fails, and a token that does not count are no verdicts.
        """
        is_about_the_call = self.status in NOT_ABOUT_THE_WORK or self.code in ("unknown", "not_found")
        return 400 <= self.status < 500 and not is_about_the_call


class NotAllowed(ApiError):
    """The team may not do this work now."""


class Exhausted(NotAllowed):
    """The team can't afford it."""


class PlanRequired(NotAllowed):
    """The feature needs a larger plan."""


class TopUpsRequired(NotAllowed):
    """The feature needs automatic top-ups."""


class MemberLimitReached(NotAllowed):
    """The member has used what their limit allows."""


class HoldEnded(ApiError):
    """The hold was settled, released, or has expired."""


class HoldHasExpired(HoldEnded):
    """The hold has expired: what was set aside is free again."""


class InvalidRequest(ApiError):
    """The request is wrong, today and tomorrow. The message says what to change."""


class NotFound(ApiError):
    """There is no such team, hold or entry that this token may see."""


class Unauthenticated(ApiError):
    """The token does not count."""


class Forbidden(ApiError):
    """The token is of another role, team or source."""


BY_CODE: dict[str, type[ApiError]] = {
    "exhausted": Exhausted,
    "plan_required": PlanRequired,
    "top_ups_required": TopUpsRequired,
    "member_limit": MemberLimitReached,
    "unknown_feature": InvalidRequest,
    "unknown_rate": InvalidRequest,
    "hold_settled": HoldEnded,
    "hold_released": HoldEnded,
    "hold_expired": HoldHasExpired,
}
BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    402: NotAllowed,
    403: Forbidden,
    404: NotFound,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
}


NOT_ABOUT_THE_WORK = {401, 403, 408, 425, 429}


def error_of(status: int, problem: dict[str, Any]) -> ApiError:
    """The error for an answer."""
    kind = BY_CODE.get(str(problem.get("code"))) or BY_STATUS.get(status, ApiError)
    return kind(status, problem)
