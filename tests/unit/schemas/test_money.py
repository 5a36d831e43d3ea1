"""Money as Stripe counts it: what the page, the log and the bank call the same amount."""

import re
from pathlib import Path

import pytest

from schemas.money import (
    HUNDREDTHS,
    LEAST,
    THOUSANDTHS,
    WHOLE,
    WHOLE_IN_HUNDREDTHS,
    format_money,
    not_taken,
    rounded_up,
    terms_of,
)

ROOT = Path(__file__).parents[3]


def test_each_currency_stands_in_one_list_and_none_has_a_least_amount_that_stripe_would_not_take() -> None:
    lists = (WHOLE, WHOLE_IN_HUNDREDTHS, THOUSANDTHS, HUNDREDTHS)
    assert sum(map(len, lists)) == len(frozenset[str]().union(*lists))
    assert all(not_taken(least, currency) is None for currency, least in LEAST.items())


@pytest.mark.parametrize(
    ("cents", "currency", "text"),
    [
        (4_800, "usd", "48.00 USD"), (35, "jpy", "35 JPY"), (5_120, "kwd", "5.120 KWD"), (500, "isk", "5.00 ISK"),
        (500, "ugx", "5.00 UGX"), (1_045, "huf", "10.45 HUF"), (5, "mga", "5 MGA"), (1_234, "zzz", "12.34 ZZZ"),
    ],
)  # fmt: skip
def test_an_amount_is_written_as_stripe_counts_its_currency(cents: int, currency: str, text: str) -> None:
    assert format_money(cents, currency) == text


@pytest.mark.parametrize(
    ("cents", "currency", "taken"),
    [(5_124, "kwd", 5_130), (5_120, "kwd", 5_120), (101, "isk", 200), (7, "usd", 7), (7, "jpy", 7)],
)
def test_an_amount_is_rounded_up_to_the_step_of_its_currency(cents: int, currency: str, taken: int) -> None:
    assert rounded_up(cents, currency) == taken


def test_the_page_has_the_digits_of_each_currency_from_the_table() -> None:
    told = (ROOT / "services" / "page" / "currencies.js").read_text()
    listed = {int(digits): frozenset(names.split()) for digits, names in re.findall(r"(\d): \"([^\"]*)\"", told)}

    assert listed == {0: WHOLE, 3: THOUSANDTHS, 2: WHOLE_IN_HUNDREDTHS}
    assert terms_of("usd") is not None
