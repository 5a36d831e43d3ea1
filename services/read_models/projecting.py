"""Projecting: a batch of facts becomes changed balances, activity rows and usage cells, saved with the checkpoint.

Live projector and rebuild run this. States stay in memory between batches: they are ours as long as the checkpoint's
compare-and-swap succeeds, and thrown away when it does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from projections import usage
from projections.balance.fold import evolve
from projections.balance.plain import use_plainly
from projections.balance.snapshots import CADENCE, Cadence, Snapshot, note
from projections.balance.state import ActivityKind, BalanceEntry, Lot, LotPayment, TeamBalance
from schemas.facts import RATE_CARD_TEAM, AnyFact, Stored, UsageRecorded, UsageVoided
from services.read_models.activity_rows import pack_row
from services.read_models.flow import Flow
from services.read_models.snapshots import save_snapshots
from services.read_models.states import load, paid_for, save, settled_lots
from services.read_models.usage_rows import load_days, save_days
from services.runtime.crashpoints import crashpoint
from services.store.claims import Claims
from services.store.connect import Connection, in_memory
from services.store.copying import COPY_BEGIN, COPY_END
from services.store.halts import EVERYBODYS

STATES_MAX = 100_000  # about a kilobyte each
MEMBER_DAYS_MAX = 50_000  # about as much


class Poisoned(Exception):
    """A fact that can't be folded, or follows a state that can't be read; the cause says why."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(f"{stored.type} at {stored.place}")
        self.stored = stored


@dataclass(slots=True)
class ProjectedBatch:
    """What a batch of facts changed, and the positions it reached. `paid` is kept where the batch has voids."""

    has_voids: bool = False
    reached: dict[int, int] = field(default_factory=dict)
    touched: dict[str, tuple[int, TeamBalance]] = field(default_factory=dict)
    activity: list[bytes] = field(default_factory=list)
    cells: usage.Cells = field(default_factory=dict)
    paid: dict[tuple[str, int], tuple[LotPayment, ...]] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)
    flow: Flow = field(default_factory=Flow)


