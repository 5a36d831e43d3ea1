"""A usage costs what the rate card in force at its own time says, whatever else it carries."""

import copy
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import load_catalog
from schemas.credits import ENTRY_MAX, MICRO, credits_for
from schemas.pricing import DETAIL_MAX, MEMO_MAX, CompiledCard, NotPriced, RateCards, explain_price
from schemas.quantities import canonical_quantity
from schemas.rates import RateCard, RateCardInvalid, Requires, parse_rate_card

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
QUANTITIES = st.decimals(Decimal("0.000000001"), Decimal("999999999999.999999999"), places=9)
ATTRIBUTES = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))


def feature(feature_id: str = "ai_image.generate", **changes: Any) -> dict[str, Any]:
    return {"feature": feature_id, "name": "AI image", "per": "use", "rates": [{"credits": "4"}], **changes}


def written(*features: dict[str, Any], version: int = 1, since: datetime = NEW_YEAR) -> dict[str, Any]:
    category = {"id": "ai_image", "name": "AI images", "features": list(features or [feature()])}
    return {"version": version, "effective_from": since.isoformat(), "categories": [category]}


def compiled(*features: dict[str, Any]) -> CompiledCard:
    return CompiledCard(parse_rate_card(written(*features)))


def refusal(card: dict[str, Any]) -> str:
    with pytest.raises(RateCardInvalid) as refused:
        parse_rate_card(card)
    return "\n".join(refused.value.problems)


TIERS = feature(
    rates=[
        {"attributes": {"tier": "low"}, "credits": "1"},
        {"attributes": {"tier": "high"}, "credits": "15", "requires": {"top_ups": True, "plan": "pro"}},
        {"attributes": {"tier": "high", "model": "best"}, "credits": "20.5"},
    ]
)


def test_the_rate_that_names_more_of_the_usage_counts() -> None:
    card = compiled(TIERS)

    assert card.price("ai_image.generate", Decimal(2), {"tier": "high"}) == 30 * MICRO
    assert card.price("ai_image.generate", Decimal(2), {"tier": "high", "model": "best"}) == 41 * MICRO
    assert card.price("ai_image.generate", Decimal(2), {"tier": "high", "model": "another"}) == 30 * MICRO
    assert card.price("ai_image.generate", Decimal(2), {"tier": "low", "model": "best"}) == 2 * MICRO


def test_attributes_that_no_rate_names_do_not_matter() -> None:
    assert compiled(TIERS).price("ai_image.generate", Decimal(1), {"job": "9", "tier": "low", "style": "noir"}) == MICRO
    assert compiled(feature()).price("ai_image.generate", Decimal(1), {"tier": "whatever"}) == 4 * MICRO
    assert compiled(feature()).price("ai_image.generate", Decimal(1), None) == 4 * MICRO


@given(
    st.lists(ATTRIBUTES, min_size=1, max_size=8), st.lists(ATTRIBUTES, max_size=8), st.randoms(use_true_random=False)
)
def test_a_price_never_depends_on_the_order_of_rates(
    rates: list[dict[str, str]], usages: list[dict[str, str]], random: Any
) -> None:
    listed: list[dict[str, Any]] = [
        {"attributes": attributes, "credits": str(number)} for number, attributes in enumerate(rates)
    ]
    try:
        one = compiled(feature(rates=listed))
    except RateCardInvalid:
        return
    random.shuffle(listed)
    other = compiled(feature(rates=listed))

    for usage in usages:
        fitting = [rate for rate in listed if rate["attributes"].items() <= usage.items()]
        if not fitting:
            with pytest.raises(NotPriced, match="unknown_rate"):
                one.price("ai_image.generate", Decimal(1), usage)
            continue
        best = max(fitting, key=lambda rate: len(rate["attributes"]))
        assert all(rate["attributes"].items() <= best["attributes"].items() for rate in fitting)
        for card in (one, other):
            assert card.price("ai_image.generate", Decimal(1), usage) == int(best["credits"]) * MICRO


