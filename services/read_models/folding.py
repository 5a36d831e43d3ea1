"""Folding in memory: what a batch of facts changes, and the short way of a team's plain usage through it.

Teams are folded one after the other, for none looks at another's facts. What of a team's usage is plain is taken at
once; where it is not, each half is tried, and a single fact that is not plain goes to `evolve`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby, takewhile

from projections import usage, usage_by_attribute
from projections.balance.plain import PlainPayment, Usages, use_plainly
from projections.balance.snapshots import CADENCE, Cadence, Snapshot, note
from projections.balance.state import ActivityKind, BalanceEntry, LotPayment, TeamBalance
from schemas.facts import DECODE, AnyFact, Stored, UsageRecorded, UsageVoided
from services.read_models.activity_rows import EntryOfTeam
from services.read_models.activity_runs import PlainRun
from services.read_models.flow import Flow
from services.store.copying import LATEST_RAW, instant
from services.store.read import RawFact

_decode_usage: Callable[[bytes], UsageRecorded] = DECODE[UsageRecorded.type]


@dataclass(slots=True)
class ProjectedBatch:
    """What a batch of facts changed, and the positions it reached.

    Usage is counted in `loaded` for member days that are in memory already, else in `cells`; `counted` names both.
    `paid` says who paid for usage that is not in `runs`. In `attributed` it is counted by the attributes in `names`.
    """

    loaded: usage.Cells = field(default_factory=dict)
    cadence: Cadence = CADENCE
    names: Sequence[str] = ()
    reached: dict[int, int] = field(default_factory=dict)
    touched: dict[str, tuple[int, TeamBalance]] = field(default_factory=dict)
    entries: list[EntryOfTeam] = field(default_factory=list)
    runs: list[PlainRun] = field(default_factory=list)
    cells: usage.Cells = field(default_factory=dict)
    counted: set[usage.MemberDay] = field(default_factory=set)
    attributed: usage_by_attribute.AttributeCells = field(default_factory=dict)
    paid: dict[tuple[str, int], tuple[LotPayment, ...]] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)
    flow: Flow = field(default_factory=Flow)

    def note(
        self,
        team: TeamBalance,
        stored: Stored,
        fact: AnyFact,
        entries: Sequence[BalanceEntry],
        attributes: usage_by_attribute.Attributes,
    ) -> None:
        """Keep what `evolve` made of a fact. `attributes` are those of the usage that it records or takes back."""
        snapshot = note(team, stored, self.cadence)
        if snapshot is not None:
            self.snapshots.append(snapshot)
        for entry in entries:
            self.flow.note(fact, entry)
            self.entries.append((stored.shard, stored.team_id, entry))
            if entry.kind is ActivityKind.USAGE:
                happened_at = stored.occurred_at
                self.paid[stored.team_id, entry.position] = entry.paid
            elif isinstance(fact, UsageVoided) and entry.kind is ActivityKind.USAGE_VOIDED:
                happened_at = fact.usage_occurred_at
            else:
                continue
            place = stored.shard, stored.team_id
            usage.add(self.cells, *place, team.zone, entry, happened_at)
            if self.names:
                usage_by_attribute.add(self.attributed, self.names, place, team.zone, entry, happened_at, attributes)

    def paid_for(self, team_id: str, position: int) -> tuple[LotPayment, ...] | None:
        """Who paid for a usage of the team that is folded now; None if it is not in this batch."""
        for run in takewhile(lambda run: run.team_id == team_id, reversed(self.runs)):
            index = bisect_left(run.positions, position)
            if index < len(run.positions) and run.positions[index] == position:
                return (LotPayment(run.lot, run.credits[index]),)
        return self.paid.get((team_id, position))


def fold_plainly(batch: ProjectedBatch, shard: int, team: TeamBalance, rows: Sequence[RawFact]) -> Iterator[RawFact]:
    """Fold usage of a team, with nothing of it between.

    What is not plain is given back: the caller folds it before it asks for the next.
    """
    try:
        columns = _Columns.of(rows, with_attributes=bool(batch.names))
    except ValueError:  # whose it is, `evolve` will find out
        yield from rows
        return
    parts = [(0, len(rows))]
    while parts:
        start, stop = parts.pop()
        part = columns.part(start, stop)
        payment = None if part is None else use_plainly(team, part, batch.cadence)
        if payment is not None:
            _note_plainly(batch, shard, team, columns, start, stop, payment)
        elif stop - start == 1:
            yield rows[start]
        else:
            middle = (start + stop) // 2
            parts += [(middle, stop), (start, middle)]


@dataclass(slots=True)
class _Columns:
    """Usages, column by column; times are raw."""

    positions: tuple[int, ...]
    recorded: tuple[bytes, ...]
    occurred: tuple[bytes, ...]
    members: list[str | None]
    features: list[str]
    credits: list[int]
    is_special: list[bool]  # names a hold, or corrects another
    attributes: list[dict[str, str] | None]  # none where nobody counts by them

    @classmethod
    def of(cls, rows: Sequence[RawFact], *, with_attributes: bool) -> "_Columns":
        """Raises ValueError: a body is not what was written."""
        _, positions, _, _, bodies, recorded, occurred, *_ = zip(*rows, strict=True)
        facts = list(map(_decode_usage, bodies))
        return cls(
            positions, recorded, occurred, [fact.member_id for fact in facts], [fact.feature for fact in facts],
            [fact.credits for fact in facts], list(map(_is_special, facts)),
            [fact.attributes for fact in facts] if with_attributes else [],
        )  # fmt: skip

    def part(self, start: int, stop: int) -> Usages | None:
        """Some of them; None where one is special, or older than times can be compared raw."""
        occurred = self.occurred[start:stop]
        latest = max(occurred)
        if any(self.is_special[start:stop]) or latest > LATEST_RAW:
            return None
        return Usages(
            self.credits[start:stop], instant(min(occurred)), instant(latest), self.positions[stop - 1],
            instant(self.recorded[stop - 1]),
        )  # fmt: skip


def _is_special(fact: UsageRecorded) -> bool:
    return fact.hold_id is not None or fact.corrects is not None


def _note_plainly(
    batch: ProjectedBatch,
    shard: int,
    team: TeamBalance,
    columns: _Columns,
    start: int,
    stop: int,
    payment: PlainPayment,
) -> None:
    """Keep what plain usage did."""
    run = batch.runs[-1] if batch.runs else None
    if run is None or run.team_id != team.team_id or run.lot != payment.lot or run.is_included != payment.is_included:
        run = PlainRun(shard, team.team_id, payment.lot, payment.is_included)
        batch.runs.append(run)
    members, features, credits = columns.members[start:stop], columns.features[start:stop], columns.credits[start:stop]
    occurred = columns.occurred[start:stop]
    run.positions += columns.positions[start:stop]
    run.recorded += columns.recorded[start:stop]
    run.occurred += occurred
    run.members += members
    run.features += features
    run.credits += credits
    run.balances += payment.balances
    batch.flow.went[ActivityKind.USAGE] += sum(credits)
    usages = list(zip(members, features, credits, strict=True))
    for day, first, last in _days(team.zone, occurred):
        place = shard, team.team_id, day
        batch.counted |= usage.add_plainly(batch.cells, batch.loaded, place, usages[first:last])
        if batch.names:
            attributes = columns.attributes[start + first : start + last]
            attributed = ((*used, each) for used, each in zip(usages[first:last], attributes, strict=True))
            usage_by_attribute.add_plainly(batch.attributed, batch.names, place, attributed)


def _days(zone: str, occurred: Sequence[bytes]) -> Iterator[tuple[date, int, int]]:
    """The days of the team on which work was done, and from where to where it is of that day."""
    day = usage.day_of(zone, instant(min(occurred)))
    if day == usage.day_of(zone, instant(max(occurred))):
        yield day, 0, len(occurred)
        return
    start = 0
    for day, times in groupby(occurred, key=lambda raw: usage.day_of(zone, instant(raw))):
        stop = start + len(list(times))
        yield day, start, stop
        start = stop
