"""Another rate card over a team's past: the same card changes nothing, another one changes what it prices."""

from datetime import datetime, timedelta
from random import Random

import pytest

from projections.repricing import Repriced, Repricing
from schemas.facts import Stored, UsageVoided
from schemas.pricing import CompiledCard
from schemas.rates import parse_rate_card
from tests.support.past import BEGIN, TEAM, Past

IMAGE, CAPTURED = "ai_image.generate", "ai_video.generate"


def card(credits: str, feature: str = IMAGE) -> CompiledCard:
    """A card with one feature; the past that is told here was priced at one credit a use."""
    one = {"feature": feature, "name": "Image", "per": "use", "rates": [{"credits": credits}]}
    category = {"id": "images", "name": "Images", "features": [one]}
    return CompiledCard(
        parse_rate_card({"version": 1, "effective_from": "2025-01-01T00:00:00Z", "categories": [category]})
    )


def repriced(log: list[Stored], by: CompiledCard, since: datetime = BEGIN) -> Repriced:
    voids = (fact for stored in log if isinstance(fact := stored.fact(), UsageVoided))
    repricing = Repricing(TEAM, by, since, frozenset(fact.usage_position for fact in voids))
    repricing.take(log)
    return repricing.result()


@pytest.mark.parametrize("seed", [1811, 1812, 1813])
def test_the_card_that_priced_it_gives_exactly_what_was_recorded(seed: int) -> None:
    result = repriced(Past(Random(seed)).tell(600), card("1"))

    assert result.recorded[IMAGE] > 0
    assert result.simulated == result.recorded
    assert result.balance_simulated == result.balance_recorded
    assert not result.unpriced


def test_a_card_of_twice_the_price_takes_twice_as_much_for_what_it_prices_and_returns_as_much_for_voids() -> None:
    result = repriced(Past(Random(1814)).tell(600), card("2"))

    assert result.simulated[IMAGE] == 2 * result.recorded[IMAGE]
    assert result.simulated[CAPTURED] == result.recorded[CAPTURED]
    assert result.balance_simulated < result.balance_recorded


def test_what_was_used_before_keeps_its_price_and_what_has_none_is_named() -> None:
    log = Past(Random(1815)).tell(600)
    later = log[-1].recorded_at + timedelta(days=365)

    before = repriced(log, card("2"), since=later)
    assert (before.change, before.balance_simulated) == (0, before.balance_recorded)
    other = repriced(log, card("1", feature="ai_text.write"))
    assert other.simulated == other.recorded
    assert [IMAGE in detail for detail in other.unpriced] == [True]
