"""What can come back instead of an answer: the bank's no, nobody knows, slow down, and our own mistakes."""

from typing import Literal

import stripe

from services.money.stripe_client.answers import Decline, Intent, Remedy
from services.money.stripe_client.reading import decline_of, intent_of
from services.runtime.errors import Refused, Unavailable


class Declined(Refused):
    """The bank's definite no (402). No money moved; `intent` is as the no has left it, still payable."""

    def __init__(self, decline: Decline, intent: Intent | None) -> None:
        super().__init__(decline.remedy, decline.message)
        self.decline = decline
        self.intent = intent

    @property
    def remedy(self) -> Remedy:
        """What would help."""
        return self.decline.remedy


class Forged(Refused):
    """A webhook that Stripe did not send, or not now. `reason` says which test it failed."""


class Unknown(Unavailable):
    """Nobody knows whether it was done. Ask for the truth; never start another attempt on the strength of this.

    `key_is_spent`: Stripe would only repeat this answer to the same idempotency key, so once the truth says that the
    step is still to be taken, take it with the next `try_number`.
    """

    def __init__(
        self, reason: Literal["no_answer", "server_error", "in_flight"], *, key_is_spent: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.key_is_spent = key_is_spent


class Busy(Unavailable):
    """Stripe asks us to slow down (429). Nothing was done."""

    def __init__(self, retry_after_seconds: int | None) -> None:
        super().__init__(f"retry after {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class WrongRequest(Exception):
    """Stripe will not have this request, today or tomorrow: our mistake, or a wrong key.

    Never the end of an attempt by itself.
    """

    def __init__(self, message: str, *, status: int | None, code: str | None, param: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


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
            return Declined(decline_of(details), None if body is None else intent_of(body))
        case stripe.RateLimitError():
            after = headers.get("retry-after", "")
            return Busy(int(after) if after.isdecimal() else None)
        case stripe.APIConnectionError():
            return Unknown("no_answer")
        case stripe.IdempotencyError():
            # The key was used for another body, by another release of ours: what that request did must be asked for.
            return Unknown("in_flight", key_is_spent=True)
        case stripe.APIError():
            conflict = error.http_status == 409
            return Unknown("in_flight" if conflict else "server_error", key_is_spent=replayed)
    kind = Missing if error.code == "resource_missing" else WrongRequest
    return kind(str(error), status=error.http_status, code=error.code, param=details.get("param"))
