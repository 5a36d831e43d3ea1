"""What the bank's no means, and which webhooks are believed. No sockets."""

import ast
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from deploy.local.stripe.webhooks import sign
from services.money.stripe_client import (
    Charges,
    Decline,
    Dispute,
    Forged,
    Remedy,
    StripeMetrics,
    Unknown,
    WebhookEvent,
    charges_of,
    read_signature,
    verify_webhook,
)
from services.money.stripe_client.answers import COURSES, TAKES_NOTHING
from services.money.stripe_client.errors import Busy, meaning
from services.runtime.settings_loading import load_settings

NOW = datetime(2026, 11, 23, 10, 15, 30, tzinfo=UTC)
SECRET = "whsec_today"
BODY = json.dumps(
    {
        "id": "evt_1",
        "type": "charge.refunded",
        "livemode": False,
        "created": 1_795_000_000,
        "data": {
            "object": {
                "id": "ch_1",
                "object": "charge",
                "payment_intent": "pi_1",
                "customer": "cus_1",
                "amount_refunded": 500,
                "metadata": {"team_id": "team_42"},
            }
        },
    }
).encode()


def signed(body: bytes = BODY, *, secret: str = SECRET, age: timedelta = timedelta()) -> str:
    return sign(secret, body, int((NOW - age).timestamp()))


def verified(header: str, body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,)) -> WebhookEvent:
    return verify_webhook(body, read_signature(header, NOW), secrets)


def imported(source: str) -> set[str]:
    """The top-level packages that a file imports."""
    found = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in found if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in plain | {n.module or "" for n in found if isinstance(n, ast.ImportFrom)}}


def test_one_package_talks_to_stripe() -> None:
    root = Path(__file__).parents[3]
    talks = {
        file.relative_to(root).parent.as_posix()
        for folder in ("schemas", "projections", "services", "deploy")
        for file in (root / folder).rglob("*.py")
        if "stripe" in imported(file.read_text())
    }

    assert talks == {"services/money/stripe_client"}


def test_a_webhook_that_stripe_signed_just_now_says_what_to_look_at() -> None:
    event = verified(signed())

    assert (event.id, event.type, event.live) == ("evt_1", "charge.refunded", False)
    assert (event.object_kind, event.object_id) == ("charge", "ch_1")
    assert (event.intent_id, event.charge_id, event.customer_id) == ("pi_1", "ch_1", "cus_1")
    assert event.metadata == {"team_id": "team_42"}


def test_a_webhook_about_something_without_a_name_is_no_forgery() -> None:
    body = json.dumps(
        {**json.loads(BODY), "type": "balance.available", "data": {"object": {"object": "balance"}}}
    ).encode()
    event = verified(signed(body), body)

    assert (event.object_kind, event.object_id, event.intent_id) == ("balance", "", None)


def test_a_webhook_carries_no_amount_that_anybody_could_believe() -> None:
    assert not [name for name in WebhookEvent.__dataclass_fields__ if "amount" in name or "cents" in name]


@pytest.mark.parametrize(
    ("age", "reason", "when"),
    [
        (timedelta(seconds=301), "too_old", "before"),
        (timedelta(seconds=-301), "from_the_future", "after"),
        (timedelta(days=1), "too_old", "before"),
    ],
)
def test_a_webhook_from_another_time_is_refused(age: timedelta, reason: str, when: str) -> None:
    with pytest.raises(Forged) as refusal:
        verified(signed(age=age))

    assert refusal.value.reason == reason
    assert refusal.value.detail == f"sent {abs(age).total_seconds():.0f} s {when} now by our clock"


@pytest.mark.parametrize("age", [timedelta(seconds=300), timedelta(seconds=-300)])
def test_a_webhook_within_five_minutes_either_way_is_believed(age: timedelta) -> None:
    assert verified(signed(age=age)).id == "evt_1"


def test_while_secrets_are_rotated_both_are_believed() -> None:
    both = ("whsec_tomorrow", SECRET)

    assert verified(signed(), secrets=both).id == "evt_1"
    assert verified(signed(secret="whsec_tomorrow"), secrets=both).id == "evt_1"


def test_one_genuine_signature_among_others_is_enough() -> None:
    old = signed(secret="whsec_yesterday").split("v1=")[1]

    assert verified(f"{signed()},v1={old},v0=whatever").id == "evt_1"


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_a_body_with_one_changed_byte_is_refused(place: int, change: int) -> None:
    altered = bytearray(BODY)
    altered[place] ^= change

    with pytest.raises(Forged) as refusal:
        verified(signed(), bytes(altered))

    assert refusal.value.reason == "signature_wrong"


@given(st.text())
def test_no_header_that_we_did_not_sign_is_believed(header: str) -> None:
    with pytest.raises(Forged):
        verified(header)


