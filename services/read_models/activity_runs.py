"""Runs of plain usage: many entries in one row of `activity_runs`, packed for COPY column by column.

An entry costs an eighth of a row of its own, and a run without a member need not be read for that one. Which entries
share a row follows from the batches in which they were folded, so two builds of the same log may differ in that. What
the view `activity` shows of them does not.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from struct import Struct, pack

from projections.activity import RUN_LENGTH_MAX, RUN_SPAN_MAX
from projections.balance.state import ActivityKind, BalanceEntry, LotPayment
from schemas.credits import MicroCredits
from services.read_models.activity_rows import BIGINT, EntryOfTeam, pack_text
from services.store.copying import instant

COLUMNS = 15
SMALLINT, TEXT, TIMESTAMPTZ = 21, 25, 1184  # numbers of types in every PostgreSQL

_ARRAY = Struct(">iiiiii").pack  # bytes, dimensions, whether an element is null, type, length, first index
_HEAD = Struct(">hih")
_BOUNDS = Struct(">iqiqiqi?").pack  # first, last, lot, is_included
_EIGHT_BYTES = pack(">i", 8)
_NUMBERS = [pack(">ih", 2, number) for number in range(1, RUN_LENGTH_MAX + 1)]


@dataclass(slots=True)
class PlainRun:
    """Usage of one team, in order, that one lot paid; of each usage an element of every column. Times are raw."""

    shard: int
    team_id: str
    lot: int
    is_included: bool
    positions: list[int] = field(default_factory=list)
    recorded: list[bytes] = field(default_factory=list)
    occurred: list[bytes] = field(default_factory=list)
    members: list[str | None] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    credits: list[MicroCredits] = field(default_factory=list)
    balances: list[MicroCredits] = field(default_factory=list)


def entries_of(run: PlainRun, start: int, stop: int) -> Iterator[EntryOfTeam]:
    """Some of its usages, as entries that stand alone."""
    for index in range(start, stop):
        credits = run.credits[index]
        included, additional = (-credits, 0) if run.is_included else (0, -credits)
        yield run.shard, run.team_id, BalanceEntry(
            run.positions[index], 0, ActivityKind.USAGE, instant(run.recorded[index]), instant(run.occurred[index]),
            run.members[index], run.features[index], included, additional, run.balances[index],
            (LotPayment(run.lot, credits),),
        )  # fmt: skip


def spans(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """From where to where the usages at these positions share a row."""
    start = 0
    while start < len(positions):
        stop = bisect_left(
            positions, positions[start] + RUN_SPAN_MAX, start, min(start + RUN_LENGTH_MAX, len(positions))
        )
        yield start, stop
        start = stop


def pack_run(run: PlainRun, start: int, stop: int) -> bytes:
    """Some of its usages as a row of `activity_runs_v…`, as COPY carries it."""
    positions = run.positions[start:stop]
    members, by_member = _numbered(run.members[start:stop])
    features, of_feature = _numbered(run.features[start:stop])
    bigints, instants, smallints = _of_length(stop - start)
    return b"".join((
        _team(run.shard, run.team_id), _BOUNDS(8, positions[0], 8, positions[-1], 8, run.lot, 1, run.is_included),
        _texts(members), _texts(features),
        bigints(*_with_sizes(positions)),
        instants, _EIGHT_BYTES.join(run.recorded[start:stop]), instants, _EIGHT_BYTES.join(run.occurred[start:stop]),
        smallints, by_member, smallints, of_feature,
        bigints(*_with_sizes(run.credits[start:stop])), bigints(*_with_sizes(run.balances[start:stop])),
    ))  # fmt: skip


@cache
def _of_length(count: int) -> tuple[Callable[..., bytes], bytes, bytes]:
    """What packs an array of so many bigints; what stands before one of times, and before one of smallints."""
    head = (20 + 12 * count, 1, 0, BIGINT, count, 1)
    return (
        partial(Struct(">iiiiii" + "iq" * count).pack, *head),
        _ARRAY(20 + 12 * count, 1, 0, TIMESTAMPTZ, count, 1) + _EIGHT_BYTES,
        _ARRAY(20 + 6 * count, 1, 0, SMALLINT, count, 1),
    )


@lru_cache(maxsize=100_000)
def _team(shard: int, team_id: str) -> bytes:
    return _HEAD.pack(COLUMNS, 2, shard) + pack_text(team_id)


_packed_text = lru_cache(maxsize=100_000)(pack_text)


def _numbered(names: Sequence[str | None]) -> tuple[list[str | None], bytes]:
    """Each name once, and for each place the number of its name, from 1, as an array carries it."""
    distinct = list(dict.fromkeys(names))
    numbers = dict(zip(distinct, _NUMBERS, strict=False))
    return distinct, b"".join(map(numbers.__getitem__, names))


def _texts(texts: Sequence[str | None]) -> bytes:
    data = b"".join(map(_packed_text, texts))
    return _ARRAY(20 + len(data), 1, None in texts, TEXT, len(texts), 1) + data


def _with_sizes(numbers: Sequence[int]) -> list[int]:
    """Each number with its size in bytes before it."""
    with_sizes = [8] * (2 * len(numbers))
    with_sizes[1::2] = numbers
    return with_sizes
