"""The page's words: all in one catalog, in each language the same ones, and the server's sentences in each of them, too."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.docs.page_texts import PAGE, STRING, english, filled_into, main, texts_of, types_of
from projections.balance.state import DEBT, ActivityKind, BalanceEntry, LotPayment
from projections.top_ups.decisions import suspension_due
from projections.top_ups.state import TopUps
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import ChargeDisputed, ChargeRefunded, DisputeClosed, TopUpConfigured
from schemas.pricing import CompiledCard, explain_price
from services.api.wording.entries import FAILED, MADE, SKIPPED
from services.api.wording.reversals import Reversal, describe_reversal, detail_of_reversal
from services.api.wording.top_ups import problems_of

ENGLISH = english()
TRANSLATIONS = {
    path.stem: path.read_text("utf-8")
    for path in sorted((PAGE / "texts").glob("*.js"))
    if not path.stem.startswith("en")
}
SCRIPTS = {
    path.name: path.read_text("utf-8")
    for path in sorted(PAGE.rglob("*.js"))
    if path.parent.name != "texts" and path.name != "currencies.js"
}
PAIR = re.compile(rf"\[\s*({STRING}),\s*({STRING}),?\s*\]")
NAMED = re.compile(r"\{(\w+)\}")
COUNT = {"count"}
NOW = datetime(2026, 11, 23, tzinfo=UTC)
CATALOG = load_catalog()


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_a_translation_has_each_text_and_fills_in_the_same(language: str) -> None:
    translated = texts_of(TRANSLATIONS[language].partition("\n};\n")[0])

    assert set(translated) == set(ENGLISH)
    for key, forms in ENGLISH.items():
        assert len(translated[key]) == len(forms), key
        assert set(filled_into(translated[key])) == set(filled_into(forms)), key
        each = set(filled_into(forms)) - COUNT
        assert all(set(NAMED.findall(form)) - COUNT == each for form in (*forms, *translated[key])), key


def test_the_catalog_is_read_whole() -> None:
    lines = "".join((PAGE / name).read_text("utf-8") for name in ("texts/en.js", "texts/en-later.js"))

    assert len(ENGLISH) == len(re.findall(r'^  (?:"[\w.]+"|\w+):', lines, re.MULTILINE)) > 250
    assert all(text.strip(" ") for forms in ENGLISH.values() for text in forms)


def test_each_text_is_said_somewhere() -> None:
    code = "".join(SCRIPTS.values())
    begun = tuple(re.findall(r"`([a-z_]+\.)\$\{", code))  # `link.${link}`, say

    assert [key for key in ENGLISH if f'"{key}"' not in code and not key.startswith(begun)] == []


def test_no_word_stands_outside_of_the_catalog() -> None:
    found = {(name, text) for name, script in SCRIPTS.items() for text in said_in(script)}

    assert found == {("session.js", "Bearer ")}


def said_in(script: str) -> list[str]:
    """The strings of a script that people would read: words with a space between them, or one that begins as a sentence does."""
    script = re.sub(
        r"(?<=[(=,:!&|?\s])/(?![/*\s])(?:\\.|\[[^\]]*\]|[^/\\\n])+/[gimsu]*", "0", script
    )  # regular expressions
    code = re.sub(r"css`[^`]*`|/\*.*?\*/|(?<![:\"'`])//[^\n]*", "", script, flags=re.DOTALL)
    code = re.sub(r'(class(?:Name)?(?:: | = )|part: |exportparts: |d: |name: )("[^"]*"|`[^`]*`)', "", code)
    strings = re.findall(rf"{STRING}|`[^`]*`", code)
    texts = [re.sub(r"\$\{[^}]*\}", "", text[1:-1]) for text in strings]
    return [text for text in texts if re.search(r"[A-Za-z]{2,} [a-z]{2,}|^[A-Z][a-z]{2,}\b", text)]


def test_types_for_host_products_follow_from_the_catalog(tmp_path: Path) -> None:
    file = tmp_path / "texts.d.ts"

    assert main(["--check"], file) == 1
    assert main([], file) == 0
    assert main(["--check"], file) == 0
    assert types_of({"a.b": ("c",), "d": ("{count} e", "{count} {f}")}).splitlines()[-3:] == [
        '  "a.b": Record<never, never>;',
        '  "d": { count: number | string; f: string };',
        "}",
    ]


def sentences() -> list[str]:
    """What the server says, as its own functions make it."""
    refund = ChargeRefunded.model_validate(
        {"payment_intent_id": "pi", "lot": 1, "refunded_cents": 500, "currency": "usd", "clawed_credits": 250 * MICRO,
         "charge_cents": 2_000}
    )  # fmt: skip
    disputed = ChargeDisputed(
        payment_intent_id="pi", dispute_id="dp", lot=1, disputed_cents=2_000, currency="usd",
        frozen_credits=1_000 * MICRO, charge_cents=2_000, reason="fraudulent",
    )  # fmt: skip
    closed = [
        DisputeClosed.model_validate(
            {"payment_intent_id": "pi", "dispute_id": "dp", "lot": 1, "outcome": outcome, "reinstated_credits": back}
        )
        for outcome, back in (("lost", 0), ("won", 0), ("won", MICRO))
    ]
    paid = [
        (LotPayment(1, MICRO),), (LotPayment(DEBT, MICRO),), (LotPayment(9, MICRO),), (LotPayment(9, MICRO), LotPayment(DEBT, MICRO)),
    ]  # fmt: skip
    entries = [BalanceEntry(7, 0, ActivityKind.REFUND, NOW, NOW, None, None, 0, 0, 0, lots) for lots in paid]
    facts: list[Reversal] = [refund, disputed, *closed]
    reversals = [detail_of_reversal(entry, fact) for entry in entries for fact in facts]
    card = CompiledCard(CATALOG.rate_card)
    formulas = [
        explain_price(card, feature.feature, "2", None, dict(feature.rates[0].attributes or {})).formula
        for category in CATALOG.rate_card.categories
        for feature in category.features
        if feature.rates[0].credits_by_quantity is None and feature.unit is None
    ]
    wrong = [
        TopUpConfigured(enabled=True, threshold_credits=0, credits=MICRO, currency="usd"),
        TopUpConfigured(enabled=True, threshold_credits=MICRO, restore_to_credits=MICRO, currency="usd"),
        TopUpConfigured(enabled=True, threshold_credits=MICRO, credits=10**6 * MICRO, currency="usd"),
        TopUpConfigured(
            enabled=True, threshold_credits=MICRO, credits=2_000 * MICRO, currency="usd", monthly_cap_cents=1
        ),
    ]
    problems = [said for settings in wrong for said in problems_of(settings, CATALOG, None)]
    declined = suspension_due(TopUps(team_id="team_1", declines=3))
    assert declined is not None
    paused = f"{declined.reason}; another card, or a purchase, ends the pause"
    return [
        *MADE.values(), *SKIPPED.values(), *FAILED.values(), *map(describe_reversal, facts), *reversals, *formulas,
        *problems, paused, "rate card 3", "payment #7", "Purchase · Mini pack",
    ]  # fmt: skip


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_what_the_server_says_is_translated(language: str) -> None:
    pairs = [(json.loads(said), json.loads(own)) for said, own in PAIR.findall(TRANSLATIONS[language])]
    patterns = [re.compile(pattern_of(said), re.IGNORECASE) for said, _ in pairs]

    assert len(pairs) > 80
    for said, own in pairs:
        assert set(NAMED.findall(said)) == set(NAMED.findall(own)), said
    unknown = [
        said
        for said in sentences()
        for part in ([said] if any(one.fullmatch(said) for one in patterns) else said.split(" · "))
        if not any(one.fullmatch(part) for one in patterns)
    ]
    assert unknown == []


def pattern_of(said: str) -> str:
    """As words.js makes it."""
    return "".join(
        f"(?P<{piece}>[^·]+?)" if place % 2 else re.escape(piece) for place, piece in enumerate(NAMED.split(said))
    )
