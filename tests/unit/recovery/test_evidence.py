"""What the topic `usage` says of an amendment is said of both its facts."""

from datetime import UTC, datetime

import pytest

from schemas.catalog import load_catalog
from schemas.facts import AMENDMENTS, RATE_CARD_TEAM, AnyFact, RateCardPublished, Stored, UsageRecorded, UsageVoided
from schemas.usage import AmendedUsage, UsageAmendReported
from services.recovery.evidence import Evidence, priced_in
from services.recovery.tail import Tail
from services.store.identities import Identity

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
VOID = UsageVoided(
    usage_source="/f", usage_id="u1", usage_position=3, usage_occurred_at=AT, credits=8, feature="f.x", reason="a slip"
)
USAGE = UsageRecorded(
    feature="f.x", quantity="1", credits=4, rate_card=1, corrects=3, corrects_id="u1", reason="a slip"
)
AMENDS = UsageAmendReported(
    specversion="1.0", source="/f", id="u2", subject="team", time=AT, type="usage.amended.v1",
    data=AmendedUsage(usage_id="u1", reason="a slip", quantity="1"),
)  # fmt: skip


def unknown(*facts: tuple[str, str, AnyFact]) -> list[str]:
    """The ids of what nobody else knows of."""
    stored = [
        Stored(7, position, AT, AT, "team", source, id, fact.type, fact.body())
        for position, (source, id, fact) in enumerate(facts, 9)
    ]
    evidence = Evidence({Identity("team", "/f", "u2"): [AMENDS]}, {}, {})
    return [one.id for one in evidence.unknown([Tail(stored, [], [])])]


def test_an_amendment_that_was_reported_is_known_whole() -> None:
    assert unknown((AMENDMENTS, "void:3", VOID), ("/f", "u2", USAGE)) == []


@pytest.mark.parametrize(
    ("void", "usage"),
    [
        (VOID.model_copy(update={"usage_position": 4}), ("/f", "u2", USAGE)),
        (VOID, ("creditwell:corrections", "usage:3", USAGE)),
    ],
    ids=["of another usage", "of an operator"],
)
def test_what_is_taken_back_for_nothing_that_was_reported_is_not_believed(
    void: UsageVoided, usage: tuple[str, str, AnyFact]
) -> None:
    assert "void:3" in unknown((AMENDMENTS, "void:3", void), usage)
    assert unknown((AMENDMENTS, "void:3", VOID)) == ["void:3"]


def test_what_a_lost_rate_card_prices_by_no_lost_usage_may_leave_out() -> None:
    card = load_catalog().rate_card
    fact = RateCardPublished(version=2, effective_from=AT, card=card.model_dump(mode="json"))
    stored = Stored(7, 9, AT, AT, RATE_CARD_TEAM, "creditwell:rate-cards", "card:2", fact.type, fact.body())

    assert ("tier", "low") in priced_in([Tail([stored], [], [])])
    assert priced_in([]) == frozenset()
