"""What is wrong with a document is said in text that any answer can carry."""

import pytest

from schemas.problems import key_of
from schemas.rates import RateCardInvalid, parse_rate_card
from services.api.problems import _where

HALF = "\ud800"  # of a letter: JavaScript writes it for a text that was cut within one, and UTF-8 has no word for it


def test_half_a_letter_is_named_by_its_escape() -> None:
    card = {"version": 1, "effective_from": "2026-01-01T00:00:00Z", "categories": [{"id": HALF}]}

    with pytest.raises(RateCardInvalid) as refused:
        parse_rate_card(card)

    assert r"\ud800" in str(refused.value).encode().decode()


def test_a_place_in_a_body_is_text_whatever_its_members_are_called() -> None:
    path = ("items", 0, HALF)

    assert key_of({"items": [{"id": HALF}]}, path).encode() == rb"items[\ud800].\ud800"
    assert _where(("body", *path)).encode() == rb"items[0].\ud800"
    assert _where(("query", HALF)).encode() == rb"\ud800 in the query"
