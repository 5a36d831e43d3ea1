"""What becomes of a usage is decided from values: the same ones, the same price, whoever reads them."""

from datetime import UTC, datetime, timedelta

from aiokafka import ConsumerRecord

from schemas.catalog import load_catalog
from schemas.facts import UsageRecorded
from schemas.pricing import RateCards
from schemas.rates import RateCard
from services.usage.door import ParsedUsage, StoredContext, judge, parse
from tests.support.usage import used

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
CARD = load_catalog().rate_card
NEXT = CARD.model_copy(update={"version": 2, "effective_from": NOW + timedelta(seconds=60)})


def card_of(usage_at: datetime, *known: RateCard) -> int:
    """The card by which a recorder that knows these prices a usage now."""
    message = used("team_1", "a", at=usage_at)
    parsed = parse(ConsumerRecord("usage", 0, 0, 0, 0, message.key, message.value, None, 0, 0, ()))
    assert isinstance(parsed, ParsedUsage)
    (ready,) = judge([parsed], StoredContext(frozenset({"team_1"}), {}, {}), RateCards(known), NOW).facts
    assert isinstance(ready.new.fact, UsageRecorded)
    return ready.new.fact.rate_card


def test_usage_that_is_ahead_has_one_price_whether_or_not_a_recorder_knows_the_next_card_yet() -> None:
    ahead = NOW + timedelta(minutes=2)

    assert card_of(ahead, CARD) == card_of(ahead, CARD, NEXT) == 1
