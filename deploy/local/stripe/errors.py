"""How Stripe says no: one kind of answer for each kind of refusal."""

from typing import Any

Json = dict[str, Any]


class StripeError(Exception):
    """A refusal, in the shape of Stripe's `error` object.

    `saved` says whether the answer is kept under the request's idempotency key: Stripe keeps what an endpoint answered
    once it had begun to work, and forgets what it refused at the door (wrong parameters, unknown objects, conflicts).
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        saved: bool = False,
        details: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.saved = saved
        url = None if code is None else f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
        error: Json = {
            "code": code,
            "doc_url": url,
            "message": message,
            "param": param,
            "type": kind,
            **(details or {}),
        }
        self.body: Json = {"error": {name: value for name, value in error.items() if value is not None}}


def unknown_parameter(param: str) -> StripeError:
    """A field that this endpoint does not know."""
    return StripeError(
        400,
        f"Received unknown parameter: {param}",
        code="parameter_unknown",
        param=param,
    )


def missing_parameter(param: str) -> StripeError:
    """A field without which this endpoint does nothing."""
    return StripeError(400, f"Missing required param: {param}.", code="parameter_missing", param=param)


def invalid(param: str, message: str, code: str | None = None) -> StripeError:
    """A field whose value will not do."""
    return StripeError(400, message, code=code, param=param)


def no_such(kind: str, identity: str, param: str) -> StripeError:
    """A path that names nothing is a 404; a parameter that names nothing is a 400."""
    status = 404 if param in {"id", "intent", "charge_id"} else 400
    message = f"No such {kind.replace('.', ' ')}: '{identity}'"
    return StripeError(status, message, code="resource_missing", param=param)


def unexpected_state(code: str, message: str, **details: object) -> StripeError:
    """The request is sound, and the object is beyond it."""
    return StripeError(400, message, code=code, saved=True, details=details)


def card_error(message: str, code: str, **details: object) -> StripeError:
    """The bank's no (402). It is kept under the key: asking again with the same key asks nobody."""
    return StripeError(402, message, kind="card_error", code=code, saved=True, details=details)


def key_in_use(key: str) -> StripeError:
    """The same key is being worked on at this moment (409)."""
    message = (
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted "
        f"twice, and the other request is still going through): {key}. Please try again later."
    )
    return StripeError(409, message, code="idempotency_key_in_use")


def key_of_another_request(key: str, endpoint: str | None) -> StripeError:
    """The key was used before for another endpoint, which is named, or for another body (400)."""
    same = f"for the same endpoint they were first used for ('{endpoint}')" if endpoint else "with the same parameters"
    message = (
        f"Keys for idempotent requests can only be used {same}"
        f"{'' if endpoint else ' they were first used with'}. Try using a key other than '{key}' if you meant to "
        "execute a different request."
    )
    return StripeError(400, message, kind="idempotency_error")
