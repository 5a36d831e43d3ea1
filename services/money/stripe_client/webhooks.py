"""Which webhooks are believed, and what they say has happened."""

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from services.money.stripe_client.answers import WebhookEvent
from services.money.stripe_client.errors import Forged, Thin
from services.money.stripe_client.reading import id_of, moment_of

THIN = "v2.core.event"
SET_UP = (
    "this is a thin event, which says too little: in Stripe's dashboard, give this address a destination with the payload style "
    "Snapshot and the events of your own account, and remove the thin one"
)
SECONDS = re.compile(r"\d{1,12}", re.ASCII).fullmatch
SHA256 = re.compile(r"[0-9a-f]{64}").fullmatch
ID_LENGTH_MAX = 255  # what Stripe says of its own; an index of PostgreSQL takes no row of some kilobytes


class WebhookSignature(NamedTuple):
    """When a webhook says that it was sent, in seconds since 1970, and who is said to have signed it, in hex."""

    sent_at: int
    signatures: tuple[str, ...]


def read_signature(header: str, now: datetime, tolerance_seconds: int = 300) -> WebhookSignature:
    """What the header `Stripe-Signature` says, if it was sent not long ago, and not in the future either.

    So much can be said before a byte of the body is read; nothing of it is proved yet. Raises Forged.
    """
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [text for name, _, text in parts if name == "t"]
    signatures = tuple(text for name, _, text in parts if name == "v1" and SHA256(text))
    if len(times) != 1 or not SECONDS(times[0]) or not signatures:
        raise Forged("signature_missing", "the Stripe-Signature header has no time and signature")
    age_seconds = now.timestamp() - int(times[0])
    if abs(age_seconds) > tolerance_seconds:
        reason, when = ("too_old", "before") if age_seconds > 0 else ("from_the_future", "after")
        raise Forged(reason, f"sent {abs(age_seconds):.0f} s {when} now by our clock")
    return WebhookSignature(int(times[0]), signatures)


def verify_webhook(raw_body: bytes, signature: WebhookSignature, secrets: Sequence[str]) -> WebhookEvent:
    """The event, if one of our secrets signed these very bytes at that time.

    Several secrets are for the time while one replaces another. Raises Forged; ValueError when we have no secret, since
    an empty one would let anybody in. Raises Thin for an event of Stripe's that is not one of those we ask it for.
    """
    if not secrets or not all(secret.strip() for secret in secrets):
        message = "no webhook secret is set: CREDITWELL_STRIPE_WEBHOOK_SECRET"
        raise ValueError(message)
    signed = f"{signature.sent_at}.".encode() + raw_body
    genuine = False
    for secret in secrets:
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        for claimed in signature.signatures:
            genuine |= hmac.compare_digest(expected, claimed)
    if not genuine:
        raise Forged("signature_wrong", "no secret of ours signed this body")
    return _event(raw_body)


def _event(raw_body: bytes) -> WebhookEvent:
    try:
        event = json.loads(raw_body)
        if isinstance(event, dict) and event.get("object") == THIN:
            raise Thin("thin_event", SET_UP)
        body = event["data"]["object"]
        return _kept(WebhookEvent(
            id=event["id"],
            type=event["type"],
            live=event["livemode"],
            created_at=_moment(event["created"]),
            object_kind=body["object"],
            object_id="" if body.get("id") is None else body["id"],  # a balance has none
            intent_id=body["id"] if body["object"] == "payment_intent" else id_of(body.get("payment_intent")),
            charge_id=body["id"]
            if body["object"] == "charge"
            else id_of(body.get("charge", body.get("latest_charge"))),
            customer_id=id_of(body.get("customer")),
            metadata={} if body.get("metadata") is None else body["metadata"],
        ))  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, RecursionError) as unreadable:
        raise Forged("unreadable", "signed by our secret, yet no event of Stripe's") from unreadable


def _moment(seconds: object) -> datetime:
    """When it was; true is no number of seconds, whatever Python says."""
    if type(seconds) is not int:
        raise TypeError("seconds are a whole number")
    return moment_of(seconds)


def _kept(event: WebhookEvent) -> WebhookEvent:
    """The event, if the database can keep it.

    Raises ValueError or TypeError: what should be text is none, or has a NUL in it.
    """
    ids = (event.object_id, event.intent_id, event.charge_id, event.customer_id)
    texts = [event.id, event.type, event.object_kind, *(text for text in ids if text is not None)]
    if any(len(text) > ID_LENGTH_MAX for text in texts):
        raise ValueError("a name of Stripe's is not that long")
    texts += [part for pair in event.metadata.items() for part in pair]
    if not isinstance(event.live, bool) or any(b"\x00" in str.encode(text) for text in texts):
        raise ValueError("it can't be kept")
    return event
