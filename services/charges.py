"""The only place that talks to Stripe: asks for money once, and can always find out what became of it.

A top-up is charged in two steps. An unconfirmed intent moves no money; an intent succeeds at most once. So the worker
records the id of the first before it confirms, and from then on confirms that one and no other: however often a step
is repeated, after however many days, at most one charge is made. Idempotency keys, derived from the attempt and never
drawn, only spare Stripe the repetition; nothing here rests on Stripe's remembering them (24 hours).

What can come back is one of four:

    an Intent, a Checkout …   the truth as Stripe sees it now
    Declined (Refused)        the bank's definite no, with the remedy
    Unknown, Busy             ask `retrieve` or `find_intent` before anything else; wait, then say the same again
    WrongRequest              Stripe will never accept this request: our mistake, the process dies

The library is told never to retry by itself: each repetition is a decision, and decisions are facts. Its timeout counts
from byte to byte, so that a slow drip would outlast a lease; ours counts from the question to the whole answer.
"""

import asyncio
import hashlib
import hmac
import json
import math
import re
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar
from uuid import UUID

import stripe
from stripe.params import PaymentIntentConfirmParams, PaymentIntentListParams
from stripe.params.checkout import SessionCreateParams

from services.errors import Refused, Unavailable

stripe.enable_telemetry = False  # it would write a file into the home folder and tell Stripe about this machine

TIMEOUT_SECONDS: Final = 10.0  # the top-up worker's lease must be more than twice as long
PAGE_SIZE: Final = 100
WHOLE_INTENT: Final = ["payment_method", "latest_charge"]

State = Literal[
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "requires_capture",
    "processing",
    "succeeded",
    "cancelled",
]
Remedy = Literal["retry_later", "needs_card", "needs_authentication"]
Json = dict[str, Any]
T = TypeVar("T")

# Stripe's list of decline codes, those after which the same card will not do. All others may pass at another time.
CARD_IS_NO_GOOD: Final = frozenset(
    """
    card_not_supported currency_not_supported expired_card fraudulent highest_risk incorrect_cvc incorrect_number
    incorrect_zip invalid_account invalid_cvc invalid_expiry_month invalid_expiry_year invalid_number lost_card
    merchant_blacklist new_account_information_available no_such_card pickup_card restricted_card
    revocation_of_all_authorizations revocation_of_authorization security_violation stolen_card stop_payment_order
    testmode_decline
    """.split()  # noqa: SIM905 - words read better than a column of strings
)
OWNER_MUST_CONFIRM: Final = frozenset(
    {"authentication_required", "authentication_not_handled", "payment_intent_authentication_failure"}
)


