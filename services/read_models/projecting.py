"""Projecting: a batch of facts becomes changed balances, activity rows and usage cells, saved with the checkpoint.

Live projector and rebuild run this. States stay in memory between batches: they are ours as long as the checkpoint's
compare-and-swap succeeds, and thrown away when it does not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter, itemgetter

import asyncpg

from projections import usage, usage_by_attribute
from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.snapshots import CADENCE, Cadence
from projections.balance.state import Lot, LotPayment, TeamBalance
from schemas.facts import RATE_CARD_TEAM, Stored, UsageRecorded
from services.read_models.activity_rows import EntryOfTeam, pack_row, saved_entries
from services.read_models.activity_runs import entries_of, pack_run, spans
from services.read_models.attributes import attributes_of, counted_attributes, load_attributes, saved_attributes
from services.read_models.folding import ProjectedBatch, fold_plainly
from services.read_models.snapshots import saved_snapshots
from services.read_models.states import load, load_days, paid_for, saved, saved_days, saved_plainly, settled_lots
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Fenced
from services.store.claims import Claims
from services.store.connect import Connection, in_memory
from services.store.copying import COPY_BEGIN, COPY_END
from services.store.halts import EVERYBODYS
from services.store.read import RawFact, stored_of_raw
from services.store.sessions.bell import Bell

FactsByShard = Mapping[int, Sequence[RawFact]]
BY_TEAM, BY_TYPE = itemgetter(2), itemgetter(3)

STATES_MAX = 100_000  # about a kilobyte each
MEMBER_DAYS_MAX = 50_000  # about as much
COPY_ROWS_MIN = 200  # fewer cost less as an argument than a transaction's round trips do


class Poisoned(Exception):
    """A fact that can't be folded, or follows a state that can't be read; the cause says why."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(f"{stored.type} at {stored.place}")
        self.stored = stored