def told(**changes: object) -> bytes:
    """An event of Stripe's that says something else in places."""
    usual = {
        "id": "evt_1",
        "type": "charge.refunded",
        "created": 1,
        "livemode": False,
        "data": {"object": {"object": "charge", "id": "ch_1"}},
    }
    return json.dumps(usual | changes).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{}", b'{"id": 1, "data": {"object": "x"}}', b"\xff\xfe", b"[" * 50_000, told(id="evt_" + "x" * 6_000), told(type="x" * 300), told(id=7), told(id="evt_\x00"),
        told(type=None), told(created=10**24), told(created="now"), told(created=True), told(data={"object": {"object": "charge", "id": False}}), told(livemode="yes"), told(id="\ud800"),
        told(data={"object": {"object": "charge", "id": ["ch_1"]}}),
        told(data={"object": {"object": "charge", "id": "ch_1", "metadata": "purchase"}}),
        told(data={"object": {"object": "charge", "id": "ch_1", "metadata": {"purchase_id": 7}}}),
    ],
)  # fmt: skip
def test_what_stripe_signed_and_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(Forged) as refusal:
        verified(signed(body), body)

    assert refusal.value.reason == "unreadable"


@pytest.mark.parametrize("secrets", [(), ("",), (SECRET, " ")])
def test_without_a_secret_nothing_is_believed_and_we_stop(secrets: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="CREDITWELL_STRIPE_WEBHOOK_SECRET"):
        verified(signed(secret=""), secrets=secrets)


@pytest.mark.parametrize(
    ("code", "decline_code", "advice_code", "remedy"),
    [
        ("card_declined", "insufficient_funds", "try_again_later", "retry_later"),
        ("card_declined", "generic_decline", "try_again_later", "retry_later"),
        ("card_declined", "a_code_that_stripe_invents_tomorrow", None, "retry_later"),
        ("processing_error", None, None, "retry_later"),
        ("card_declined", "generic_decline", "do_not_try_again", "needs_card"),
        ("card_declined", "lost_card", None, "needs_card"),
        ("card_declined", "stolen_card", "try_again_later", "needs_card"),
        ("expired_card", None, None, "needs_card"),
        ("incorrect_cvc", None, None, "needs_card"),
        ("card_declined", "authentication_required", None, "needs_authentication"),
        ("authentication_required", "authentication_required", None, "needs_authentication"),
        ("payment_intent_authentication_failure", None, None, "needs_authentication"),
        ("payment_intent_action_required", None, None, "needs_authentication"),
        ("card_declined", "requires_action_not_handled", None, "needs_authentication"),
    ],
)
def test_each_decline_has_the_remedy_that_helps(
    code: str, decline_code: str | None, advice_code: str | None, remedy: Remedy
) -> None:
    assert Decline(code, decline_code, "", advice_code).remedy == remedy


@pytest.mark.parametrize(
    ("status", "course"),
    [
        ("warning_needs_response", None),
        ("warning_closed", None),
        ("needs_response", "open"),
        ("under_review", "open"),
        ("lost", "lost"),
        ("won", "won"),
        ("prevented", "lost"),
        ("appeal_needs_response", "open"),
        ("appeal_under_review", "open"),
    ],
)
def test_a_dispute_takes_the_money_while_it_is_open_and_when_it_was_lost_or_given_in_to(
    status: str, course: str | None
) -> None:
    dispute = Dispute("du_1", "ch_1", 500, "usd", status, "fraudulent", NOW)

    assert dispute.course == course


def test_every_status_of_a_dispute_that_the_library_knows_is_understood() -> None:
    known, _ = get_args(stripe.Dispute.__annotations__["status"])  # or any other text

    assert COURSES.keys() | TAKES_NOTHING >= set(get_args(known))


def test_a_live_key_is_never_sent_in_the_open() -> None:
    with pytest.raises(ValueError, match="CREDITWELL_STRIPE_API"):
        Charges("sk_live_secret", api_base="http://127.0.0.1:12111")


async def test_stripe_is_asked_as_the_settings_say() -> None:
    settings = load_settings(stripe_key="sk_test_secret", stripe_rate=4)

    async with charges_of(settings) as charges:
        assert charges._paces._all._apart_seconds == 1 / 4


async def test_what_stripe_answers_is_counted_by_what_was_asked_and_what_came_of_it() -> None:
    registry = CollectorRegistry()

    async def question(error: Exception | None) -> str:
        if error is not None:
            raise error
        return "pi_1"

    question.__qualname__ = "PaymentIntentService.create_async"  # as the library names its own
    async with Charges("sk_test_secret", metrics=StripeMetrics(registry)) as charges:
        assert await charges.ask(question(None)) == "pi_1"
        with pytest.raises(Unknown):
            await charges.ask(question(stripe.APIConnectionError("gone")))  # type: ignore[no-untyped-call]  # as the library has it

    def count(outcome: str) -> float | None:
        labels = {"endpoint": "PaymentIntent.create", "outcome": outcome}
        return registry.get_sample_value("creditwell_stripe_seconds_count", labels)

    assert (count("answered"), count("no_answer"), count("declined")) == (1, 1, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7), ("", None), ("soon", None), ("-5", None), ("\u0663", None), ("99999999999", 600), ("9" * 5_000, 600)],
)
def test_stripe_may_ask_for_time_and_what_stands_between_not_for_years(text: str, seconds: int | None) -> None:
    busy = meaning(stripe.RateLimitError("slow down", headers={"retry-after": text}))

    assert isinstance(busy, Busy)
    assert busy.retry_after_seconds == seconds