@dataclass(frozen=True, slots=True)
class Card:
    """A card on file. The fingerprint is the card number's: the same card saved twice has two ids and one of these."""

    payment_method_id: str
    brand: str
    last4: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Decline:
    """Why the bank said no, in Stripe's words."""

    code: str
    decline_code: str | None
    message: str
    advice_code: str | None = None

    @property
    def remedy(self) -> Remedy:
        """What would help: time, another card, or the owner's own confirmation."""
        reasons = {self.code, self.decline_code}
        if reasons & OWNER_MUST_CONFIRM:
            return "needs_authentication"
        if self.advice_code in {"do_not_try_again", "confirm_card_data"} or reasons & CARD_IS_NO_GOOD:
            return "needs_card"
        return "retry_later"


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be paid, and how far that has come. Only `succeeded` is money; `processing` is not yet."""

    id: str
    state: State
    amount_cents: int
    currency: str
    customer_id: str | None
    payment_method_id: str | None
    card: Card | None
    decline: Decline | None
    charge_id: str | None
    receipt_url: str | None
    refunded_cents: int
    disputed: bool
    action_url: str | None
    metadata: Mapping[str, str]
    created_at: datetime

    @property
    def payable(self) -> bool:
        """Money may still move by it: an attempt must not end while this holds."""
        return self.state not in {"succeeded", "cancelled"}


@dataclass(frozen=True, slots=True)
class Dispute:
    """The bank takes a charge back and asks us why it should not. Amounts are minor units."""

    id: str
    charge_id: str
    amount_cents: int
    currency: str
    status: str
    reason: str
    created_at: datetime

    @property
    def money_is_away(self) -> bool:
        """An inquiry (`warning_…`) only asks; a dispute that was won gave the money back."""
        return self.status in {"needs_response", "under_review", "lost"}


@dataclass(frozen=True, slots=True)
class Checkout:
    """A page of Stripe's on which a person pays for a pack, or saves a card. Unpaid it grants nothing."""

    id: str
    mode: Literal["payment", "setup"]
    state: Literal["open", "complete", "expired"]
    paid: bool
    url: str | None
    amount_cents: int | None
    currency: str | None
    customer_id: str | None
    intent: Intent | None
    card: Card | None
    metadata: Mapping[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """What Stripe says has happened, and to what. No amounts: whoever acts on it fetches the object as it is now."""

    id: str
    type: str
    live: bool
    created_at: datetime
    object_kind: str
    object_id: str
    intent_id: str | None
    charge_id: str | None
    customer_id: str | None
    metadata: Mapping[str, str]


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
    """Stripe will not have this request, today or tomorrow: our mistake, or a wrong key. Not to be caught."""

    def __init__(self, message: str, *, status: int | None, code: str | None, param: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


class Missing(WrongRequest):
    """Stripe knows nothing by this id."""


class Charges:
    """Our account at Stripe. One per process; close it, or use it as `async with`."""

    def __init__(
        self, secret_key: str, *, api_base: str | None = None, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """`api_base` leads to a stand-in. Raises ValueError when a live key would travel in the open."""
        self.live = secret_key.startswith(("sk_live_", "rk_live_"))
        if self.live and not (api_base or "https://").startswith("https://"):
            message = "a live key is never sent over plain http: check CREDITWELL_STRIPE_API"
            raise ValueError(message)
        self._timeout_seconds = timeout_seconds
        self._http = stripe.HTTPXClient(timeout=timeout_seconds)
        self._api = stripe.StripeClient(
            secret_key,
            base_addresses={} if api_base is None else {"api": api_base.rstrip("/")},
            max_network_retries=0,
            http_client=self._http,
        ).v1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections to Stripe."""
        await self._http.close_async()  # type: ignore[no-untyped-call]  # as the library has it

    async def create_intent(
        self,
        *,
        attempt_id: UUID,
        team_id: str,
        customer_id: str,
        payment_method_id: str,
        charge_cents: int,
        currency: str,
        metadata: Mapping[str, str] | None = None,
        try_number: int = 1,
    ) -> Intent:
        """An intent that moves no money until it is confirmed.

        The body follows from the arguments alone, so that the same attempt says the same again. After `Unknown`, look
        with `find_intent` first; the next `try_number` is for a key that is spent and an intent that is not there.
        """
        created = await self._ask(
            self._api.payment_intents.create_async(
                {
                    "amount": charge_cents,
                    "currency": currency,
                    "customer": customer_id,
                    "payment_method": payment_method_id,
                    "allowed_payment_method_types": ["card"],
                    "description": "Automatic top-up",
                    "metadata": {**(metadata or {}), "team_id": team_id, "attempt_id": str(attempt_id)},
                    "expand": WHOLE_INTENT,
                },
                {"idempotency_key": _key(f"top_up:{attempt_id}:create", try_number)},
            )
        )
        return _intent(created.to_dict())

    async def confirm(
        self,
        intent_id: str,
        *,
        attempt_id: UUID,
        try_number: int,
        off_session: bool = True,
        payment_method_id: str | None = None,
        return_url: str | None = None,
    ) -> Intent:
        """Asks the bank for the money; raises Declined, Unknown or Busy.

        With `off_session`, a bank that wants its owner's confirmation declines (`needs_authentication`). Without,
        the intent comes back as `requires_action`, and `action_url` is where the admin confirms. An intent that can't
        be confirmed any more comes back as it is: look at its `state`, whatever was asked.
        """
        params: PaymentIntentConfirmParams = {"expand": WHOLE_INTENT}
        if off_session:
            params |= {"off_session": True, "error_on_requires_action": True}
        if payment_method_id is not None:
            params["payment_method"] = payment_method_id
        if return_url is not None:
            params["return_url"] = return_url
        key = f"top_up:{attempt_id}:confirm:{try_number}"
        asked = self._api.payment_intents.confirm_async(intent_id, params, {"idempotency_key": key})
        return await self._moved(intent_id, asked)

    async def cancel(self, intent_id: str, *, try_number: int = 1) -> Intent:
        """Makes sure that the intent is never paid. The one that comes back may have succeeded meanwhile: look."""
        asked = self._api.payment_intents.cancel_async(
            intent_id,
            {"cancellation_reason": "abandoned", "expand": WHOLE_INTENT},
            {"idempotency_key": _key(f"intent:{intent_id}:cancel", try_number)},
        )
        return await self._moved(intent_id, asked)

    async def retrieve(self, intent_id: str) -> Intent:
        """The truth about one intent; raises Missing when Stripe has none of this id."""
        found = await self._ask(self._api.payment_intents.retrieve_async(intent_id, {"expand": WHOLE_INTENT}))
        return _intent(found.to_dict())

    async def list_intents(
        self, *, created_after: datetime, created_before: datetime | None = None, customer_id: str | None = None
    ) -> AsyncIterator[Intent]:
        """All intents made from `created_after` until before `created_before`, newest first.

        By listing, which sees what was written a moment ago; Stripe's search may lag by an hour.
        """
        created = {"gte": math.floor(created_after.timestamp())}
        if created_before is not None:
            created["lt"] = math.ceil(created_before.timestamp())
        params: PaymentIntentListParams = {
            "created": created,  # type: ignore[typeddict-item]  # a TypedDict of integers, which this is
            "limit": PAGE_SIZE,
            "expand": [f"data.{part}" for part in WHOLE_INTENT],
        }
        if customer_id is not None:
            params["customer"] = customer_id
        while True:
            page = await self._ask(self._api.payment_intents.list_async(params))
            for found in page.data:
                yield _intent(found.to_dict())
            if not page.has_more:
                return
            params["starting_after"] = page.data[-1].id

    async def find_intent(self, attempt_id: UUID, *, customer_id: str, created_after: datetime) -> Intent | None:
        """The attempt's intent, by listing. Of several, the one that is paid, else the oldest that may still be."""
        found = [
            intent
            async for intent in self.list_intents(created_after=created_after, customer_id=customer_id)
            if intent.metadata.get("attempt_id") == str(attempt_id)
        ]
        rank = {"succeeded": 0, "processing": 1, "cancelled": 3}
        return min(reversed(found), key=lambda intent: rank.get(intent.state, 2), default=None)

    async def disputes_of(self, intent_id: str) -> tuple[Dispute, ...]:
        """Every dispute over what this intent charged."""
        page = await self._ask(self._api.disputes.list_async({"payment_intent": intent_id, "limit": PAGE_SIZE}))
        return tuple(_dispute(found.to_dict()) for found in page.data)

    async def ensure_customer(self, team_id: str) -> str:
        """The team's customer at Stripe, made if there is none. Keep the id: finding it means reading through all."""
        found = await self._customer_of(team_id)
        if found is not None:
            return found
        made = await self._ask(
            self._api.customers.create_async(
                {"metadata": {"team_id": team_id}}, {"idempotency_key": f"customer:{team_id}"}
            )
        )
        return made.id

    async def card_of(self, customer_id: str) -> Card | None:
        """The card that top-ups are charged to."""
        found = await self._ask(
            self._api.customers.retrieve_async(customer_id, {"expand": ["invoice_settings.default_payment_method"]})
        )
        settings = found.to_dict().get("invoice_settings") or {}
        return _card(settings.get("default_payment_method"))

    async def use_card(self, customer_id: str, payment_method_id: str, *, change_id: str) -> None:
        """Makes a saved card the one that top-ups are charged to; `change_id` names the decision: the Checkout's id."""
        await self._ask(
            self._api.customers.update_async(
                customer_id,
                {"invoice_settings": {"default_payment_method": payment_method_id}},
                {"idempotency_key": f"customer:{customer_id}:card:{change_id}"},
            )
        )

    async def create_checkout(
        self,
        *,
        purchase_id: str,
        team_id: str,
        customer_id: str,
        name: str,
        amount_cents: int,
        currency: str,
        success_url: str,
        cancel_url: str,
        save_card: bool = False,
        automatic_tax: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Checkout:
        """A page to pay for one pack on. `{CHECKOUT_SESSION_ID}` in `success_url` becomes the Checkout's id."""
        told = {**(metadata or {}), "team_id": team_id, "purchase_id": purchase_id}
        params: SessionCreateParams = {
            "mode": "payment",
            "customer": customer_id,
            "client_reference_id": team_id,
            "allowed_payment_method_types": ["card"],
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {"currency": currency, "unit_amount": amount_cents, "product_data": {"name": name}},
                }
            ],
            "payment_intent_data": {"metadata": told},
            "metadata": told,
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        if save_card:
            params["payment_intent_data"]["setup_future_usage"] = "off_session"
        if automatic_tax:
            params["automatic_tax"] = {"enabled": True}
            params["customer_update"] = {"address": "auto"}  # without it Stripe has no address to tax by
        return await self._open_checkout(params, f"purchase:{purchase_id}:checkout")

    async def create_card_checkout(
        self, *, change_id: str, team_id: str, customer_id: str, success_url: str, cancel_url: str
    ) -> Checkout:
        """A page to save a card on; nothing is charged."""
        told = {"team_id": team_id, "change_id": change_id}
        params: SessionCreateParams = {
            "mode": "setup",
            "customer": customer_id,
            "client_reference_id": team_id,
            "allowed_payment_method_types": ["card"],
            "setup_intent_data": {"metadata": told},
            "metadata": told,
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        return await self._open_checkout(params, f"card:{change_id}:checkout")

    async def retrieve_checkout(self, checkout_id: str) -> Checkout:
        """How far the person has come, with the intent that was paid and the card that was used or saved."""
        parts = ["payment_intent.payment_method", "payment_intent.latest_charge", "setup_intent.payment_method"]
        found = await self._ask(self._api.checkout.sessions.retrieve_async(checkout_id, {"expand": parts}))
        return _checkout(found.to_dict())

    async def _customer_of(self, team_id: str) -> str | None:
        """The oldest customer that carries the team's id: two workers that made one each agree on it afterwards."""
        oldest, after = None, ""
        while True:
            page = await self._ask(
                self._api.customers.list_async(
                    {"limit": PAGE_SIZE, "starting_after": after} if after else {"limit": PAGE_SIZE}
                )
            )
            for found in page.data:
                if (found.to_dict().get("metadata") or {}).get("team_id") == team_id:
                    oldest = found.id
            if not page.has_more:
                return oldest
            after = page.data[-1].id

    async def _open_checkout(self, params: SessionCreateParams, key: str) -> Checkout:
        opened = await self._ask(self._api.checkout.sessions.create_async(params, {"idempotency_key": key}))
        return _checkout(opened.to_dict())

    async def _moved(self, intent_id: str, asked: Awaitable[stripe.PaymentIntent]) -> Intent:
        """The intent after a step, or as it is when it was beyond that step already."""
        try:
            return _intent((await self._ask(asked)).to_dict())
        except WrongRequest as refusal:
            if refusal.code != "payment_intent_unexpected_state":
                raise
        return await self.retrieve(intent_id)

    async def _ask(self, question: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await question
        except TimeoutError:
            raise Unknown("no_answer") from None
        except stripe.StripeError as error:
            raise _meaning(error) from error


def verify_webhook(
    raw_body: bytes,
    signature_header: str,
    secrets: Sequence[str],
    now: datetime,
    tolerance_seconds: int = 300,
) -> WebhookEvent:
    """The event, if one of our secrets signed these very bytes not long ago, and not in the future either.

    Several secrets are for the time while one replaces another. Raises Forged; ValueError when we have no secret, since
    an empty one would let anybody in.
    """
    if not secrets or not all(secret.strip() for secret in secrets):
        message = "no webhook secret is set: CREDITWELL_STRIPE_WEBHOOK_SECRET"
        raise ValueError(message)
    sent_at, signatures = _signatures(signature_header)
    signed = f"{sent_at}.".encode() + raw_body
    genuine = False
    for secret in secrets:
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        for signature in signatures:
            genuine |= hmac.compare_digest(expected.encode(), signature.encode())
    if not genuine:
        raise Forged("signature_wrong", "no secret of ours signed this body")
    age_seconds = now.timestamp() - sent_at
    if abs(age_seconds) > tolerance_seconds:
        reason = "too_old" if age_seconds > 0 else "from_the_future"
        raise Forged(reason, f"sent {age_seconds:.0f} s before now by our clock")
    return _event(raw_body)


def _signatures(header: str) -> tuple[int, list[str]]:
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [text for name, _, text in parts if name == "t"]
    signatures = [text for name, _, text in parts if name == "v1"]
    if len(times) != 1 or not re.fullmatch(r"\d{1,12}", times[0], re.ASCII) or not signatures:
        raise Forged("signature_missing", "the Stripe-Signature header has no time and signature")
    return int(times[0]), signatures


def _event(raw_body: bytes) -> WebhookEvent:
    try:
        event = json.loads(raw_body)
        body = event["data"]["object"]
        return WebhookEvent(
            id=event["id"],
            type=event["type"],
            live=event["livemode"],
            created_at=_moment(event["created"]),
            object_kind=body["object"],
            object_id=body["id"],
            intent_id=body["id"] if body["object"] == "payment_intent" else _id(body.get("payment_intent")),
            charge_id=body["id"] if body["object"] == "charge" else _id(body.get("charge", body.get("latest_charge"))),
            customer_id=_id(body.get("customer")),
            metadata=body.get("metadata") or {},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as unreadable:
        raise Forged("unreadable", "signed by our secret, yet no event of Stripe's") from unreadable


def _meaning(error: stripe.StripeError) -> Exception:
    """Stripe's refusal in our three kinds: refused, unavailable, our mistake."""
    details = error.json_body.get("error", {}) if isinstance(error.json_body, dict) else {}
    headers = error.headers or {}
    replayed = headers.get("idempotent-replayed") == "true"
    match error:
        case stripe.CardError():
            body = details.get("payment_intent")
            return Declined(_decline(details), None if body is None else _intent(body))
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


def _intent(body: Json) -> Intent:
    charge = body.get("latest_charge")
    charge = charge if isinstance(charge, dict) else {}
    fault = body.get("last_payment_error")
    action = (body.get("next_action") or {}).get("redirect_to_url") or {}
    status = body["status"]
    return Intent(
        id=body["id"],
        state="cancelled" if status == "canceled" else status,
        amount_cents=body["amount"],
        currency=body["currency"],
        customer_id=_id(body.get("customer")),
        payment_method_id=_id(body.get("payment_method")),
        card=_card(body.get("payment_method")) or _card((fault or {}).get("payment_method")),
        decline=None if fault is None else _decline(fault),
        charge_id=_id(body.get("latest_charge")),
        receipt_url=charge.get("receipt_url"),
        refunded_cents=charge.get("amount_refunded", 0),
        disputed=charge.get("disputed", False),
        action_url=action.get("url"),
        metadata=body.get("metadata") or {},
        created_at=_moment(body["created"]),
    )


def _checkout(body: Json) -> Checkout:
    intent, setup = body.get("payment_intent"), body.get("setup_intent")
    paid_with = intent if isinstance(intent, dict) else setup if isinstance(setup, dict) else {}
    return Checkout(
        id=body["id"],
        mode=body["mode"],
        state=body["status"],
        paid=body["payment_status"] == "paid",
        url=body.get("url"),
        amount_cents=body.get("amount_total"),
        currency=body.get("currency"),
        customer_id=_id(body.get("customer")),
        intent=_intent(intent) if isinstance(intent, dict) else None,
        card=_card(paid_with.get("payment_method")),
        metadata=body.get("metadata") or {},
        created_at=_moment(body["created"]),
    )


def _dispute(body: Json) -> Dispute:
    return Dispute(
        id=body["id"],
        charge_id=_id(body["charge"]) or "",
        amount_cents=body["amount"],
        currency=body["currency"],
        status=body["status"],
        reason=body["reason"],
        created_at=_moment(body["created"]),
    )


def _card(method: str | Json | None) -> Card | None:
    """None when there is none, when it was not expanded, and when it is no card."""
    if not isinstance(method, dict) or method.get("card") is None:
        return None
    card = method["card"]
    return Card(method["id"], card["brand"], card["last4"], card.get("fingerprint") or "")


def _decline(body: Json) -> Decline:
    return Decline(
        code=body.get("code") or "card_declined",
        decline_code=body.get("decline_code"),
        message=body.get("message") or "",
        advice_code=body.get("advice_code"),
    )


def _id(part: str | Json | None) -> str | None:
    """Stripe gives the id, or the whole object where it was asked to expand it."""
    return part["id"] if isinstance(part, dict) else part


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _key(stem: str, try_number: int) -> str:
    return stem if try_number == 1 else f"{stem}:{try_number}"
