"""From Stripe's JSON to our values: when an intent was paid, and what of it is tax."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.money.stripe_client.reading import intent_of

INTENT: dict[str, Any] = {
    "id": "pi_1", "status": "succeeded", "amount": 5_712, "currency": "usd", "created": 1_795_000_000, "metadata": {},
}  # fmt: skip
PAID = {"id": "ch_1", "created": 1_795_000_060, "paid": True}


@pytest.mark.parametrize(
    ("charge", "paid_at"),
    [
        (PAID, datetime(2026, 11, 18, 11, 7, 40, tzinfo=UTC)),
        (PAID | {"paid": False}, None),
        ("ch_1", None),
        (None, None),
    ],
    ids=["paid", "refused", "not expanded", "none yet"],
)
def test_an_intent_was_paid_when_its_charge_was_made(charge: object, paid_at: datetime | None) -> None:
    assert intent_of(INTENT | {"latest_charge": charge}).paid_at == paid_at


@pytest.mark.parametrize(
    ("details", "tax"),
    [({"tip": {}}, None), ({"tax": {"total_tax_amount": 912}}, 912), ({"tax": None}, None), (None, None)],
    ids=["tip", "tax", "no tax", "nothing"],
)
def test_tax_is_what_the_intent_says_of_it(details: object, tax: int | None) -> None:
    assert intent_of(INTENT | {"amount_details": details}).tax_cents == tax