@dataclass(slots=True)
class Projecting:
    """The states of the teams in the shards that a reader has claimed, for one set of projection versions."""

    claims: Claims
    versions: Mapping[str, int]
    cadence: Cadence = CADENCE
    states: dict[str, TeamBalance] = field(default_factory=dict)
    used: usage.Cells = field(default_factory=dict)

    def forget(self) -> None:
        """What is in memory may be wrong: load it anew when it is needed."""
        self.states.clear()
        self.used.clear()

    async def project(self, connection: Connection, facts: Mapping[int, list[Stored]]) -> ProjectedBatch:
        """Fold the next facts of each shard and save what changed, in one transaction with the checkpoints.

        Raises:
            Fenced: another process owns one of the shards; the states are gone, join again.
            Poisoned: nothing is saved; what comes before that fact in its shard, and the other shards, can be.
        """
        try:
            await self._load(connection, facts)
            batch = await self._fold(connection, facts)
            crashpoint("projector:folded")
            async with connection.transaction():
                await self.claims.lock_and_move(connection, batch.reached)
                crashpoint("projector:moved")
                await self._save(connection, batch)
                crashpoint("projector:saved")
            crashpoint("projector:committed")
        except BaseException:
            self.forget()
            raise
        self.claims.moved(batch.reached)
        for _, team in batch.touched.values():
            team.changed.clear()
        return batch

    async def _load(self, connection: Connection, facts: Mapping[int, list[Stored]]) -> None:
        if len(self.states) > STATES_MAX:
            self.states.clear()
        states = self.states
        missing = {
            (stored.shard, stored.team_id) for read in facts.values() for stored in read if stored.team_id not in states
        }
        if missing:
            try:
                states.update(await load(connection, sorted(missing), self.versions["balance"]))
            except EVERYBODYS:
                raise
            except Exception:
                await self._load_alone(connection, facts)
                raise

    async def _load_alone(self, connection: Connection, facts: Mapping[int, list[Stored]]) -> None:
        """Find out whose state can't be read."""
        for read in facts.values():
            for stored in {stored.team_id: stored for stored in reversed(read)}.values():
                try:
                    await load(connection, [(stored.shard, stored.team_id)], self.versions["balance"])
                except EVERYBODYS:
                    raise
                except Exception as error:
                    raise Poisoned(stored) from error

    async def _fold(self, connection: Connection, facts: Mapping[int, list[Stored]]) -> ProjectedBatch:
        batch = ProjectedBatch(
            has_voids=any(stored.type == UsageVoided.type for read in facts.values() for stored in read)
        )
        stored = None
        try:
            for shard, read in facts.items():
                for stored in read:
                    fact = stored.fact()
                    if stored.team_id == RATE_CARD_TEAM:
                        continue
                    team = self.states[stored.team_id]
                    if stored.type == UsageVoided.type and isinstance(fact, UsageVoided):
                        entries = evolve(team, stored, fact, *await self._paid(connection, batch, stored, fact, team))
                    else:
                        entries = _evolve(team, stored, fact)
                    batch.touched[stored.team_id] = (shard, team)
                    snapshot = note(team, stored, self.cadence)
                    if snapshot is not None:
                        batch.snapshots.append(snapshot)
                    if entries:
                        _note(batch, stored, fact, team, entries)
                batch.reached[shard] = read[-1].position
        except EVERYBODYS:
            raise
        except Exception as error:
            if stored is None:
                raise
            raise Poisoned(stored) from error
        return batch

    async def _paid(
        self, connection: Connection, batch: ProjectedBatch, stored: Stored, fact: UsageVoided, team: TeamBalance
    ) -> tuple[tuple[LotPayment, ...], Mapping[int, Lot]]:
        paid = batch.paid.get((stored.team_id, fact.usage_position))
        if paid is None:
            paid = await paid_for(connection, stored.shard, stored.team_id, fact.usage_position, self.versions)
        return paid, await settled_lots(connection, stored.shard, team, paid, self.versions)

    async def _save(self, connection: Connection, batch: ProjectedBatch) -> None:
        if batch.touched:
            await save(connection, batch.touched.values(), self.versions["balance"])
        if batch.snapshots:
            await save_snapshots(connection, batch.snapshots, self.versions["balance"])
        if batch.activity:
            data = b"".join((COPY_BEGIN, *batch.activity, COPY_END))
            await connection.copy_to_table(
                f"activity_v{self.versions['activity']}", source=in_memory(data), format="binary"
            )
        if batch.cells:
            await self._save_usage(connection, batch.cells)

    async def _save_usage(self, connection: Connection, cells: usage.Cells) -> None:
        version = self.versions["usage"]
        if len(self.used) > MEMBER_DAYS_MAX:
            self.used.clear()
        if missing := cells.keys() - self.used.keys():
            self.used.update(await load_days(connection, missing, version))
        usage.merge(self.used, cells)
        await save_days(connection, self.used, cells, version)


def _evolve(team: TeamBalance, stored: Stored, fact: AnyFact) -> list[BalanceEntry]:
    """As `evolve`, the short way where there is one."""
    if isinstance(fact, UsageRecorded) and (entry := use_plainly(team, stored, fact)) is not None:
        return [entry]
    return evolve(team, stored, fact)


def _note(batch: ProjectedBatch, stored: Stored, fact: AnyFact, team: TeamBalance, entries: list[BalanceEntry]) -> None:
    """Keep what the entries of a fact say for activity and usage."""
    for entry in entries:
        batch.flow.note(fact, entry)
        batch.activity.append(pack_row(stored.shard, stored.team_id, entry))
        if entry.kind is ActivityKind.USAGE:
            usage.add(batch.cells, stored.shard, stored.team_id, team.zone, entry, stored.occurred_at)
            if batch.has_voids:
                batch.paid[stored.team_id, entry.position] = entry.paid
        elif isinstance(fact, UsageVoided) and entry.kind is ActivityKind.USAGE_VOIDED:
            usage.add(batch.cells, stored.shard, stored.team_id, team.zone, entry, fact.usage_occurred_at)