@given(QUANTITIES, st.decimals(0, Decimal("999999999.999999999"), places=9))
def test_a_price_is_rate_times_quantity_rounded_half_up_once(quantity: Decimal, rate: Decimal) -> None:
    card = compiled(feature(rates=[{"credits": f"{rate:f}"}]))
    expected = credits_for(rate, quantity)

    if expected > ENTRY_MAX:
        with pytest.raises(NotPriced, match="too_large"):
            card.price("ai_image.generate", quantity, None)
    else:
        assert card.price("ai_image.generate", quantity, None) == expected


@given(QUANTITIES, st.decimals(0, Decimal("999.999999999"), places=9))
def test_a_quantity_as_usage_has_it_costs_what_the_decimals_say(quantity: Decimal, rate: Decimal) -> None:
    card = compiled(feature(rates=[{"credits": f"{rate:f}"}]))
    written = canonical_quantity(f"{quantity:f}")
    if credits_for(rate, quantity) <= ENTRY_MAX:
        assert card.price_as_written("ai_image.generate", written, None) == credits_for(rate, quantity)


def test_half_a_micro_credit_is_rounded_up() -> None:
    card = compiled(feature(rates=[{"credits": "0.000001"}]))

    assert card.price("ai_image.generate", Decimal("0.5"), None) == 1
    assert card.price("ai_image.generate", Decimal("0.499999999"), None) == 0
    assert card.price("ai_image.generate", Decimal("1.5"), None) == 2


def test_more_than_a_trillion_credits_is_too_large() -> None:
    card = compiled(feature(rates=[{"credits": "1"}]))

    assert card.price("ai_image.generate", Decimal(10**12), None) == ENTRY_MAX
    with pytest.raises(NotPriced) as refused:
        card.price("ai_image.generate", Decimal(10**12) + Decimal("0.000001"), None)
    assert (refused.value.reason, "1000000000000.000001" in refused.value.detail) == ("too_large", True)


def test_an_unknown_tier_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(NotPriced) as refused:
        compiled(TIERS).price("ai_image.generate", Decimal(1), {"tier": "ultra", "job": "7"})

    assert refused.value.reason == "unknown_rate"
    assert refused.value.detail == (
        "ai_image.generate has no rate for tier=ultra; it has: tier=low | tier=high | model=best, tier=high"
    )


def test_a_missing_tier_is_refused() -> None:
    nothings: list[dict[str, str] | None] = [{}, None]
    for nothing in nothings:
        with pytest.raises(NotPriced, match=r"ai_image\.generate has no rate for no attributes"):
            compiled(TIERS).price("ai_image.generate", Decimal(1), nothing)


def test_an_unknown_feature_is_refused_by_name() -> None:
    card = compiled()
    with pytest.raises(NotPriced, match=r"'ai_image\.generat' is not on rate card 1") as refused:
        card.price("ai_image.generat", Decimal(1), None)
    assert refused.value.reason == "unknown_feature"
    with pytest.raises(NotPriced, match="unknown_feature"):
        explain_price(card, "ai_image.generat", "1", None, None)
    with pytest.raises(NotPriced, match="unknown_feature"):
        card.requirements("", None)


def test_what_strangers_send_neither_fills_memory_nor_the_answer() -> None:
    card = compiled(TIERS)

    for number in range(3 * MEMO_MAX):
        assert card.price("ai_image.generate", Decimal(1), {"tier": "low", "model": str(number)}) == MICRO
    assert len(card.find("ai_image.generate").memo) <= MEMO_MAX

    with pytest.raises(NotPriced) as refused:
        card.price("ai_image.generate", Decimal(1), {"tier": "x" * 10_000})
    assert len(refused.value.detail) <= DETAIL_MAX


def test_a_rate_adds_to_what_its_feature_requires() -> None:
    card = compiled(
        feature(
            requires={"top_ups": True},
            rates=[{"credits": "1"}, {"attributes": {"a": "b"}, "credits": "2", "requires": {"plan": "pro"}}],
        )
    )

    assert card.requirements("ai_image.generate", None) == Requires(top_ups=True)
    assert card.requirements("ai_image.generate", {"a": "b"}) == Requires(top_ups=True, plan="pro")
    assert compiled(TIERS).requirements("ai_image.generate", {"tier": "low"}) == Requires()
    assert compiled(TIERS).requirements("ai_image.generate", {"tier": "high"}) == Requires(top_ups=True, plan="pro")


