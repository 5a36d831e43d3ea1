"""How Stripe answers, counted: how long it takes, and what comes back."""

from time import perf_counter

from prometheus_client import CollectorRegistry, Histogram

from services.money.stripe_client.errors import Busy, Declined, Unknown

SECONDS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 2, 5, 10)


class StripeMetrics:
    """One per process; an account of it may be opened anew."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "creditwell_stripe_seconds", "How long Stripe took to answer, by what was asked and what came back.",
            ["endpoint", "outcome"], registry=registry, buckets=SECONDS,
        )  # fmt: skip

    def answered(self, endpoint: str, began: float, error: BaseException | None) -> None:
        """Count one question that was sent at `began`, by `perf_counter`; `endpoint` is the library's method."""
        self._seconds.labels(question_of(endpoint), _outcome(error)).observe(perf_counter() - began)


def question_of(endpoint: str) -> str:
    """What was asked, by the library's method: `PaymentIntent.create`."""
    return endpoint.removesuffix("_async").replace("Service.", ".") or "unknown"


def _outcome(error: BaseException | None) -> str:
    match error:
        case None:
            return "answered"
        case Declined():
            return "declined"
        case Busy():
            return "busy"
        case Unknown():
            return error.reason
        case _:
            return "wrong_request"
