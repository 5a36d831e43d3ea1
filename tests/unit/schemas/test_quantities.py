"""A call of a model uses several things at once: one event, one price for each, one rounding."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cloudevents import BadUsage
from schemas.credits import ENTRY_MAX, MICRO
from schemas.digests import digest_of_fact, digest_of_report
from schemas.emitter import Emitter, InvalidReport
from schemas.facts import HoldCaptured, UsageRecorded, decode
from schemas.pricing import CompiledCard, NotPriced, explain_price
from schemas.quantities import canonical_quantities
from schemas.rates import RateCardInvalid, parse_rate_card
from schemas.usage import parse_usage
from tests.support.usage import binary, reported

FEATURE = "ai_chat.answer"
TOKENS = {"input_token": "125", "cached_input_token": "12.5", "output_token": "1000"}  # credits for a million
LARGE = {"model": "large"}
USED = {"input_token": "1200", "cached_input_token": "800", "output_token": "350"}
NAMES = ("input_token", "cached_input_token", "output_token")
AMOUNTS = st.decimals(0, Decimal("999999999999.999999999"), places=9)
RATES = st.decimals(0, Decimal("999999999.999999999"), places=9)
FOR_UNITS = st.sampled_from([1, 1_000, 1_000_000])


def chat(*rates: dict[str, Any], **changes: Any) -> dict[str, Any]:
    listed = [{"attributes": LARGE, "credits_by_quantity": TOKENS}]
    return {
        "feature": FEATURE, "name": "Chat answer", "per": "token", "for_units": 1_000_000, "rates": [*rates] or listed,
        **changes,
    }  # fmt: skip


def card_with(*features: dict[str, Any]) -> CompiledCard:
    category = {"id": "ai", "name": "AI", "features": [*features]}
    since = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    return CompiledCard(parse_rate_card({"version": 1, "effective_from": since, "categories": [category]}))


def event(**data: Any) -> dict[str, Any]:
    made = reported("team_1", "a", at="2026-11-23T10:15:30Z", feature=FEATURE)
    del made["data"]["quantity"]
    return made | {"data": made["data"] | data}


def parsed(event: dict[str, Any]) -> Any:
    return parse_usage(json.dumps(event).encode(), ())


def test_a_call_costs_the_sum_of_what_each_of_its_quantities_costs() -> None:
    priced = explain_price(card_with(chat()), FEATURE, None, USED, LARGE)

    assert priced.credits == MICRO * 51 // 100  # 0.15 + 0.01 + 0.35
    assert [(one.used, f"{one.credits.normalize():f}") for one in priced.components] == [
        ("1200 input tokens", "0.15"), ("800 cached input tokens", "0.01"), ("350 output tokens", "0.35"),
    ]  # fmt: skip
    assert priced.formula == (
        "1200 input tokens × 125 per 1,000,000 + 800 cached input tokens × 12.5 per 1,000,000"
        " + 350 output tokens × 1000 per 1,000,000 = 0.51 credits"
    )


@given(st.dictionaries(st.sampled_from(NAMES), st.tuples(AMOUNTS, RATES), min_size=1), FOR_UNITS)
def test_the_parts_of_a_price_are_exact_and_their_sum_is_rounded_half_up_once(
    parts: dict[str, tuple[Decimal, Decimal]], for_units: int
) -> None:
    rates = {name: f"{rate:f}" for name, (_, rate) in parts.items()}
    used = {name: f"{quantity:f}" for name, (quantity, _) in parts.items()}
    card = card_with(chat({"credits_by_quantity": rates}, for_units=for_units))
    exact = sum((Fraction(quantity) * Fraction(rate) for quantity, rate in parts.values()), Fraction()) / for_units
    rounded = (exact * MICRO * 2 + 1) // 2

    if rounded > ENTRY_MAX:
        with pytest.raises(NotPriced, match="too_large"):
            card.price_quantities(FEATURE, used, None)
        return
    priced = explain_price(card, FEATURE, None, used, None)
    assert card.price_quantities(FEATURE, used, None) == priced.credits == rounded
    assert sum((Fraction(part.credits) for part in priced.components), Fraction()) == exact


@given(AMOUNTS, RATES, FOR_UNITS)
def test_one_of_several_quantities_costs_what_it_would_cost_alone(
    quantity: Decimal, rate: Decimal, for_units: int
) -> None:
    several = card_with(chat({"credits_by_quantity": {"token": f"{rate:f}"}}, for_units=for_units))
    alone = card_with(chat({"credits": f"{rate:f}"}, for_units=for_units))
    if quantity * rate / for_units > ENTRY_MAX // MICRO - 1:
        return

    expected = alone.price_as_written(FEATURE, f"{quantity:f}", None)
    assert several.price_quantities(FEATURE, {"token": f"{quantity:f}"}, None) == expected


def test_a_part_of_a_price_has_all_its_digits_however_many() -> None:
    card = card_with(chat({"credits_by_quantity": {"input_token": "1234.123456789"}}, for_units=1_000))
    priced = explain_price(card, FEATURE, None, {"input_token": "1234567.123456789"}, None)

    assert [f"{part.credits:f}" for part in priced.components] == ["1523608.246038544567750190521"]


def test_half_a_micro_credit_in_each_of_two_parts_is_one_and_not_two() -> None:
    card = card_with(chat({"credits_by_quantity": {"a": "0.5", "b": "0.5"}}))

    assert card.price_quantities(FEATURE, {"a": "1", "b": "1"}, None) == 1
    assert card.price_quantities(FEATURE, {"a": "1"}, None) == 1


@pytest.mark.parametrize(
    ("quantity", "quantities", "words"),
    [
        (None, USED | {"reasoning_token": "5"}, "no price for reasoning_token; for model=large it prices cached_input"),
        ("12", None, "is priced by quantities, cached_input_token, input_token, output_token: send those"),
    ],
)
def test_a_quantity_without_a_price_is_refused_with_the_names_that_have_one(
    quantity: str | None, quantities: dict[str, str] | None, words: str
) -> None:
    with pytest.raises(NotPriced, match=words) as refused:
        card_with(chat()).price_used(FEATURE, quantity, quantities, LARGE)
    assert refused.value.reason == "unknown_quantity"


def test_several_quantities_of_a_feature_that_has_one_are_refused() -> None:
    card = card_with(chat({"credits": "125"}))

    with pytest.raises(NotPriced, match="is priced by one quantity, its tokens: send that"):
        card.price_used(FEATURE, None, USED, None)
    assert (
        explain_price(card, FEATURE, "8000", None, None).formula == "8000 tokens × 125 per 1,000,000 tokens = 1 credit"
    )


@pytest.mark.parametrize(
    ("rates", "changes", "complaint"),
    [
        ([{"credits": "1", "credits_by_quantity": TOKENS}], {}, "rates[1]: write either credits, or credits_by_quantity"),
        ([{}], {}, "rates[1]: write either credits, or credits_by_quantity"),
        ([{"attributes": LARGE, "credits": "1"}, {"credits_by_quantity": TOKENS}], {}, "some rates have credits, others"),
        ([{"credits_by_quantity": {}}], {}, "rates[1].credits_by_quantity: "),
        ([{"credits_by_quantity": {"Input": "1"}}], {}, "rates[1].credits_by_quantity.Input: 'Input' does not match"),
        ([{"credits_by_quantity": {"input_token": 1.5}}], {}, "input_token: 1.5 is not in quotes"),
        ([{"credits_by_quantity": {"input_token": "-1"}}], {}, "input_token: '-1' is negative"),
        ([{"credits_by_quantity": {f"q{n}": "1" for n in range(21)}}], {}, "rates[1].credits_by_quantity: "),
        ([{"credits": "1"}], {"for_units": 10}, "for_units: 10 is not known: write one of 1, 1000 or 1000000"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_prices_of_quantities_is_named_with_its_place(
    rates: list[dict[str, Any]], changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(RateCardInvalid) as refused:
        card_with(chat(*rates, **changes))
    assert complaint in "\n".join(refused.value.problems)


def test_a_card_without_such_prices_is_written_as_ever() -> None:
    rate = card_with(chat({"credits": "4"}, for_units=1)).card.categories[0].features[0].model_dump(mode="json")

    assert rate.keys() == {"feature", "name", "per", "requires", "rates"}
    assert rate["rates"] == [{"attributes": {}, "credits": "4"}]


@pytest.mark.parametrize(
    "quantities",
    [
        {"cached_input_token": "800", "input_token": "1200", "output_token": "350"},
        {"output_token": "350.0", "input_token": 1200, "cached_input_token": "0800", "reasoning_token": 0},
    ],
    ids=["as they are stored", "as people write them"],
)
def test_the_same_quantities_are_the_same_usage_however_they_are_written(quantities: dict[str, Any]) -> None:
    report = parsed(event(quantities=quantities))
    message = binary(event(quantities=quantities))
    assert message.value is not None
    fact = UsageRecorded(
        feature=FEATURE, quantities=report.data.quantities, credits=1, rate_card=1, member_id="mem_1",
        attributes={"tier": "low"},
    )  # fmt: skip

    assert list(report.data.quantities.items()) == sorted(USED.items())
    assert digest_of_report(report) == digest_of_report(parse_usage(message.value, message.headers))
    assert digest_of_report(report) == digest_of_fact("team_1", report.time, fact)


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        ({}, "wrong_shape", "data: write either quantity, or quantities"),
        ({"quantity": "1", "quantities": USED}, "wrong_shape", "data: write either quantity, or quantities"),
        ({"quantities": {}}, "wrong_shape", "data.quantities: needs at least 1 entry"),
        ({"quantities": {"input_token": "0", "output_token": 0}}, "bad_quantity", "quantities: all of them are 0"),
        ({"quantities": {"input_token": "-1"}}, "bad_quantity", "quantities.input_token: '-1' is no quantity"),
        ({"quantities": {"input_token": None}}, "bad_quantity", "quantities.input_token: null is no quantity"),
        ({"quantities": {"Input": "1"}}, "wrong_shape", "data.quantities.Input.[key]: 'Input' does not match"),
        ({"quantities": {f"q{n}": "1" for n in range(21)}}, "wrong_shape", "data.quantities: has more than 20"),
        ({"quantities": ["1"]}, "wrong_shape", "data.quantities: a list is not an object"),
        ({"quantity": None}, "bad_quantity", "quantity: null is no quantity"),
    ],
)
def test_what_is_wrong_with_quantities_is_said(data: dict[str, Any], reason: str, words: str) -> None:
    with pytest.raises(BadUsage) as refused:
        parsed(event(**data))
    assert refused.value.reason == reason
    assert words in refused.value.detail


def test_a_fact_with_quantities_has_no_quantity_and_an_old_one_reads_as_ever() -> None:
    several = UsageRecorded(feature=FEATURE, quantities=USED, credits=1, rate_card=1)
    captured = HoldCaptured(hold_id="h", credits=1, feature=FEATURE, quantities=USED, rate_card=1)
    old = b'{"feature":"ai_image.generate","quantity":"1","credits":1000000,"rate_card":1}'

    assert json.loads(several.body()) == {"feature": FEATURE, "credits": 1, "rate_card": 1, "quantities": USED}
    assert decode(several.type, several.body()) == several
    assert "quantity" not in json.loads(captured.body())
    assert decode(captured.type, captured.body()) == captured
    assert decode("usage.recorded.v1", old).body() == old


@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["0", "00", "0.0", "1", "01.50"])))
def test_quantities_are_written_in_one_way(quantities: dict[str, str]) -> None:
    canonical = canonical_quantities(quantities)

    assert {name: Decimal(text) for name, text in canonical.items()} == {
        name: Decimal(text) for name, text in quantities.items() if Decimal(text)
    }
    assert canonical_quantities(canonical) == canonical
    assert list(canonical) == sorted(canonical)


@pytest.mark.parametrize(
    ("given_quantities", "words"),
    [
        ({}, "quantity: it is missing; pass how much was used, or quantities"),
        ({"quantity": 1, "quantities": {"a": 1}}, "quantity: there are quantities, too"),
        ({"quantities": {"a": 1.5}}, "quantities.a: 1.5 is a float"),
        ({"quantities": {"a": "-1"}}, "quantities.a: '-1' is not one"),
        ({"quantities": {"a": 0}}, "quantities: all of them are 0"),
        ({"quantities": [1]}, "is not a dict"),
        ({"quantities": {"A": 1}}, "quantities.A"),
    ],
)
def test_an_emitter_refuses_what_the_recorder_would(
    tmp_path: Path, given_quantities: dict[str, Any], words: str
) -> None:
    emitter = Emitter(kafka="127.0.0.1:1", source="/features/chat", spool=tmp_path)
    try:
        with pytest.raises(InvalidReport, match=words):
            emitter.report(team="team_1", feature=FEATURE, **given_quantities)
        emitter.report(team="team_1", feature=FEATURE, quantities={"input_token": 1200, "output_token": Decimal(0)})
        assert (emitter.metrics().reported, emitter.metrics().refused) == (1, 1)
    finally:
        emitter.close(0)


def test_quantities_in_any_order_and_of_0_need_no_second_look() -> None:
    in_order, as_a_provider_says_it = (
        dict(sorted(USED.items())),
        {**dict(sorted(USED.items(), reverse=True)), "audio_token": "0"},
    )

    plainly, slowly = parsed(event(quantities=in_order)), parsed(event(quantities={**in_order, "audio_token": "00"}))
    said = parsed(event(quantities=as_a_provider_says_it))

    assert type(said) is type(plainly) is not type(slowly)
    assert list(said.data.quantities.items()) == list(slowly.data.quantities.items()) == list(in_order.items())
