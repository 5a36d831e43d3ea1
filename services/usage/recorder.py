"""The recorder: usage from Kafka becomes facts, exactly once.

From broker to row the way has six frames of ours. `receive` parses a batch. `_store_all` cuts it to transactions.
`_store_patiently` repeats one until it is stored or somebody else's. `_write` judges and writes it. `append_plain`
(where there is more than usage, `append_ready`) gives the facts their positions and packs them. `_copy` sends the rows.
What they ask on the way (`door.parse`, `door.judge`) only decides.

The transaction that appends the facts also moves the Kafka cursors, so a batch counts wholly or not at all, whatever
dies and whenever. Kafka's own commits are for lag dashboards and are never read back. While PostgreSQL writes one
batch, the next is fetched and parsed: two are in hand at most, and they are stored one after the other.

FastStream swallows what a handler raises and goes on fetching, so `receive` raises nothing. What is unavailable is
repeated until it is there. Being fenced drops the partition. Anything else ends the process with the cursor unmoved.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

import structlog
from aiokafka import ConsumerRecord

from schemas.pricing import RateCards
from schemas.topics import USAGE
from schemas.usage import FastUsage
from services.credits.holds.hold import HoldKey
from services.credits.holds.settlement import live_or_settled, settle_holds
from services.credits.rate_cards import load_rate_cards, newest_version
from services.runtime.clock import Clock
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Fenced, Unavailable
from services.runtime.health import Health
from services.runtime.retry import Retry
from services.runtime.tracing.spans import WorkSpan, span
from services.store.append import AlreadyStored, append_plain, append_ready
from services.store.beside.traces import keep_trails
from services.store.connect import AWAY, Connection, Pool
from services.store.identities import Identity, count_repeats, find
from services.store.shards import shard_of
from services.usage import door
from services.usage.batches import BATCH_MAX, TAKE_BACK, ParsedRecord, ParsedRun, next_runs, parse, steps
from services.usage.cursors import CursorStep, move_cursors
from services.usage.door import BatchOutcome, ParsedUsage, StoredContext
from services.usage.metrics import RecorderMetrics, RefusedShare
from services.usage.partitions import Partitions
from services.usage.refusals import RefusedRecord, keep_refusals
from services.usage.taking_back import target_of
from services.usage.traces import UsageTraces, say_recorded, traces_of_usage
from services.usage.voids import note_voids, voided_among

BATCH_MIN = 200
HELD_MAX_SECONDS = 0.015
GROWS_BY = 100  # a 100th with each batch for which nobody has waited: whoever places holds places the next one soon
PACE_SECONDS = 0.01  # from batch to batch at least: what a transaction costs is shared by all that came meanwhile
LOOK_FIRST_BATCHES = 50  # after a duplicate more are likely: look before appending for a while
CARDS_STALE_TIMES = 6  # so many reloads may fail; then nothing is priced
FINISH_SECONDS = 5

SOMEBODY_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
KNOWN_TEAMS = (
    "SELECT team_id FROM unnest($1::smallint[], $2::text[]) AS w (shard, team_id) JOIN teams USING (shard, team_id)"
)

log = structlog.get_logger("recorder")


@dataclass(slots=True)
class Recorder:
    """One process's share of the topic.

    Attributes:
        pool: connections to the store.
        partitions: those that this process owns.
        health: what the process tells of itself.
        clock: the time of the process.
        metrics: what dashboards and alerts read.
        refusing: the share of usage that is refused.
        listed_attributes: which attributes the catalog has stored, besides those that cards price by.
        cards: the rate cards, as they were loaded last.
        cards_at: when that was.
        teams: those that are known to exist.
        look_first: for so many batches, identities are looked up before they are appended.
        appended_at: the last append by the heads' time, also where the transaction was in vain and is tried again.
        batch: how many records are stored at once.
        handed: a batch is on its way from FastStream, or is parsed.
        storing: the batch that is being stored.
        failed: what ends the process.
    """

    pool: Pool
    partitions: Partitions
    health: Health
    clock: Clock
    metrics: RecorderMetrics
    refusing: RefusedShare
    cards_reload_seconds: float
    listed_attributes: tuple[str, ...] = ()
    cards: RateCards | None = None
    cards_at: float = 0.0
    teams: set[str] = field(default_factory=set)
    look_first: int = 0
    appended_at: datetime | None = None
    batch: int = BATCH_MAX
    handed: bool = False
    storing: asyncio.Task[None] | None = None
    failed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def busy(self) -> bool:
        """True while records are in hand that are not stored."""
        return self.handed or (self.storing is not None and not self.storing.done())

    def begin(self) -> None:
        """A batch is on its way to `receive`.

        If the one before never arrived, FastStream dropped it: nothing may follow.
        """
        if self.handed:
            self.fail(RuntimeError("a batch was lost between Kafka and the recorder's handler"))
        self.handed = True

    def fail(self, error: BaseException) -> None:
        """End the process with this."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def receive(self, records: Sequence[ConsumerRecord]) -> None:
        """FastStream's handler: parse a batch while the one before is stored, then store it behind our back.

        Raises nothing.
        """
        began = monotonic()
        try:
            crashpoint("recorder:fetched")
            runs = await parse(await self.partitions.check(records))
            if self.storing is not None:
                await asyncio.wait({self.storing})
            if not self.failed.done():
                self.storing = asyncio.create_task(self._store_all(runs))
        except Exception as error:  # noqa: BLE001 - handed to `serve`, which ends the process with it
            self.fail(error)
        finally:
            self.handed = False
        await asyncio.sleep(max(0.0, began + PACE_SECONDS - monotonic()))

    async def _store_all(self, runs: list[ParsedRun]) -> None:
        """Store a batch, in as many transactions as it takes, or end the process. Raises nothing."""
        try:
            while not self.failed.done() and (runs := [run for run in runs if not run.owned.lost]):
                batch_runs, rest = next_runs(runs, self.batch)
                if await self._store_patiently(batch_runs):
                    runs = rest
        except Exception as error:  # noqa: BLE001 - handed to `serve`, which ends the process with it
            self.fail(error)

    async def finish(self) -> None:
        """Let the batch in hand be stored if that is soon; otherwise it is read again, by whoever owns it next."""
        if self.storing is not None:
            _, unfinished = await asyncio.wait({self.storing}, timeout=FINISH_SECONDS)
            for task in unfinished:
                task.cancel()
            await asyncio.wait({self.storing})

    async def _store_patiently(self, batch_runs: Sequence[ParsedRun]) -> bool:
        """Store one transaction's worth, however long it takes; False when a partition in it has another owner now.

        When the answer to COMMIT is lost, the same steps are tried again: the compare-and-swap of the cursors finds
        out.
        """
        cursor_steps = steps(batch_runs, self.clock())
        batch_items = [parsed for run in batch_runs for parsed in run.parsed]
        retry = Retry("the store", (*AWAY, Unavailable), health=self.health)  # without a stop: `finish` sets the end
        while not any(run.owned.lost for run in batch_runs):
            async with retry:
                try:
                    with span("record usage", "consumer") as opened:
                        await self._write(batch_items, cursor_steps, opened)
                except Fenced as fenced:
                    if not await self.partitions.settle({run.owned for run in batch_runs}, cursor_steps):
                        log.warning("a partition has another owner now; its records are dropped here", why=str(fenced))
                        break
                except AlreadyStored:
                    self.look_first = LOOK_FIRST_BATCHES
                    continue
                for run in batch_runs:
                    run.owned.next_offset = run.end
                    self.health.beat(f"{USAGE}-{run.owned.partition}")
                return True
        self.health.back("the store")  # whoever owns the partition now waits for it
        return False

    async def _write(self, batch_items: Sequence[ParsedRecord], steps: Sequence[CursorStep], opened: WorkSpan) -> None:
        """Judge one transaction's worth, then cursors, refusals, repeats, facts: all or nothing."""
        cards = await self._cards()
        usages = [item for item in batch_items if isinstance(item, ParsedUsage)]
        async with self.pool.acquire() as connection:
            outcome = door.judge(usages, await self._context_of(connection, usages), cards, self.clock())
            outcome.refusals += [item for item in batch_items if isinstance(item, RefusedRecord)]
            traces = traces_of_usage(usages, outcome.facts)
            opened.link(trail.traceparent for trail in traces.kept.values() if trail.traceparent is not None)
            conflicts = [_conflict(repeat.usage) for repeat in outcome.repeats if not repeat.same]
            began = monotonic()
            async with connection.transaction():
                await move_cursors(connection, USAGE, steps)
                crashpoint("recorder:cursor_moved")
                await keep_refusals(connection, [*outcome.refusals, *conflicts], self.clock())
                await count_repeats(connection, [(repeat.usage.identity, repeat.same) for repeat in outcome.repeats])
                append_began = monotonic()
                if outcome.facts:
                    await self._append(connection, outcome)
                    await keep_trails(connection, traces.kept)
                # Of a batch that could not be smaller nobody asks: whoever waits would wait for one more answer.
                slow = len(batch_items) > BATCH_MIN and monotonic() - append_began > HELD_MAX_SECONDS
                waited = slow and bool(await connection.fetchval(SOMEBODY_WAITS))
                crashpoint("recorder:before_commit")
                written = monotonic()
            crashpoint("recorder:committed")
            committed = monotonic()
        held_seconds = committed - began
        self.metrics.append_seconds.observe(written - began)
        self.metrics.commit_seconds.observe(committed - written)
        self.batch = (
            max(BATCH_MIN, int(len(batch_items) * HELD_MAX_SECONDS / held_seconds))
            if waited
            else min(BATCH_MAX, self.batch + max(1, self.batch // GROWS_BY))
        )
        self._count(outcome, conflicts, traces)
        say_recorded(traces)

    async def _append(self, connection: Connection, outcome: BatchOutcome) -> None:
        """The facts of a batch, and what follows from them in their transaction."""
        if outcome.plain and (recorded_at := await append_plain(connection, outcome.facts)) is not None:
            self.appended_at = recorded_at
            return
        appended = await append_ready(connection, outcome.facts)
        self.appended_at = appended.recorded_at  # before what may be in vain
        await note_voids(connection, zip((fact.new for fact in outcome.facts), appended.places, strict=True))
        await settle_holds(connection, outcome.settles, outcome.ended, appended.recorded_at)

    def _count(self, outcome: BatchOutcome, conflicts: Sequence[RefusedRecord], traces: UsageTraces) -> None:
        self.look_first = LOOK_FIRST_BATCHES if outcome.repeats else max(0, self.look_first - 1)
        self.metrics.records.labels("recorded").inc(outcome.recorded)
        self.metrics.records.labels("refused").inc(len(outcome.refusals))
        self.metrics.records.labels("repeated").inc(len(outcome.repeats))
        for refused in (*outcome.refusals, *conflicts):
            self.metrics.refused.labels(refused.reason).inc()
        self.metrics.traces.labels("kept").inc(sum(trail.traceparent is not None for trail in traces.kept.values()))
        self.metrics.traces.labels("malformed").inc(traces.malformed)
        for why, count in outcome.dropped.items():
            self.metrics.dropped.labels(why).inc(count)
        self.refusing.count(outcome.recorded + len(outcome.refusals) + len(outcome.repeats), outcome.refusals)
        self.health.beat(USAGE)

    async def _context_of(self, connection: Connection, usages: Sequence[ParsedUsage]) -> StoredContext:
        """What `judge` must know of the teams and identities of a batch."""
        subjects = {usage.event.subject for usage in usages}
        if newcomers := sorted(subjects - self.teams):
            rows = await connection.fetch(KNOWN_TEAMS, [shard_of(team) for team in newcomers], newcomers)
            self.teams.update(row["team_id"] for row in rows)
        not_plain = [
            usage for usage in usages if not isinstance(usage.event, FastUsage) or usage.event.data.hold_id is not None
        ]
        voids = [usage for usage in not_plain if type(usage.event) in TAKE_BACK]
        held = {
            usage.identity: HoldKey(usage.event.subject, hold_id)
            for usage in not_plain
            if (hold_id := usage.event.data.hold_id) is not None
        }
        # Holds before identities: what settled a hold a moment ago is then found below, and its like is a repeat of it.
        holds = await live_or_settled(connection, set(held.values()), self.appended_at)
        identities: set[Identity] = {usage.identity for usage in (usages if self.look_first else voids)} | held.keys()
        identities.update(target for usage in voids if (target := target_of(usage.event)) is not None)
        stored = await find(connection, identities)
        voided = await voided_among(connection, stored.values()) if voids else {}
        return StoredContext(frozenset(subjects & self.teams), stored, voided, holds)

    async def _cards(self) -> RateCards:
        """The rate cards, at most some seconds old; pricing stops when they can't be had."""
        age = monotonic() - self.cards_at
        if self.cards is not None and age < self.cards_reload_seconds:
            return self.cards
        try:
            async with self.pool.acquire() as connection:
                # The same cards stay, with what they remember of prices.
                if self.cards is None or await newest_version(connection) != self.cards.newest_version:
                    self.cards = await load_rate_cards(connection, self.listed_attributes)
                self.cards_at = monotonic()
        except AWAY:
            if self.cards is None or age > CARDS_STALE_TIMES * self.cards_reload_seconds:
                raise
        return self.cards


def _conflict(usage: ParsedUsage) -> RefusedRecord:
    detail = "this id was recorded with other contents; give every usage an id of its own, and void what was wrong"
    return RefusedRecord(usage.record, "conflict", detail, *usage.identity)