@dataclass(slots=True)
class Projecting:
    """The states of the teams in the shards that a reader has claimed, for one set of projection versions."""

    claims: Claims
    versions: Mapping[str, int]
    cadence: Cadence = CADENCE
    states: dict[str, TeamBalance] = field(default_factory=dict)
    used: usage.Cells = field(default_factory=dict)
    names: tuple[str, ...] | None = None  # of attributes that these versions count usage by, once they are read
    attributed: usage_by_attribute.AttributeCells = field(default_factory=dict)
    alarmed: Bell = field(default_factory=Bell)  # rung when the log may have something to say about a balance

    def forget(self) -> None:
        """What is in memory may be wrong: load it anew when it is needed."""
        self.states.clear()
        self.used.clear()
        self.attributed.clear()
        self.names = None

    async def project(self, connection: Connection, facts: FactsByShard) -> ProjectedBatch:
        """Fold the next facts of each shard and save what changed together with the checkpoints.

        Raises:
            Fenced: another process owns one of the shards, or the tables are gone; the states are gone, join again.
            Poisoned: nothing is saved; what comes before that fact in its shard, and the other shards, can be.
        """
        try:
            await self._load(connection, facts)
            batch = await self._fold(connection, facts)
            crashpoint("projector:folded")
            await self._save(connection, batch)
            crashpoint("projector:committed")
        except asyncpg.UndefinedTableError as gone:
            self.forget()
            raise Fenced("the tables of this build were dropped: another build's went live a day ago") from gone
        except BaseException:
            self.forget()
            raise
        self.claims.moved(batch.reached)
        for _, team in batch.touched.values():
            team.changed.clear()
        if any(team.alarm() for _, team in batch.touched.values()):
            self.alarmed.ring()
        return batch

    async def _load(self, connection: Connection, facts: FactsByShard) -> None:
        if len(self.states) > STATES_MAX:
            self.states.clear()
        if sum(map(len, self.used.values())) > MEMBER_DAYS_MAX:
            self.used.clear()
        if len(self.attributed) > MEMBER_DAYS_MAX:
            self.attributed.clear()
        if self.names is None:
            self.names = await counted_attributes(connection, self.versions["usage"])
        states = self.states
        missing = [
            (shard, team_id) for shard, read in facts.items() for team_id in {*map(BY_TEAM, read)} - states.keys()
        ]
        if missing:
            try:
                states.update(await load(connection, sorted(missing), self.versions["balance"]))
            except EVERYBODYS:
                raise
            except Exception:
                await self._load_alone(connection, facts)
                raise

    async def _load_alone(self, connection: Connection, facts: FactsByShard) -> None:
        """Find out whose state can't be read."""
        for read in facts.values():
            for row in {row["team_id"]: row for row in reversed(read)}.values():
                try:
                    await load(connection, [(row["shard"], row["team_id"])], self.versions["balance"])
                except EVERYBODYS:
                    raise
                except Exception as error:
                    raise Poisoned(stored_of_raw(row)) from error

    async def _fold(self, connection: Connection, facts: FactsByShard) -> ProjectedBatch:
        batch = ProjectedBatch(self.used, self.cadence, self.names or ())
        for shard, read in facts.items():
            by_team: dict[str, list[RawFact]] = {}
            for row in read:
                by_team.setdefault(row[2], []).append(row)
            poisoned = []
            for team_id, rows in by_team.items():
                try:
                    await self._fold_team(connection, batch, shard, team_id, rows)
                except Poisoned as found:
                    poisoned.append(found)
            if poisoned:
                raise min(poisoned, key=attrgetter("stored.position"))
            batch.reached[shard] = read[-1]["position"]
        return batch

    async def _fold_team(
        self, connection: Connection, batch: ProjectedBatch, shard: int, team_id: str, rows: Sequence[RawFact]
    ) -> None:
        """A team's facts of a batch, in order."""
        for facts in _by_type(rows):
            is_plain = facts[0]["type"] == UsageRecorded.type and team_id != RATE_CARD_TEAM
            for row in fold_plainly(batch, shard, self.states[team_id], facts) if is_plain else facts:
                stored = stored_of_raw(row)
                try:
                    await self._fold_one(connection, batch, stored)
                except EVERYBODYS:
                    raise
                except Exception as error:
                    raise Poisoned(stored) from error
        if team_id != RATE_CARD_TEAM:
            batch.touched[team_id] = shard, self.states[team_id]

    async def _fold_one(self, connection: Connection, batch: ProjectedBatch, stored: Stored) -> None:
        """By the definition."""
        fact = stored.fact()
        if stored.team_id == RATE_CARD_TEAM:
            return
        team = self.states[stored.team_id]
        earlier = earlier_usage(fact)
        if earlier is None:
            entries = evolve(team, stored, fact)
        else:
            entries = evolve(team, stored, fact, *await self._paid(connection, batch, stored, earlier, team))
        attributes = await attributes_of(connection, stored.shard, fact) if batch.names else None
        batch.note(team, stored, fact, entries, attributes)

    async def _paid(
        self, connection: Connection, batch: ProjectedBatch, stored: Stored, earlier: int, team: TeamBalance
    ) -> tuple[tuple[LotPayment, ...], Mapping[int, Lot]]:
        paid = batch.paid_for(stored.team_id, earlier)
        if paid is None:
            paid = await paid_for(connection, stored.shard, stored.team_id, earlier, self.versions)
        return paid, await settled_lots(connection, stored.shard, team, paid, self.versions)

    async def _save(self, connection: Connection, batch: ProjectedBatch) -> None:
        """In one statement, which is its own transaction. Many entries are worth one around it, and go as runs."""
        parts = [(run, start, stop) for run in batch.runs for start, stop in spans(run.positions)]
        is_small = len(batch.entries) + sum(stop - start for _, start, stop in parts) < COPY_ROWS_MIN
        alone = [part for part in parts if is_small or part[2] - part[1] == 1]
        entries = [*batch.entries, *chain.from_iterable(entries_of(*part) for part in alone)]
        if is_small:
            await self._move(connection, batch, entries)
            return
        version = self.versions["activity"]
        async with connection.transaction():
            await self._move(connection, batch, [])
            await _copy(
                connection, f"activity_runs_v{version}", (pack_run(*one) for one in parts if one[2] - one[1] > 1)
            )
            await _copy(connection, f"activity_rows_v{version}", (pack_row(*one) for one in entries))
            crashpoint("projector:saved")

    async def _move(self, connection: Connection, batch: ProjectedBatch, entries: Sequence[EntryOfTeam]) -> None:
        """Move the checkpoints, with all that changed beside the activity, and with these entries of it."""
        versions = self.versions
        await self._count_usage(connection, batch)
        evolved = [batch.touched[team_id] for team_id in batch.evolved]
        plain = [touched for team_id, touched in batch.touched.items() if team_id not in batch.evolved]
        parts = [
            *saved(evolved, versions["balance"]),
            *saved_plainly(plain, versions["balance"]),
            saved_snapshots(batch.snapshots, versions["balance"]),
            saved_days(self.used, batch.counted, versions["usage"]),
            saved_entries(entries, versions["activity"]),
        ]
        if batch.attributed:
            parts.append(saved_attributes(await self._count_attributes(connection, batch), versions["usage"]))
        await self.claims.lock_and_move(connection, batch.reached, parts)

    async def _count_usage(self, connection: Connection, batch: ProjectedBatch) -> None:
        missing = {}
        for team_day, members in batch.cells.items():
            batch.counted.setdefault(team_day, set()).update(members)
            if unknown := members.keys() - self.used.get(team_day, {}).keys():
                missing[team_day] = unknown
        if missing:
            for team_day, saved_members in (await load_days(connection, missing, self.versions["usage"])).items():
                self.used.setdefault(team_day, {}).update(saved_members)
        usage.merge(self.used, batch.cells)

    async def _count_attributes(
        self, connection: Connection, batch: ProjectedBatch
    ) -> usage_by_attribute.AttributeCells:
        """The days of attributes that the batch has changed, whole."""
        missing = {key: used for key, used in batch.attributed.items() if key not in self.attributed}
        if missing:
            self.attributed.update(await load_attributes(connection, missing, self.versions["usage"]))
        usage_by_attribute.merge(self.attributed, batch.attributed)
        return {key: self.attributed[key] for key in batch.attributed}


def _by_type(rows: Sequence[RawFact]) -> Iterable[Sequence[RawFact]]:
    """Facts of one type that have no other between them; nearly always that is all of them."""
    if len(set(map(BY_TYPE, rows))) == 1:
        return [rows]
    return [list(facts) for _, facts in groupby(rows, key=BY_TYPE)]


async def _copy(connection: Connection, table: str, rows: Iterable[bytes]) -> None:
    if packed := b"".join(rows):
        await connection.copy_to_table(
            table, source=in_memory(b"".join((COPY_BEGIN, packed, COPY_END))), format="binary"
        )
