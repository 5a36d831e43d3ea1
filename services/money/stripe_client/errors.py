"""What can come back instead of an answer: the bank's no, nobody knows, slow down, and our own mistakes."""

from http import HTTPStatus
from typing import Literal

import stripe

from services.money.stripe_client.answers import Decline, Intent, Remedy
from services.money.stripe_client.reading import decline_of, intent_of
from services.runtime.errors import Refused, Unavailable

WAIT_SECONDS_MAX = 600  # what stands between may write any number, and nobody's card would be charged meanwhile


class Declined(Refused):
    """The bank's definite no (402). No money moved; `intent` is as the no has left it, still payable."""

    def __init__(self, decline: Decline, intent: Intent | None, *, replayed: bool = False) -> None:
        super().__init__(decline.remedy, decline.message)
        self.decline = decline
        self.intent = intent
        self.replayed = replayed  # as for `WrongRequest`

    @property
    def remedy(self) -> Remedy:
        """What would help."""
        return self.decline.remedy


class Forged(Refused):
    """A webhook that Stripe did not send, or not now. `reason` says which test it failed."""


class Thin(Refused):
    """A webhook that Stripe did send, in its newer, thin form: nobody can act upon it. Its words say what to set up."""


class Unknown(Unavailable):
    """Nobody knows whether it was done. Ask for the truth; never start another attempt on the strength of this.

    `key_is_spent`: Stripe would only repeat this answer to the same idempotency key, so once the truth says that the
    step is still to be taken, take it with the next `try_number`.
    """

    def __init__(
        self, reason: Literal["no_answer", "server_error", "in_flight", "kept_answer"], *, key_is_spent: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.key_is_spent = key_is_spent


class Busy(Unavailable):
    """Stripe asks us to slow down (429). Nothing was done. `of_endpoint`: this endpoint alone was asked too often."""

    def __init__(self, retry_after_seconds: int | None, *, of_endpoint: bool = False) -> None:
        super().__init__(f"retry after {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds
        self.of_endpoint = of_endpoint


class WrongRequest(Exception):
    """Stripe will not have this request, today or tomorrow: our mistake, or a wrong key.

    It says nothing about the money.

    `replayed`: Stripe kept this answer under the key from an earlier request. That one ran, so the truth must be
    asked for.
    """

    def __init__(
        self, message: str, *, status: int | None, code: str | None, param: str | None, replayed: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.replayed = replayed


class WrongKey(WrongRequest):
    """Stripe's key is none, or may not do this (401, 403): it is so for every team, and ends a process that charges."""


class Missing(WrongRequest):
    """Stripe knows nothing by this id."""


def meaning(error: stripe.StripeError) -> Exception:
    """Stripe's refusal in our three kinds: refused, unavailable, our mistake."""
    details = error.json_body.get("error", {}) if isinstance(error.json_body, dict) else {}
    headers = error.headers or {}
    replayed = headers.get("idempotent-replayed") == "true"
    match error:
        case stripe.CardError():
            body = details.get("payment_intent")
            return Declined(decline_of(details), None if body is None else intent_of(body), replayed=replayed)
        case stripe.RateLimitError():
            after = headers.get("retry-after", "")[:9]
            reason = headers.get("stripe-rate-limited-reason", "")
            wait = min(int(after), WAIT_SECONDS_MAX) if after.isascii() and after.isdecimal() else None
            return Busy(wait, of_endpoint=reason.startswith("endpoint"))
        case stripe.APIConnectionError():
            return Unknown("no_answer")
        case stripe.IdempotencyError():
            # The key was used for another body, by another release of ours: what that request did must be asked for.
            return Unknown("kept_answer", key_is_spent=True)
        case stripe.APIError():
            conflict = error.http_status == 409
            return Unknown("in_flight" if conflict else "server_error", key_is_spent=replayed)
    kind: type[WrongRequest] = WrongRequest
    if error.code == "resource_missing":
        kind = Missing
    elif error.http_status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        kind = WrongKey
    return kind(str(error), status=error.http_status, code=error.code, param=details.get("param"), replayed=replayed)
