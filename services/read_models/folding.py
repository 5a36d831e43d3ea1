"""Folding in memory: what a batch of facts changes, and the short way of a team's plain usage through it.

Teams are folded one after the other, for none looks at another's facts. What of a team's usage is plain is taken at
once; else it is cut where a lot or a stretch ends, or in halves, and a single fact that is not plain goes to `evolve`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby, takewhile

from projections import usage, usage_by_attribute
from projections.balance.plain import PlainPayment, Usages, plain_at_first, use_plainly
from projections.balance.snapshots import CADENCE, Cadence, Snapshot, note
from projections.balance.state import ActivityKind, BalanceEntry, LotPayment, TeamBalance
from schemas.credits import MicroCredits
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

    Usage is counted in `loaded` for members' days that are in memory already, else in `cells`; `counted` names those.
    `paid` says who paid for usage that is not in `runs`. In `attributed` it is counted by the attributes in `names`.
    """

    loaded: usage.Cells = field(default_factory=dict)
    cadence: Cadence = CADENCE
    names: Sequence[str] = ()
    reached: dict[int, int] = field(default_factory=dict)
    touched: dict[str, tuple[int, TeamBalance]] = field(default_factory=dict)
    evolved: set[str] = field(default_factory=set)  # of those, which had more than plain usage
    entries: list[EntryOfTeam] = field(default_factory=list)
    runs: list[PlainRun] = field(default_factory=list)
    cells: usage.Cells = field(default_factory=dict)
    counted: dict[usage.TeamDay, set[str]] = field(default_factory=dict)
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
        self.evolved.add(team.team_id)
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
            team_key = stored.shard, stored.team_id
            usage.add(self.cells, *team_key, team.zone, entry, happened_at)
            if self.names:
                usage_by_attribute.add(self.attributed, self.names, team_key, team.zone, entry, happened_at, attributes)

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
        part = columns.cut(start, stop)
        usages = part.plain_usages()
        payment = None if usages is None else use_plainly(team, usages, batch.cadence)
        if usages is not None and payment is not None:
            _note_plainly(batch, shard, team, part, usages, payment)
        elif stop - start == 1:
            yield rows[start]
        else:
            middle = start + _first_part(team, usages, stop - start, batch.cadence)
            parts += [(middle, stop), (start, middle)]


def _first_part(team: TeamBalance, usages: Usages | None, count: int, cadence: Cadence) -> int:
    """How many of so many usages that are not all plain to try by themselves: those that can be, or half of them."""
    at_first = count if usages is None else plain_at_first(team, usages, cadence)
    return count // 2 if at_first == count else max(1, at_first)


@dataclass(slots=True)
class _Columns:
    """Usages, column by column; times are raw."""

    positions: list[int]
    recorded: list[bytes]
    occurred: list[bytes]
    members: list[str | None]
    features: list[str]
    credits: list[MicroCredits]
    is_special: list[bool]  # names a hold, or corrects another
    attributes: list[dict[str, str] | None]  # none where nobody counts by them

    @classmethod
    def of(cls, rows: Sequence[RawFact], *, with_attributes: bool) -> "_Columns":
        """Raises ValueError: a body is not what was written."""
        facts = list(map(_decode_usage, [row[4] for row in rows]))
        return cls(
            [row[1] for row in rows], [row[5] for row in rows], [row[6] for row in rows],
            [fact.member_id for fact in facts], [fact.feature for fact in facts], [fact.credits for fact in facts],
            [fact.hold_id is not None or fact.corrects is not None for fact in facts],
            [fact.attributes for fact in facts] if with_attributes else [],
        )  # fmt: skip

    def cut(self, start: int, stop: int) -> "_Columns":
        """Some of them: itself where it is all."""
        if stop - start == len(self.positions):
            return self
        return _Columns(
            self.positions[start:stop], self.recorded[start:stop], self.occurred[start:stop], self.members[start:stop],
            self.features[start:stop], self.credits[start:stop], self.is_special[start:stop],
            self.attributes[start:stop],
        )  # fmt: skip

    def plain_usages(self) -> Usages | None:
        """As `use_plainly` takes them; None where one is special, or older than times can be compared raw."""
        latest = max(self.occurred)
        if True in self.is_special or latest > LATEST_RAW:
            return None
        return Usages(
            self.credits, instant(min(self.occurred)), instant(latest), self.positions[-1], instant(self.recorded[-1])
        )


def _note_plainly(
    batch: ProjectedBatch, shard: int, team: TeamBalance, part: _Columns, usages: Usages, payment: PlainPayment
) -> None:
    """Keep what plain usage did. The lists of `part` are the run's from now on, where it is a new one."""
    run = batch.runs[-1] if batch.runs else None
    if run is None or run.team_id != team.team_id or run.lot != payment.lot or run.is_included != payment.is_included:
        batch.runs.append(PlainRun(
            shard, team.team_id, payment.lot, payment.is_included, part.positions, part.recorded, part.occurred, part.members,
            part.features, part.credits, payment.balances,
        ))  # fmt: skip
    else:
        run.positions += part.positions
        run.recorded += part.recorded
        run.occurred += part.occurred
        run.members += part.members
        run.features += part.features
        run.credits += part.credits
        run.balances += payment.balances
    batch.flow.went[ActivityKind.USAGE] += sum(part.credits)
    for day, first, last in _days(team.zone, part.occurred, usages):
        team_day = shard, team.team_id, day
        used = zip(part.members[first:last], part.features[first:last], part.credits[first:last], strict=True)
        members = usage.add_plainly(batch.cells, batch.loaded, team_day, used)
        batch.counted.setdefault(team_day, set()).update(members)
        if batch.names:
            with_attributes = (
                part.members[first:last],
                part.features[first:last],
                part.credits[first:last],
                part.attributes[first:last],
            )
            usage_by_attribute.add_plainly(batch.attributed, batch.names, team_day, zip(*with_attributes, strict=True))


def _days(zone: str, occurred: Sequence[bytes], usages: Usages) -> Iterator[tuple[date, int, int]]:
    """The days of the team on which work was done, and from where to where it is of that day."""
    day = usage.day_of(zone, usages.earliest)
    if day == usage.day_of(zone, usages.latest):
        yield day, 0, len(occurred)
        return
    start = 0
    for day, times in groupby(occurred, key=lambda raw: usage.day_of(zone, instant(raw))):
        stop = start + len(list(times))
        yield day, start, stop
        start = stop
