"""Whatever currency top-ups are sold in, and at whatever price: what is charged Stripe takes, and it is never too little."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.top_ups.decisions import next_charge
from schemas.catalog import Catalog, CatalogTopUpPrice
from schemas.credits import MICRO
from schemas.facts import TopUpConfigured
from schemas.money import MOST, digits_of, major_units, not_taken, terms_of
from services.api.models.money import TopUpBody
from services.api.wording.top_ups import settings_of, top_up_body
from tests.unit.projections.test_top_up_decisions import CATALOG, COOL_DOWN, Team, card

CURRENCIES = ["usd", "jpy", "krw", "kwd", "bhd", "isk", "ugx", "huf", "clp"]


def sold_in(currency: str, unit_price: str) -> Catalog:
    """The catalog with another price of top-ups."""
    told = {
        "currency": currency, "unit_price": unit_price, "min_credits": 500, "step": 100, "max_charge": MOST, "monthly_cap": MOST,
    }  # fmt: skip
    return CATALOG.model_copy(update={"top_up": CatalogTopUpPrice.model_validate(told)})


@given(st.sampled_from(CURRENCIES), st.integers(1, 5_000), st.integers(5, 60), st.integers(-(10**6), 4_000))
@settings(max_examples=300, deadline=None)
def test_stripe_takes_each_charge_and_it_is_the_least_that_pays_for_its_credits(
    currency: str, steps: int, hundreds: int, available: int
) -> None:
    terms = terms_of(currency)
    assert terms is not None
    unit_price = Decimal(terms.least + steps * terms.step) / 500  # the smallest top-up can be charged, as catalogs must
    catalog = sold_in(currency, f"{unit_price:f}")
    chosen = TopUpConfigured(
        enabled=True, threshold_credits=4_000 * MICRO, credits=hundreds * 100 * MICRO, currency=currency
    )

    credits, minor_units = next_charge(chosen, available * MICRO, catalog)

    exact = unit_price * credits / MICRO
    assert not minor_units % terms.step
    assert exact <= minor_units < exact + terms.step
    assert minor_units > MOST or not_taken(minor_units, currency) is None
    assert Decimal(major_units(minor_units, currency)).scaleb(digits_of(currency)) == minor_units


@pytest.mark.parametrize(
    ("currency", "unit_price", "cost", "shown"),
    [("jpy", "1.5", 750, "750 JPY"), ("krw", "13.3", 6_650, "6,650 KRW"), ("kwd", "3.1", 1_550, "1.550 KWD"),
     ("bhd", "3.7", 1_850, "1.850 BHD"), ("isk", "135", 67_500, "675.00 ISK"), ("usd", "1", 500, "5.00 USD")],
)  # fmt: skip
def test_a_cap_holds_to_the_last_minor_unit_and_says_so_as_its_currency_is_written(
    currency: str, unit_price: str, cost: int, shown: str
) -> None:
    catalog = sold_in(currency, unit_price)
    caps = {"monthly_cap": {"amount": 2 * cost - 1, "currency": currency}, "cool_down_seconds": 300}
    body = TopUpBody.model_validate({"enabled": True, "threshold": "1000", "credits": "500", **caps})
    team = Team(catalog=catalog).then(settings_of(body, None, catalog, "mem_1"), card()).ran_low()

    first = team.requests()
    assert (first.charge_cents, first.currency) == (cost, currency)
    told = top_up_body(team.succeeded(first).state, 900 * MICRO, team.now, catalog, sees_card=True)

    assert told["charged_this_month"] == {"amount": cost, "currency": currency, "count": 1, "month": "2026-11"}
    assert told["next_charge_preview"]["amount"] == cost
    assert team.skips(after=COOL_DOWN) == "cap_money"
    assert shown in (top_up_body(team.state, 900 * MICRO, team.now, catalog, sees_card=True)["reason"] or "")
