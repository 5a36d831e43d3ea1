"""What a month comes to, from facts wherever they are kept: balances at its end, and statements that a note covers."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from projections.books.month import Month, MonthBooks
from schemas.facts import NewFact, Stored
from services.books.closing.ledger import CoveringNote
from services.books.closing.month_end import ShardAtEnd, end_of_shard
from tests.support.facts import usage, void
from tests.support.past import SHARD, TEAM, Past

EVER = datetime(2020, 1, 1, tzinfo=UTC)


class ToldLedger:
    """Facts that a test has told, in pages of three, and one note that covers everything up to a position."""

    def __init__(self, log: Sequence[Stored], *, signed: int) -> None:
        self._log, self._signed = log, signed

    async def facts(self, shard: int) -> AsyncIterator[list[Stored]]:
        """The facts of the one shard that has any."""
        for begin in range(0, len(self._log) if shard == SHARD else 0, 3):
            yield list(self._log[begin : begin + 3])

    async def notes(self, shard: int, positions: Sequence[int]) -> Mapping[int, CoveringNote]:
        """The note."""
        assert shard == SHARD
        return {position: CoveringNote(1, "00", "a note") for position in positions if position <= self._signed}


def numbered(log: Iterable[Stored]) -> list[Stored]:
    return [stored._replace(position=number) for number, stored in enumerate(log, 1)]


async def end_of(log: Sequence[Stored], ends_at: datetime, *, signed: int = 10_000) -> ShardAtEnd:
    books = MonthBooks(Month("2025-05", "UTC", EVER, ends_at))
    return await end_of_shard(ToldLedger(log, signed=signed), SHARD, books, None, "test")


def stored_of(new: NewFact, position: int, recorded_at: datetime) -> Stored:
    return Stored(
        SHARD, position, recorded_at, new.occurred_at, TEAM, new.source, new.id, new.fact.type, new.fact.body()
    )


@pytest.mark.parametrize("seed", range(5))
async def test_what_happened_after_a_months_end_by_a_clock_that_is_ahead_counts_in_the_next(seed: int) -> None:
    log = Past(Random(seed)).tell(40)
    ends_at = max(stored.occurred_at for stored in log) + timedelta(minutes=2)
    at, ahead_at, last = ends_at - timedelta(seconds=20), ends_at + timedelta(seconds=60), len(log)
    ahead = stored_of(usage(TEAM, "ahead", 7, at=ahead_at), last + 1, at)
    back = void(TEAM, "back", of="ahead", position=last + 1, at=ahead_at, credits=7)._replace(occurred_at=at)
    then = [stored_of(usage(TEAM, f"then-{number}", 3, at=at), last + 2 + number, at) for number in range(2)]

    without, with_ahead, taken_back = [
        await end_of(told, ends_at)
        for told in (
            numbered([*log, *then]), [*log, ahead, *then],
            [*log, ahead, stored_of(back, last + 2, at), *(one._replace(position=one.position + 1) for one in then)],
        )
    ]  # fmt: skip

    (plain,), (other,), (again,) = [
        [(one.team.total, one.team.included, one.team.additional, one.team.debt) for one in end.balances]
        for end in (without, with_ahead, taken_back)
    ]
    assert other == plain
    assert again == plain


async def test_a_seal_that_no_note_covers_has_no_statement_and_is_named() -> None:
    log, seals = list[Stored](), list[Stored]()
    for seed in range(50):
        log = Past(Random(seed)).tell(60)
        seals = [stored for stored in log if stored.type == "period.sealed.v1"]
        if len(seals) >= 2:
            break
    ends_at = log[-1].recorded_at + timedelta(days=1)

    end = await end_of(log, ends_at, signed=seals[0].position)

    assert [statement["sealed"]["position"] for statement, _ in end.statements] == [seals[0].place]
    assert [str(place) for place in end.unsigned] == [seal.place for seal in seals[1:]]
