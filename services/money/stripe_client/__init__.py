"""The only place that talks to Stripe: asks for money once, and can always find out what became of it.

A top-up is charged in two steps. An unconfirmed intent moves no money; an intent succeeds at most once. So the worker
records the id of the first before it confirms, and from then on confirms that one and no other. However often a step is
repeated, after however many days, at most one charge is made. Idempotency keys, derived from the attempt and never
drawn, only spare Stripe the repetition; nothing here rests on Stripe's remembering them (24 hours).

What can come back is one of four:

    an Intent, a Checkout …   the truth as Stripe sees it now
    Declined (Refused)        the bank's definite no, with the remedy
    Unknown, Busy             ask `retrieve` or `find_intents` before anything else; wait, then say the same again
    WrongRequest              Stripe will not accept this request: our mistake, or a wrong key; it says nothing about
                              the money

Its modules:

    asking      the line: one question, one answer, or one of four errors
    carrier     what carries a question over HTTP
    pace        how fast we ask
    answers     what comes back, in our words
    reading     from Stripe's JSON to those
    errors      what comes back instead
    metrics     how long it takes, and what comes back, counted
    intents     payment intents
    checkouts   Stripe's own pages
    customers   customers and their cards
    reversals   refunds and disputes
    balance     what all of it did to our balance, with Stripe's fees
    webhooks    which news are believed
"""

from services.money.stripe_client.answers import (
    BalanceMove,
    Checkout,
    Decline,
    Dispute,
    Intent,
    IntentState,
    Remedy,
    StripeCard,
    WebhookEvent,
)
from services.money.stripe_client.asking import TIMEOUT_SECONDS
from services.money.stripe_client.balance import StripeBalance
from services.money.stripe_client.checkouts import Checkouts
from services.money.stripe_client.customers import Customers
from services.money.stripe_client.errors import Busy, Declined, Forged, Missing, Thin, Unknown, WrongRequest
from services.money.stripe_client.intents import Intents
from services.money.stripe_client.metrics import StripeMetrics
from services.money.stripe_client.reversals import Reversals
from services.money.stripe_client.webhooks import WebhookSignature, read_signature, verify_webhook
from services.runtime.settings import Settings

__all__ = [
    "TIMEOUT_SECONDS", "BalanceMove", "Busy", "Charges", "Checkout", "Decline", "Declined", "Dispute", "Forged", "Intent",
    "IntentState", "Missing", "Remedy", "StripeCard", "StripeMetrics", "Thin", "Unknown", "WebhookEvent", "WebhookSignature", "WrongRequest",
    "charges_of", "read_signature", "verify_webhook",
]  # fmt: skip


class Charges(Intents, Reversals, Customers, Checkouts, StripeBalance):
    """Our account at Stripe. One per process; close it, or use it as `async with`."""


def charges_of(settings: Settings, metrics: StripeMetrics | None = None) -> Charges:
    """The account of the settings, asked no faster than they allow; raises WrongSettings where there is no key."""
    return Charges(
        settings.needed("stripe_key"), api_base=settings.stripe_api, per_second=settings.stripe_rate, metrics=metrics
    )
