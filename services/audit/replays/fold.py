"""One shard folded anew, from nothing: balances, usage, and the entries that the activity must have."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from projections import usage, usage_by_attribute
from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.snapshots import note
from projections.balance.state import ActivityKind, BalanceEntry, LotPayment, TeamBalance
from schemas.facts import RATE_CARD_TEAM, AnyFact, Stored, UsageVoided
from services.audit.derived import UNFOLDABLE, AuditFinding, readable, unfoldable
from services.audit.replays.outcome import Replayed, Totals
from services.audit.replays.scope import ReplayScope
from services.read_models.activity_rows import row_of
from services.read_models.attributes import attributes_of
from services.read_models.states import paid_for
from services.store.connect import Connection

ProjectionRow = tuple[object, ...]
EntryKey = tuple[str, int, int]  # team, position, part


@dataclass(slots=True)
class FoldedShard:
    """The fold over one shard."""

    shard: int
    stop: int  # where the live projections stood when the replay began: what is newer is not counted
    voided: frozenset[tuple[str, int]]
    names: Sequence[str]  # of attributes that the live projections count usage by
    teams: dict[str, TeamBalance] = field(default_factory=dict)
    cells: usage.Cells = field(default_factory=dict)
    attributed: usage_by_attribute.AttributeCells = field(default_factory=dict)
    paid: dict[tuple[str, int], tuple[LotPayment, ...]] = field(default_factory=dict)
    rows: Counter[str] = field(default_factory=Counter)
    teams_counted: int = 0
    snapshots: dict[tuple[str, int], ProjectionRow] = field(default_factory=dict)


async def take(
    connection: Connection, fold: FoldedShard, stored: Stored, replayed: Replayed
) -> Sequence[tuple[str, BalanceEntry]]:
    """Fold one fact; its entries, with the team."""
    fact = readable(stored, replayed.finds)
    if fact is None or stored.team_id == RATE_CARD_TEAM:
        return ()
    team = fold.teams.get(stored.team_id)
    if team is None:
        team = fold.teams[stored.team_id] = TeamBalance(stored.team_id)
    if stored.position <= fold.stop:
        fold.teams_counted = len(fold.teams)
    paid: tuple[LotPayment, ...] = ()
    if (earlier := earlier_usage(fact)) is not None:
        try:
            paid = await _paid(connection, fold, stored, earlier)
        except AssertionError:  # no row of the activity has it
            unknown = f"there is no usage at {earlier} before this"
            replayed.finds(AuditFinding(stored.team_id, stored.place, unknown))
            return ()
    try:
        return await _evolve(connection, fold, team, stored, fact, paid)
    except UNFOLDABLE as wrong:
        replayed.finds(unfoldable(stored, wrong))
        return ()


async def _evolve(
    connection: Connection,
    fold: FoldedShard,
    team: TeamBalance,
    stored: Stored,
    fact: AnyFact,
    paid: tuple[LotPayment, ...],
) -> Sequence[tuple[str, BalanceEntry]]:
    happened_at = fact.usage_occurred_at if isinstance(fact, UsageVoided) else stored.occurred_at
    entries = evolve(team, stored, fact, paid, team.changed)  # every lot there ever was: nothing is saved in between
    if (snapshot := note(team, stored)) is not None:
        fold.snapshots[stored.team_id, stored.position] = snapshot[1:]
    attributes = await attributes_of(connection, stored.shard, fact) if fold.names else None
    for entry in entries:
        if entry.kind in (ActivityKind.USAGE, ActivityKind.USAGE_VOIDED):
            _count(fold, team, entry, happened_at, attributes)
    return [(stored.team_id, entry) for entry in entries]


def _count(
    fold: FoldedShard,
    team: TeamBalance,
    entry: BalanceEntry,
    happened_at: datetime,
    attributes: Mapping[str, str] | None,
) -> None:
    """Add a usage, or what takes one back, to its day; what will be taken back is remembered with its payers."""
    team_key = fold.shard, team.team_id
    usage.add(fold.cells, *team_key, team.zone, entry, happened_at)
    if fold.names:
        usage_by_attribute.add(fold.attributed, fold.names, team_key, team.zone, entry, happened_at, attributes)
    if (team.team_id, entry.position) in fold.voided:
        fold.paid[team.team_id, entry.position] = entry.paid


async def _paid(connection: Connection, fold: FoldedShard, stored: Stored, earlier: int) -> tuple[LotPayment, ...]:
    """Who paid the usage that is taken back or replaced.

    As this fold saw it, or as the activity says, which was compared by then.
    """
    payments = fold.paid.get((stored.team_id, earlier))
    if payments is not None:
        return payments
    return await paid_for(connection, stored.shard, stored.team_id, earlier)


def entries_in_window(
    fold: FoldedShard, entries: Iterable[tuple[str, BalanceEntry]], scope: ReplayScope, replayed: Replayed
) -> dict[EntryKey, ProjectionRow]:
    """The rows that the activity must have, by team, position and part; counted."""
    expected: dict[EntryKey, ProjectionRow] = {}
    for team_id, entry in entries:
        if entry.recorded_at < scope.since:
            continue
        expected[team_id, entry.position, entry.part] = row_of(team_id, entry)
        fold.rows[team_id] += 1
        if entry.position > fold.stop:
            continue
        totals = replayed.totals.setdefault(entry.kind, Totals())
        totals.entries += 1
        totals.included += entry.included
        totals.additional += entry.additional
    return expected