def test_a_price_explains_itself() -> None:
    card = compiled(
        feature(
            "ai_video.generate",
            name="AI video clip",
            per="second",
            rates=[{"attributes": {"tier": "high"}, "credits": "25"}],
        )
    )

    why = explain_price(card, "ai_video.generate", "12.5", None, {"tier": "high", "job": "1"})

    assert why.formula == "12.5 seconds × 25 = 312.5 credits"
    assert (why.rate_card, why.category, why.name, why.per) == (1, "ai_image", "AI video clip", "second")
    assert (why.rate_attributes, why.rate_credits, why.credits) == ({"tier": "high"}, "25", 312_500_000)
    assert explain_price(card, "ai_video.generate", "1", None, {"tier": "high"}).formula == "1 second × 25 = 25 credits"


def cards(*since: tuple[int, datetime]) -> RateCards:
    return RateCards(
        parse_rate_card(written(feature(rates=[{"credits": str(version)}]), version=version, since=start))
        for version, start in since
    )


def test_the_card_in_force_is_the_one_of_the_usages_own_time() -> None:
    february, march = NEW_YEAR + timedelta(days=31), NEW_YEAR + timedelta(days=59)
    published = cards((1, NEW_YEAR), (3, march), (2, february))
    instant = timedelta(microseconds=1)

    assert [
        published.in_force(at).version for at in (NEW_YEAR, february - instant, february, march - instant, march)
    ] == [1, 1, 2, 2, 3]
    assert published.in_force(february.astimezone(timezone(timedelta(hours=9)))).version == 2
    assert published.newest_version == 3


def test_usage_older_than_the_first_card_is_refused() -> None:
    with pytest.raises(NotPriced, match=r"2025-12-31T23:59:59.* in force from 2026-01-01T00:00:00") as refused:
        cards((1, NEW_YEAR), (2, NEW_YEAR + timedelta(days=1))).in_force(NEW_YEAR - timedelta(seconds=1))

    assert refused.value.reason == "before_first_rate_card"


def test_of_two_cards_from_the_same_instant_the_later_version_counts() -> None:
    published = cards((1, NEW_YEAR), (3, NEW_YEAR), (2, NEW_YEAR))

    assert published.in_force(NEW_YEAR).version == 3
    assert published.newest_version == 3


def test_a_card_that_was_corrected_before_it_began_was_never_in_force() -> None:
    published = cards((1, NEW_YEAR), (2, NEW_YEAR + timedelta(days=9)), (3, NEW_YEAR + timedelta(days=9)))

    assert [card.version for card in published.ever_in_force()] == [1, 3]


def test_a_card_can_be_found_by_its_version() -> None:
    published = cards((1, NEW_YEAR), (2, NEW_YEAR))
    first = published.version(1)

    assert first is not None
    assert first.card.version == 1
    assert published.version(9) is None


def test_nothing_can_be_priced_without_a_card() -> None:
    with pytest.raises(ValueError, match="there is no rate card"):
        RateCards([])
    with pytest.raises(ValueError, match="each card needs its own"):
        cards((1, NEW_YEAR), (1, NEW_YEAR + timedelta(days=1)))


def test_a_card_has_the_shape_that_the_contract_promises() -> None:
    card = load_catalog().rate_card.model_dump(mode="json")

    assert list(card) == ["version", "effective_from", "categories"]
    for category in card["categories"]:
        assert list(category) == ["id", "name", "features"]
        for item in category["features"]:
            assert [name for name in item if name != "unit"] == ["feature", "name", "per", "requires", "rates"]
            assert list(item["requires"]) == ["top_ups", "plan"]
            assert all(list(rate)[:2] == ["attributes", "credits"] for rate in item["rates"])


def test_what_a_use_is_called_is_said_in_formulas_and_only_of_uses() -> None:
    card = compiled(feature(unit="image"))

    assert explain_price(card, "ai_image.generate", "1", None, None).formula == "1 image × 4 = 4 credits"
    assert explain_price(card, "ai_image.generate", "3", None, None).formula == "3 images × 4 = 12 credits"
    assert explain_price(card, "ai_image.generate", "0.25", None, None).formula == "0.25 images × 4 = 1 credit"
    with pytest.raises(RateCardInvalid, match="priced per second: leave it out"):
        compiled(feature(per="second", unit="image"))


