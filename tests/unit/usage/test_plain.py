"""A batch is judged the short way where it can be, to the very facts and refusals of the definition."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from schemas.catalog import load_catalog
from schemas.instants import instant
from schemas.pricing import RateCards
from services.runtime.kafka.any_batch import FetchedRecord
from services.usage import door
from services.usage.door import AHEAD_MAX, BatchOutcome, ParsedUsage, StoredContext, judge, parse
from services.usage.plain import PlainPricing

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
SOON = timedelta(seconds=60)
FIRST = load_catalog().rate_card
CARDS = [FIRST, *(
    FIRST.model_copy(update={"version": version, "effective_from": NOW + begins})
    for version, begins in ((2, -2 * SOON), (3, -SOON), (4, -SOON), (5, SOON))
)]  # fmt: skip
CONTEXT = StoredContext(frozenset({"team_1", "team_2"}), {}, {})
EDGES = [FIRST.effective_from - NOW, *(card.effective_from - NOW for card in CARDS), timedelta(), AHEAD_MAX]
MICROSECOND = timedelta(microseconds=1)

TIMES = some.builds(
    lambda edge, more: NOW + edge + more * MICROSECOND, some.sampled_from(EDGES), some.sampled_from([-1, 0, 1])
)
DATA = some.fixed_dictionaries(
    {
        "feature": some.sampled_from([*["ai_image.generate"] * 6, "ai_video.generate", "no.such"]),
        "quantity": some.sampled_from(["1", "12.5", "0.000000001", "999999999999"]),
        "attributes": some.sampled_from(
            [*[{"tier": "low"}] * 6, {"tier": "high", "more": "1"}, {"tier": "no such"}, {}]
        ),
    },
    optional={"member_id": some.sampled_from(["mem_1", "mem_2"])},
)
PLAIN = DATA.map(lambda data: ("usage.reported.v1", data))
HELD = DATA.map(lambda data: ("usage.reported.v1", data | {"hold_id": "hold"}))
SEVERAL = DATA.map(lambda data: ("usage.reported.v1", data | {"quantity": None, "quantities": {"input_token": "1"}}))
VOIDS = some.just(("usage.voided.v1", {"usage_source": "/features/test", "usage_id": "a", "reason": "a mistake"}))


@some.composite
def records(draw: some.DrawFn) -> FetchedRecord:
    """Usage of all kinds, most of it plain."""
    kind, data = draw(some.one_of(PLAIN, PLAIN, PLAIN, HELD, SEVERAL, VOIDS))
    team = draw(some.sampled_from([*["team_1", "team_2"] * 3, "nobody"]))
    event = {
        "specversion": "1.0", "type": kind, "source": "/features/test", "id": draw(some.sampled_from("abcdefgh")),
        "subject": team, "time": instant(draw(TIMES)), "data": data,
    }  # fmt: skip
    return FetchedRecord("usage", 0, 0, 0, team.encode(), json.dumps(event).encode(), ())


def told(outcome: BatchOutcome) -> tuple[Any, ...]:
    return (
        outcome.facts, outcome.refusals, outcome.repeats, outcome.settles, outcome.ended, outcome.plain, outcome.recorded,
        outcome.dropped,
    )  # fmt: skip


@given(some.lists(records(), min_size=1, max_size=8), some.integers(0, len(CARDS)))
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_batches_come_to_the_same_both_ways(
    monkeypatch: pytest.MonkeyPatch, batch: list[FetchedRecord], known: int
) -> None:
    usages = [parsed for record in batch if isinstance(parsed := parse(record), ParsedUsage)]
    cards = RateCards(CARDS[-known:] if known else CARDS[-1:])  # the last has not begun

    short = told(judge(usages, CONTEXT, cards, NOW))
    with monkeypatch.context() as patched:
        patched.setattr(door, "PlainPricing", NeverPlain)
        long = told(judge(usages, CONTEXT, cards, NOW))

    assert short == long


class NeverPlain:
    """Leaves everything to the definition."""

    @staticmethod
    def at(*_: object) -> PlainPricing | None:
        return None


def test_what_is_plain_goes_the_short_way() -> None:
    plain = PlainPricing.at(NOW, AHEAD_MAX, CONTEXT.teams, RateCards(CARDS))
    event = {
        "specversion": "1.0", "type": "usage.reported.v1", "source": "/features/test", "id": "a", "subject": "team_1",
        "time": instant(NOW), "data": {"feature": "ai_image.generate", "quantity": "2", "attributes": {"tier": "low"}},
    }  # fmt: skip
    usage = parse(FetchedRecord("usage", 0, 0, 0, b"team_1", json.dumps(event).encode(), ()))

    assert plain is not None
    assert isinstance(usage, ParsedUsage)
    assert plain.fact_of(usage.event) is not None
