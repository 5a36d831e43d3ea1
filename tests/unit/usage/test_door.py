"""What becomes of a usage is decided from values: the same ones, the same price, whoever reads them."""

from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import ConsumerRecord

from schemas.catalog import load_catalog
from schemas.facts import Stored, UsageRecorded, UsageVoided
from schemas.pricing import RateCards
from schemas.rates import RateCard
from services.audit.follows import TeamAudit
from services.usage.door import ParsedUsage, StoredContext, judge, parse
from tests.support.usage import Message, amended, structured, used

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


def judged(message: Message, log: list[Stored], now: datetime, known: RateCards) -> None:
    """A recorder puts a report behind what the log has."""
    parsed = parse(ConsumerRecord("usage", 0, 0, 0, 0, message.key, message.value, None, 0, 0, ()))
    assert isinstance(parsed, ParsedUsage)
    context = StoredContext(frozenset({"team_1"}), {parsed.identity._replace(id=one.id): one for one in log}, {})
    for ready in judge([parsed], context, known, now).facts:
        new = ready.new
        log.append(Stored(
            7, len(log) + 1, now, new.occurred_at, new.team_id, new.source, new.id, new.fact.type, new.fact.body()
        ))  # fmt: skip


@pytest.mark.parametrize("minutes_ahead", [-2, 0, 2])
def test_usage_that_is_amended_keeps_its_card_however_often_and_though_its_clock_was_ahead(minutes_ahead: int) -> None:
    cards, log = RateCards([CARD, NEXT]), list[Stored]()
    judged(used("team_1", "a", at=NOW + timedelta(minutes=minutes_ahead)), log, NOW, cards)

    for before, id in (("a", "b"), ("b", "c")):
        judged(structured(amended("team_1", id, of=before, quantity="2", at=NOW)), log, NOW + timedelta(hours=1), cards)

    facts = [one.fact() for one in log]
    assert [fact.rate_card for fact in facts if isinstance(fact, UsageRecorded)] == [1, 1, 1]
    voided = frozenset(fact.usage_position for fact in facts if isinstance(fact, UsageVoided))
    audit = TeamAudit("team_1", cards, voided)
    assert [what for one, fact in zip(log, facts, strict=True) for what in audit.take(one, fact)] == []