def test_a_card_reads_back_from_what_it_writes() -> None:
    card = load_catalog().rate_card

    assert parse_rate_card(card.model_dump(mode="json")) == card
    assert RateCard.model_validate_json(card.model_dump_json()) == card


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"per": "minute"},
            "categories[ai_image].features[ai_image.generate].per: 'minute' is not known: write one of 'use', 'second'",
        ),
        ({"rates": [{"credits": "-1"}]}, "features[ai_image.generate].rates[1].credits: '-1' is negative"),
        ({"rates": [{"credits": 0.5}]}, 'rates[1].credits: 0.5 is not in quotes: write "0.5"'),
        ({"rates": [{"credits": 5}]}, "rates[1].credits: 5 is not in quotes"),
        ({"rates": [{"credits": "1e3"}]}, "rates[1].credits: '1e3' is not a rate"),
        ({"rates": [{"credits": "NaN"}]}, "rates[1].credits: 'NaN' is not a rate"),
        ({"rates": [{"credits": "\uff11"}]}, "rates[1].credits: '\uff11' is not a rate"),
        ({"rates": [{"credits": "1\n"}]}, "is not a rate"),
        ({"rates": [{"credits": "0.0000000001"}]}, "at most nine digits on either side"),
        ({"rates": [{"credits": "1234567890"}]}, "at most nine digits on either side"),
        (
            {"rates": [{"credits": "1"}, {"attributes": {}, "credits": "2"}]},
            "two rates have the same attributes, no attributes: keep one",
        ),
        ({"rates": []}, "features[ai_image.generate].rates: "),
        ({"rates": [{}]}, "rates[1]: write either credits, or credits_by_quantity"),
        ({"require": {"top_ups": True}}, "features[ai_image.generate].require: is not a key that is known here"),
        ({"requires": {"top_up": True}}, "requires.top_up: is not a key that is known here"),
        ({"feature": "AI Image"}, "feature: 'AI Image' does not match"),
    ],
)
def test_what_is_wrong_with_a_card_is_named_with_its_place(change: dict[str, Any], complaint: str) -> None:
    problems = refusal(written(feature(**change)))

    assert complaint in problems
    assert "\n" not in problems.replace("1\\n", "")


def test_two_rates_that_fit_one_usage_are_refused_unless_a_third_settles_it() -> None:
    rates = [{"attributes": {"resolution": "4k"}, "credits": "1"}, {"attributes": {"fps": "60"}, "credits": "2"}]

    assert refusal(written(feature(rates=rates))) == (
        "categories[ai_image].features[ai_image.generate]: "
        "a usage with fps=60, resolution=4k fits two rates, resolution=4k and fps=60: add a rate for it"
    )
    settled = compiled(feature(rates=[*rates, {"attributes": {"fps": "60", "resolution": "4k"}, "credits": "3"}]))
    assert settled.price("ai_image.generate", Decimal(1), {"resolution": "4k", "fps": "60"}) == 3 * MICRO


def test_a_feature_is_listed_once() -> None:
    assert "feature ai_image.generate is listed 2 times, in ai_image, ai_image" in refusal(
        written(feature(), feature(name="Another"))
    )

    card = written()
    card["categories"].append({**copy.deepcopy(card["categories"][0]), "id": "ai_video"})
    assert "in ai_image, ai_video: list it once" in refusal(card)

    card["categories"][1] = {"id": "ai_image", "name": "Again", "features": [feature("a.b")]}
    assert "category ai_image is listed twice" in refusal(card)


@pytest.mark.parametrize("since", ["2026-01-01", "2026-01-01T00:00:00", "soon", None])
def test_a_card_begins_at_an_instant(since: Any) -> None:
    assert "effective_from: " in refusal({**written(), "effective_from": since})


@pytest.mark.parametrize("document", [None, [], "card", 7, {}])
def test_what_is_no_card_at_all_is_refused(document: Any) -> None:
    assert refusal(document)
