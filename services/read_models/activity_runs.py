"""Runs of plain usage: many entries in one row of `activity_runs`, packed for COPY.

An entry costs an eighth of a row of its own, and a run without a member need not be read for that one. Which entries
share a row follows from the batches in which they were folded, so two builds of the same log may differ in that. What
the view `activity` shows of them does not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from struct import pack

from projections.activity import RUN_LENGTH_MAX, RUN_SPAN_MAX
from projections.balance.state import DEBT, ActivityKind, BalanceEntry
from services.read_models.activity_rows import BIGINT, NULL, EntryOfTeam
from services.store.copying import microseconds

COLUMNS = 15
SMALLINT, TEXT, TIMESTAMPTZ = 21, 25, 1184  # numbers of types in every PostgreSQL


@dataclass(slots=True)
class Run:
    """Usage of one team, in order, that one lot paid."""

    shard: int
    team_id: str
    entries: list[BalanceEntry] = field(default_factory=list)

    def goes_on_with(self, entry: BalanceEntry) -> bool:
        """True if this is the place of the team's next entry."""
        first = self.entries[0]
        return (
            len(self.entries) < RUN_LENGTH_MAX
            and first.paid[0].lot == entry.paid[0].lot
            and bool(first.included) == bool(entry.included)
            and entry.position - first.position < RUN_SPAN_MAX
        )


def is_plain(entry: BalanceEntry) -> bool:
    """True for usage that one lot paid, which is all that a run can say."""
    if entry.kind is not ActivityKind.USAGE or entry.part or entry.late or len(entry.paid) != 1:
        return False
    lot, credits = entry.paid[0]
    included, additional = entry.included, entry.additional
    return lot != DEBT and credits > 0 and included + additional == -credits and not (included and additional)


def into_runs(entries: Iterable[EntryOfTeam]) -> tuple[list[Run], list[EntryOfTeam]]:
    """Each team's entries, which are in order, as runs; and those that stand alone."""
    latest: dict[str, Run] = {}
    runs: list[Run] = []
    alone: list[EntryOfTeam] = []
    for one in entries:
        shard, team_id, entry = one
        if not is_plain(entry):
            alone.append(one)
            continue
        run = latest.get(team_id)
        if run is None or not run.goes_on_with(entry):
            run = latest[team_id] = Run(shard, team_id)
            runs.append(run)
        run.entries.append(entry)
    alone += [(run.shard, run.team_id, run.entries[0]) for run in runs if len(run.entries) == 1]
    return [run for run in runs if len(run.entries) > 1], alone


def pack_run(run: Run) -> bytes:
    """A row of `activity_runs_v…` as COPY carries it."""
    entries = run.entries
    lot, is_included = entries[0].paid[0].lot, bool(entries[0].included)
    members, by_member = _numbered([entry.member_id for entry in entries])
    features, of_feature = _numbered([entry.feature for entry in entries])
    team = run.team_id.encode()
    return b"".join((
        pack(">hihi", COLUMNS, 2, run.shard, len(team)), team,
        pack(">iqiqiqi?", 8, entries[0].position, 8, entries[-1].position, 8, lot, 1, is_included),
        _texts(members), _texts(features),
        _numbers(BIGINT, [entry.position for entry in entries]),
        _numbers(TIMESTAMPTZ, [microseconds(entry.recorded_at) for entry in entries]),
        _numbers(TIMESTAMPTZ, [microseconds(entry.occurred_at) for entry in entries]),
        _numbers(SMALLINT, by_member), _numbers(SMALLINT, of_feature),
        _numbers(BIGINT, [entry.paid[0].credits for entry in entries]),
        _numbers(BIGINT, [entry.balance_after for entry in entries]),
    ))  # fmt: skip


def _numbered(names: Sequence[str | None]) -> tuple[list[str | None], list[int]]:
    """Each name once, and for each place the number of its name, from 1."""
    numbers: dict[str | None, int] = {}
    places = [numbers.setdefault(name, len(numbers) + 1) for name in names]
    return list(numbers), places


def _array(kind: int, length: int, data: bytes, *, has_null: bool = False) -> bytes:
    return pack(">iiiiii", 20 + len(data), 1, has_null, kind, length, 1) + data


def _numbers(kind: int, numbers: Sequence[int]) -> bytes:
    size, letter = (2, "h") if kind == SMALLINT else (8, "q")
    with_sizes = [part for number in numbers for part in (size, number)]
    return _array(kind, len(numbers), pack(f">{f'i{letter}' * len(numbers)}", *with_sizes))


def _texts(texts: Sequence[str | None]) -> bytes:
    data = []
    for text in texts:
        if text is None:
            data.append(NULL)
        else:
            encoded = text.encode()
            data += (pack(">i", len(encoded)), encoded)
    return _array(TEXT, len(texts), b"".join(data), has_null=None in texts)
