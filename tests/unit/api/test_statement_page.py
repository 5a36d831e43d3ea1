"""A statement as people and spreadsheets see it: nothing in it is markup or a formula, and the page prints."""

import re
from datetime import timedelta
from typing import Any

import pytest

from projections.balance.state import LotKind, TeamBalance
from projections.statements.document import SUMS, SealedCycle, csv_of, document, json_of
from projections.statements.fold import GAINS, LOSSES, StatementFold
from schemas.credits import MICRO
from schemas.cycles import Cycle
from schemas.facts import (
    ChargeRefunded,
    CreditsAdjusted,
    CreditsPurchased,
    CreditsRefilled,
    PlanAssigned,
    UsageRecorded,
)
from schemas.places import Place
from services.api.models.statements import StatementAnswer
from services.api.wording.statement_page import COLUMNS, MARKS, PageNames, statement_page
from services.api.wording.statement_words import ENGLISH, GERMAN, WORDS, StatementWords, accepted_words
from tests.unit.projections.history import MONTH, NOON, History

SCRIPT = "<script>alert(1)</script>"
CYCLE = Cycle(0, NOON, NOON + MONTH)
DAY = timedelta(days=1)


def told(payment: str = "pi_1", member: str = "mem_7") -> dict[str, Any]:
    history = History()
    history.then(PlanAssigned(plan="pro", anchor=NOON, zone="UTC", allowance_credits=300 * MICRO), recorded=NOON)
    history.then(
        CreditsRefilled(
            credits=300 * MICRO, plan="pro", plan_assigned_id="plan", cycle=0, starts_at=NOON, ends_at=NOON + MONTH
        ),
        recorded=NOON,
    )
    history.then(
        CreditsPurchased(
            credits=500 * MICRO, pack="mini", payment_intent_id=payment, charge_cents=595, tax_cents=95, currency="eur"
        ),
        recorded=NOON + DAY,
    )
    fact = UsageRecorded(feature="ai_image.generate", quantity="4", credits=400 * MICRO, rate_card=1, member_id=member)
    history.then(fact, recorded=NOON + 2 * DAY)
    history.then(CreditsAdjusted(credits=-10 * MICRO, reason="who and why", refers_to="7:3"), recorded=NOON + 3 * DAY)
    refund = ChargeRefunded(
        payment_intent_id=payment, lot=3, refunded_cents=119, currency="eur", clawed_credits=100 * MICRO
    )
    history.then(refund, recorded=NOON + 4 * DAY)
    history.sealed(ends=NOON + MONTH, recorded=NOON + MONTH + DAY)
    fold = StatementFold(CYCLE, lambda at: (at - NOON) // MONTH, TeamBalance("team_42"))
    for stored in history.stored:
        fold.take(stored)
    fold.close()
    sealed = SealedCycle(CYCLE, Place(7, 7), "2026-12-02T12:00:00.000000Z", 12, "ab" * 32)
    return document("log", sealed, fold, {"ai_image.generate": ("AI image", "images")})


def test_a_statement_says_what_happened_and_is_what_the_api_promises() -> None:
    statement = told()

    StatementAnswer.model_validate_json(json_of(statement), strict=True)
    assert set(statement) == {field.alias or name for name, field in StatementAnswer.model_fields.items()}
    assert {name: statement[name]["total"] for name in SUMS if statement[name]["total"] != "0"} == {
        "refilled": "300", "bought": "500", "adjusted": "-10", "used": "400", "refunded": "100", "closing": "290",
    }  # fmt: skip
    assert statement["left"] == {"purchased": "290"}
    assert statement["by_feature"][0]["components"] == [
        {"name": "AI image", "unit": "images", "quantity": "4", "uses": 1, "credits": "400"}
    ]
    (payment,) = statement["payments"]
    assert (payment["gross"], payment["tax"], payment["refunded"]) == ("5.95", "0.95", "1.19")
    assert statement["corrections"][0]["refers_to"] == "7:3"
    assert "who and why" not in json_of(statement)


@pytest.mark.parametrize("text", [SCRIPT, '" onload="x', "&lt;"])
def test_whatever_stands_in_a_statement_is_text_on_the_page(text: str) -> None:
    names = PageNames(text, {"mem_7": text}, {text: f"https://pay.stripe.com/{text}"})

    page = statement_page(told(payment=text), names)

    assert "<script" not in page
    assert ' onload="' not in page
    assert "&amp;lt;" in page or text != "&lt;"


def test_the_page_has_names_and_receipts_and_fits_paper() -> None:
    page = statement_page(told(), PageNames("Northlight", {"mem_7": "Ada"}, {"pi_1": "https://pay.stripe.com/r/1"}))

    assert ">Ada</td>" in page
    assert '<a href="https://pay.stripe.com/r/1">Receipt</a>' in page
    assert "@page" in page
    assert "@media print" in page
    assert "Granted" not in page, "what is nothing is not listed"


def test_no_cell_of_the_csv_is_a_formula() -> None:
    text = csv_of(told(payment="=1+1", member="@sum"))

    assert "payment,'=1+1," in text
    assert "used_by,'@sum," in text
    assert "balance,adjusted,,,,,-10,0,-10," in text


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_every_language_has_words_for_all_that_a_statement_may_say(words: StatementWords) -> None:
    columns = {column.lstrip("".join(MARKS)) for table in COLUMNS.values() for column in table}

    assert words.lines.keys() == {"opening", *GAINS, *LOSSES, "closing"}
    assert words.kinds.keys() == {*LotKind, "debt"}
    assert words.tables.keys() == COLUMNS.keys()
    assert words.columns.keys() == columns | {"refunded", "disputed", "won_back"}


def test_a_german_page_is_german_to_the_last_number() -> None:
    page = statement_page(told(), PageNames("Northlight", {}, {"pi_1": "https://pay.stripe.com/r/1"}), GERMAN)

    assert '<html lang="de">' in page
    assert ">erstattet 1,19<" in page
    assert ">5,95<" in page
    assert ">Beleg</a>" in page
    english = {
        text for part in (ENGLISH.tables, ENGLISH.columns, ENGLISH.lines, ENGLISH.kinds) for text in part.values()
    }
    german = {text for part in (GERMAN.tables, GERMAN.columns, GERMAN.lines, GERMAN.kinds) for text in part.values()}
    said = set(re.findall(r">([^<>]+)<", page))
    assert said & (english - german) == set()


@pytest.mark.parametrize(
    ("text", "english", "german"),
    [
        ("1234567.25", "1,234,567.25", "1.234.567,25"),
        ("-1234", "-1,234", "-1.234"),
        ("0.5", "0.5", "0,5"),
        (7, "7", "7"),
    ],
)
def test_numbers_are_written_as_the_reader_writes_them(text: object, english: str, german: str) -> None:
    assert (ENGLISH.number(text), GERMAN.number(text)) == (english, german)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"), ("de-AT", "de"), ("en-GB,de;q=0.9", "en"), ("fr, de;q=0.5, en;q=0.4", "de"), ("DE;Q=1", "de"),
        ("de;q=0", "en"), ("*", "en"), ("de;q=soon, fr", "en"), ("ja, *;q=0.1", "en"), (";;,=,q", "en"),
    ],
)  # fmt: skip
def test_a_page_has_the_language_that_its_reader_would_rather_have(accepted: str, language: str) -> None:
    assert accepted_words(accepted).language == language
