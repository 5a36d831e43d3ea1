"""Another rate card over a team's past: the same card changes nothing, another one changes what it prices."""

from datetime import datetime, timedelta
from random import Random

import pytest

from projections.repricing import Repriced, Repricing
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import Stored, UsageRecorded, UsageVoided
from schemas.pricing import CompiledCard
from schemas.rates import parse_rate_card
from tests.support.past import BEGIN, TEAM, Past
from tests.unit.projections.test_simulation import HOUR, NOON, Log, busy, settings

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
    repricing = Repricing((TEAM, 0), by, load_catalog(), since, frozenset(fact.usage_position for fact in voids))
    repricing.take(log)
    return repricing.result(log[-1].recorded_at)


@pytest.mark.parametrize("seed", [1811, 1812, 1813])
def test_the_card_that_priced_it_gives_exactly_what_was_recorded(seed: int) -> None:
    result = repriced(Past(Random(seed)).tell(600), card("1"))

    assert result.recorded[IMAGE] > 0
    assert result.simulated == result.recorded
    assert result.balance_simulated == result.balance_recorded
    assert result.charged_simulated == result.charged_recorded
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


def topped_up() -> Log:
    """A team whose settings were chosen before, with some charges."""
    log = Log()
    log.say(settings())
    return busy(log)


def by_image_price(credits: str, since: float = 0.5) -> Repriced:
    facts = topped_up().facts
    repricing = Repricing(("team", 0), card(credits), load_catalog(), NOON + since * HOUR, frozenset())
    repricing.take(facts)
    return repricing.result(facts[-1].recorded_at)


def test_top_ups_by_the_card_that_priced_it_are_those_of_the_log_and_a_dearer_card_charges_as_the_fold_decides() -> (
    None
):
    log, same, dearer = topped_up(), by_image_price("400"), by_image_price("800")

    assert same.charged_simulated == same.charged_recorded
    assert same.charged_recorded.count == len(log.charged) == 3
    assert same.charged_recorded.cents == {"usd": sum(charge.charge_cents for charge in log.charged)}
    # 19 uses of 800 credits instead of 400, and 2,000 credits to a top-up whenever less than 1,000 are left.
    assert (dearer.charged_recorded, dearer.charged_simulated.count) == (same.charged_recorded, 7)
    assert dearer.charged_simulated.cents == {"usd": 7 * 2_000}


def test_what_is_decided_anew_is_what_was_decided_where_only_a_free_feature_changes_its_price() -> None:
    log = topped_up()
    log.say(UsageRecorded(feature="ai_image.generate", quantity="1", credits=MICRO, rate_card=1), 19.5)
    repricing = Repricing(("team", 0), card("400"), load_catalog(), NOON + 19.25 * HOUR, frozenset())
    repricing.take(log.facts)

    result = repricing.result(log.facts[-1].recorded_at)

    assert (result.recorded.total(), result.simulated.total()) == (MICRO, 400 * MICRO)
    assert (result.charged_recorded.count, result.charged_simulated.count) == (0, 0)


def test_a_cheaper_card_charges_less_and_top_ups_before_the_time_asked_for_are_left_alone() -> None:
    cheaper = by_image_price("100")
    assert cheaper.charged_simulated.count < cheaper.charged_recorded.count
    later = by_image_price("800", since=12)
    assert later.charged_recorded.count == 1
    assert later.charged_simulated.count > 1
