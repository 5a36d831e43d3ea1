"""Of a usage's attributes the log keeps what somebody listed: codes to choose from, and nobody's prompt."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from schemas.catalog import load_catalog
from schemas.digests import is_made_of
from schemas.facts import Stored, UsageRecorded
from schemas.pricing import KeptAttributes, RateCards, WhyDropped
from schemas.rates import RateCard
from services.usage.door import BatchOutcome, ParsedUsage, StoredContext, judge, parse
from tests.support.usage import reported, structured

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
CATALOG = load_catalog()
CARD = CATALOG.rate_card
LISTED = RateCards([CARD], CATALOG.usage.attributes)
PROMPT = "a portrait of Ada Lovelace, ada@example.com"


def parsed(attributes: Mapping[str, str], id: str = "a", **about: Any) -> ParsedUsage:
    """A usage of one image with these attributes."""
    event = reported("team_1", id, at=NOW, **about)
    event["data"]["attributes"] = dict(attributes)
    message = structured(event)
    usage = parse(ConsumerRecord("usage", 0, 0, 0, 0, message.key, message.value, None, 0, 0, ()))
    assert isinstance(usage, ParsedUsage)
    return usage


def judged(*usages: ParsedUsage, cards: RateCards = LISTED, stored: Stored | None = None) -> BatchOutcome:
    """What becomes of them, where the log has `stored` already."""
    stored_before = {} if stored is None else {usages[0].identity: stored}
    return judge(usages, StoredContext(frozenset({"team_1"}), stored_before, {}), cards, NOW)


def fact_of(outcome: BatchOutcome) -> UsageRecorded:
    """The only fact."""
    (ready,) = outcome.facts
    assert isinstance(ready.new.fact, UsageRecorded)
    return ready.new.fact


def stored_of(outcome: BatchOutcome) -> Stored:
    """The only fact, in the log."""
    (ready,) = outcome.facts
    new, fact = ready.new, fact_of(outcome)
    return Stored(0, 1, NOW, new.occurred_at, new.team_id, new.source, new.id, fact.type, fact.body())


def test_what_nobody_listed_is_dropped_and_counted_and_the_fact_says_what_arrived() -> None:
    outcome = judged(parsed({"tier": "low", "prompt": PROMPT, "model": PROMPT}))
    fact = fact_of(outcome)

    assert fact.attributes == {"tier": "low"}
    assert outcome.dropped == {WhyDropped.NAME: 1, WhyDropped.VALUE: 1}
    assert fact.arrived_sha256 is not None
    assert "Ada" not in fact.body().decode()
    assert "ada@example.com" not in fact.body().decode()


def test_of_usage_whose_attributes_are_all_listed_the_fact_is_what_it_always_was() -> None:
    attributes = {"tier": "low", "model": "gpt-4.1_mini:2"}
    outcome = judged(parsed(attributes))
    body = json.loads(fact_of(outcome).body())

    assert body["attributes"] == attributes
    assert "arrived_sha256" not in body
    assert not outcome.dropped


@pytest.mark.parametrize(
    ("value", "is_kept"),
    [
        ("A-z_0.9:b", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("two words", False),
        ("ada@example.com", False),
        ("größe", False),
        ("a/b", False),
        ("line\nbreak", False),
    ],
)
def test_a_value_is_a_short_code(value: str, is_kept: bool) -> None:
    kept, dropped = KeptAttributes([CARD], ["run"]).sort({"run": value})

    assert (kept, dropped) == (({"run": value}, []) if is_kept else ({}, [WhyDropped.VALUE]))


def test_a_value_that_a_rate_names_is_kept_whatever_its_letters_are_and_so_the_price_follows_from_the_fact() -> None:
    card = CARD.model_dump(mode="json")
    images = next(
        feature for category in card["categories"] for feature in category["features"]
        if feature["feature"] == "ai_image.generate"
    )  # fmt: skip
    images["rates"].append({"attributes": {"model": "openai/gpt 4o"}, "credits": "7"})
    images["rates"] = [rate for rate in images["rates"] if "tier" not in rate["attributes"]]
    cards = RateCards([RateCard.model_validate(card)])
    fact = fact_of(judged(parsed({"model": "openai/gpt 4o"}), cards=cards))

    assert fact.attributes == {"model": "openai/gpt 4o"}
    assert (
        cards.in_force(NOW).price_used(fact.feature, fact.quantity, None, fact.attributes) == fact.credits == 7_000_000
    )


def test_a_tier_that_is_no_code_and_has_no_rate_is_refused_as_any_unknown_tier() -> None:
    (refused,) = judged(parsed({"tier": "very high"})).refusals

    assert refused.reason == "unknown_rate"


def test_what_a_card_prices_by_needs_no_list() -> None:
    fact = fact_of(judged(parsed({"tier": "low", "fps": "60"}), cards=RateCards([CARD])))

    assert fact.attributes == {"tier": "low"}


@pytest.mark.parametrize(
    ("again", "is_same"),
    [
        ({"tier": "low", "prompt": PROMPT}, True),
        ({"prompt": PROMPT, "tier": "low"}, True),
        ({"tier": "low", "prompt": "another"}, False),
        ({"tier": "low"}, False),
    ],
)
def test_what_arrived_decides_whether_a_usage_comes_again(again: dict[str, str], is_same: bool) -> None:
    before = stored_of(judged(parsed({"tier": "low", "prompt": PROMPT})))

    (repeat,) = judged(parsed(again), stored=before).repeats

    assert repeat.same is is_same


def test_a_fact_of_before_the_list_is_compared_with_all_that_it_holds() -> None:
    old = fact_of(judged(parsed({"tier": "low"})))
    body = UsageRecorded(
        feature=old.feature, quantity=old.quantity, credits=old.credits, rate_card=1, member_id=old.member_id,
        attributes={"tier": "low", "prompt": PROMPT},
    ).body()  # fmt: skip
    before = stored_of(judged(parsed({"tier": "low"})))._replace(body=body)

    assert judged(parsed({"tier": "low", "prompt": PROMPT}), stored=before).repeats[0].same
    assert not judged(parsed({"tier": "low"}), stored=before).repeats[0].same


@pytest.mark.parametrize(
    ("change", "is_made_of_it"),
    [
        ({}, True),
        ({"credits": 1}, True),  # which its price tells
        ({"quantity": "9"}, False),
        ({"attributes": {"tier": "high"}}, False),
        ({"attributes": None}, False),  # a tier that is left out may cost less
    ],
)
def test_a_forged_fact_is_not_believed_because_it_has_the_digest_of_a_report(
    change: dict[str, Any], is_made_of_it: bool
) -> None:
    usage = parsed({"tier": "low", "prompt": PROMPT})
    fact = fact_of(judged(usage))
    forged = UsageRecorded(**{name: getattr(fact, name) for name in fact.__struct_fields__} | change)

    assert is_made_of(usage.event, "team_1", usage.event.time, forged, LISTED.attributes.priced) is is_made_of_it
    assert not is_made_of(usage.event, "team_1", usage.event.time + timedelta(seconds=1), forged)


def test_what_was_seen_is_bounded() -> None:
    rule = KeptAttributes([CARD], ["run"])
    for number in range(10_000):
        rule.sort({"run": str(number)})

    assert len(rule.remembered) < 5_000
    assert rule.keep_all({"tier": "low", "run": "9999"})
