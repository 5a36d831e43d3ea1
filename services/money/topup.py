"""The top-up worker: a balance that ran low is charged for, once, and answered by credits.

Kafka wakes, the store decides: a record on `credits.events` only says which team to look at, and a sweep finds whatever
no record announced. Every decision is made on the exact balance under the shard's lock, and is a fact: the decision not
to charge, too. How an attempt then comes to its end is told in `services.money.top_ups.charging`.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from prometheus_client import Counter, Gauge

from projections.top_ups.decisions import decide, resumption_due
from projections.top_ups.state import OFTEN, TopUps
from schemas.catalog import Catalog
from schemas.facts import NewFact, TopUpRequested, TopUpSkipped, is_id
from schemas.topics import EVENTS
from services.money.inbox import NOBODYS, work_on_inbox
from services.money.reconcile.schedule import keep_reconciled
from services.money.stripe_client import StripeMetrics, charges_of
from services.money.top_ups import attempts
from services.money.top_ups.charging import Charging
from services.money.top_ups.due import oldest_seconds, teams_due
from services.money.top_ups.log import TOP_UPS, append_top_up, catch_up, lock_top_ups, save_top_ups, trail_of_episode
from services.read_models.balances import read_balance
from services.read_models.versions import live_versions
from services.runtime import kafka
from services.runtime.clock import Clock, pause, system_clock, until_stopped
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.runtime.kafka.watch import KAFKA, watch_kafka
from services.runtime.logs import get_log
from services.runtime.processes import PROCESSES
from services.runtime.retry import keep_going
from services.runtime.settings import Settings
from services.runtime.settings_loading import catalog_of
from services.runtime.tracing.context import carrying
from services.runtime.tracing.spans import span
from services.store.connect import RETRYABLE, Connection, Pool, connect_pool
from services.store.halts import Halts
from services.store.lives import check_looked
from services.store.refills import append_refills_due

GROUP = "creditwell-topup"
WORKERS = 16  # attempts at once
WAIT_MS = 500  # for records; what comes ends it at once, and each look at all partitions costs a millisecond
SWEEP_SECONDS, SWEEP_MAX = 1.0, 500
GOODBYE_SECONDS = 1.0

WAKING = ("balance.ran_low", "top_up.configured", "payment_method.changed", "credits.purchased", "plan.assigned")
WAKES = tuple(f'"type":"{kind}.v1"'.encode() for kind in WAKING)
HEAD_BYTES = 1_000  # the type stands before the data


async def serve(settings: Settings, stop: asyncio.Event, health: Health, clock: Clock = system_clock) -> None:
    """Charge what is due until told to stop; it goes by the database's clock."""
    del clock
    settings.require(*PROCESSES["topup"].needed(settings))
    catalog, owner, figures = catalog_of(settings), f"topup-{uuid4()}", Figures(health)
    stripe = StripeMetrics(health.registry)

    async def charge() -> None:
        pool = await connect_pool(
            settings.needed("database"), process="topup", lease_seconds=settings.lease_seconds, size=WORKERS // 2,
            health=health,
        )  # fmt: skip
        async with pool, charges_of(settings, stripe) as charges:
            async with pool.acquire() as connection:
                await check_looked(connection)
            worker = Worker(pool, Charging(pool, charges, catalog, owner), catalog, owner, health, figures)
            await _serve(settings, worker, stop)

    await keep_going("the database", charge, stop, health, away=RETRYABLE)


async def _serve(settings: Settings, worker: "Worker", stop: asyncio.Event) -> None:
    news_kept = timedelta(days=settings.stripe_inbox_days)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch_kafka(settings, worker.health, stop))
        for _ in range(WORKERS):
            tasks.create_task(worker.work())
        await asyncio.gather(
            keep_going(
                KAFKA, lambda: listen(settings, worker, stop), stop, worker.health, away=(*RETRYABLE, KafkaError)
            ),
            keep_going("the database", lambda: sweep(worker, stop), stop, worker.health, away=RETRYABLE),
            keep_going(
                "the database",
                lambda: work_on_inbox(worker.pool, worker.charging.charges, stop, worker.health),
                stop, worker.health, away=RETRYABLE,
            ),
            keep_going(
                "the database",
                lambda: keep_reconciled(
                    worker.pool, worker.charging.charges, worker.catalog, stop, worker.health, news_kept=news_kept
                ),
                stop, worker.health, away=RETRYABLE,
            ),
        )  # fmt: skip
        worker.finish()


async def listen(settings: Settings, worker: "Worker", stop: asyncio.Event) -> None:
    """Look at the teams that Kafka names; what it names while nobody listens is found by the sweep."""
    consumer = kafka.consumer(
        settings, EVENTS, client_id="creditwell-topup", group_id=GROUP, auto_offset_reset="latest",
        fetch_max_wait_ms=WAIT_MS,
    )  # fmt: skip
    try:
        await until_stopped(_read(consumer, worker), stop)
    finally:
        with suppress(TimeoutError):  # a group that is being shared out anew would keep us for as long as that takes
            async with asyncio.timeout(GOODBYE_SECONDS):
                await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, worker: "Worker") -> None:
    """Read for ever."""
    await consumer.start()
    worker.health.back(KAFKA)
    while True:
        for records in (await consumer.getmany(timeout_ms=WAIT_MS)).values():
            for team_id in filter(None, map(whom_it_wakes, records)):
                worker.want(team_id)


def whom_it_wakes(record: ConsumerRecord) -> str | None:
    """The team that may have to be charged after a fact; None where nobody may, or where this is no fact."""
    head = (record.value or b"")[:HEAD_BYTES]
    if not any(kind in head for kind in WAKES):
        return None
    try:
        team_id = (record.key or b"").decode()
    except UnicodeDecodeError:
        return None
    return team_id if is_id(team_id) else None


async def sweep(worker: "Worker", stop: asyncio.Event) -> None:
    """What time brings and what no record announced: decisions that are due, attempts to go on with.

    Raises:
        Unavailable: the projector has not made its tables yet.
    """
    async with worker.pool.acquire() as connection:
        if "balance" not in await live_versions(connection):
            raise Unavailable("the projector has not made its tables yet")
        worker.health.back("the database")
        worker.health.ready()
        await worker.halts.begin(connection)
        while not stop.is_set():
            due = await teams_due(connection, SWEEP_MAX, worker.halts.waiting())
            # Who is halted is looked at though nothing is due any more, or it would be named for ever.
            for team_id in {*due, *worker.halts.due()}:
                worker.want(team_id)
            worker.health.lag("topup", len(worker.waiting))
            worker.figures.oldest.set(await oldest_seconds(connection))
            await pause(stop, SWEEP_SECONDS)


class Figures:
    """What the process counts, without a word about which team."""

    def __init__(self, health: Health) -> None:
        self.decisions = Counter(
            "creditwell_top_up_decisions", "Decisions about top-ups: requested, or why not.", ["decision"],
            registry=health.registry,
        )  # fmt: skip
        self.often = Counter(
            "creditwell_top_ups_unusually_often", f"Top-ups of teams that had {OFTEN} or more within a day.",
            registry=health.registry,
        )  # fmt: skip
        self.oldest = Gauge(
            "creditwell_top_up_oldest_seconds", "How long the oldest charge is under way that waits for nobody's confirmation.",
            registry=health.registry,
        )  # fmt: skip


@dataclass(slots=True)
class Worker:
    """One process's share of the teams."""

    pool: Pool
    charging: Charging
    catalog: Catalog
    owner: str
    health: Health
    figures: Figures
    halts: Halts = field(init=False)
    queue: "asyncio.Queue[str | None]" = field(default_factory=asyncio.Queue)
    waiting: set[str] = field(default_factory=set)
    busy: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.halts = Halts("top-ups", self.health)

    def want(self, team_id: str) -> None:
        """Look at this team soon; to ask often is to ask once."""
        if team_id not in self.waiting:
            self.waiting.add(team_id)
            if team_id not in self.busy:
                self.queue.put_nowait(team_id)

    def finish(self, tasks: int = WORKERS) -> None:
        """Let every task end when it is done with what it has."""
        for _ in range(tasks):
            self.queue.put_nowait(None)

    async def work(self) -> None:
        """Look at one team after the other, and never at one that another task is looking at."""
        while (team_id := await self.queue.get()) is not None:
            self.waiting.discard(team_id)
            self.busy.add(team_id)
            try:
                if team_id not in self.halts.waiting():
                    await self.look_at_guarded(team_id)
            except RETRYABLE as away:
                get_log().warning("not now; the sweep comes back to it", team_id=team_id, why=repr(away))
            self.busy.discard(team_id)
            self.health.beat("topup")
            if team_id in self.waiting:
                self.queue.put_nowait(team_id)

    async def look_at_guarded(self, team_id: str) -> None:
        """As `look_at`; what goes wrong for this team halts it alone."""
        try:
            await self.look_at(team_id)
        except NOBODYS:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one team's
            async with self.pool.acquire() as connection:
                await self.halts.halt(connection, team_id, error)
        else:
            if team_id in self.halts.again_at:
                async with self.pool.acquire() as connection:
                    await self.halts.go_on(connection, [team_id])

    async def look_at(self, team_id: str) -> None:
        """Decide what is due, then go on with the attempt that is open, if there is one."""
        async with self.pool.acquire() as connection:
            await check_looked(connection)
            trail = await trail_of_episode(connection, team_id)
        with span("top-up", parent=trail.traceparent) as opened, carrying(trail.within(opened.traceparent)):
            async with self.pool.acquire() as connection, connection.transaction():
                state = await self.decide(connection, team_id)
                if state.open is None:
                    await attempts.put_right(connection, state)
            if state.open is not None:
                crashpoint("topup:requested")
                await self.charging.go_on(team_id)

    async def decide(self, connection: Connection, team_id: str) -> TopUps:
        """Append the decision that is due for a team, in the caller's transaction; its top-ups afterwards."""
        state, head = await lock_top_ups(connection, team_id)
        now, unmoved = head.recorded_at, None if head.refills_due else head
        if head.refills_due and await append_refills_due(connection, [team_id], now):
            state = await catch_up(connection, state)
        if (resumed := resumption_due(state)) is not None:
            name = f"resumed:{state.position}"
            new = NewFact(team_id, TOP_UPS, name, now, resumed)
            state, unmoved = await append_top_up(connection, state, [new], unmoved), None
        if state.episode is None or state.point is None or state.point.at > now:
            if state.position:
                await save_top_ups(connection, state)
            return state
        balance = await read_balance(connection, team_id, now)
        assert balance is not None, f"{team_id} ran low and has no plan"
        decision = decide(state, balance.team.available(now), now, self.catalog)
        match decision:
            case None:
                await save_top_ups(connection, state, enough_at=balance.team.position)
                return state
            case TopUpRequested():
                name = f"requested:{decision.attempt_id}"
                beside = [await attempts.begin_attempt(connection, team_id, decision, self.owner, now)]
            case _:
                name, beside = f"skipped:{decision.ran_low_id}:{decision.decision}", []
        state = await append_top_up(
            connection, state, [NewFact(team_id, TOP_UPS, name, now, decision)], unmoved, beside
        )
        crashpoint("topup:decided")
        self.tell(state, decision)
        return state

    def tell(self, state: TopUps, decision: TopUpRequested | TopUpSkipped) -> None:
        """Metrics and a line about a decision; loud, when a team tops up so often that something may be wrong."""
        reason = decision.reason if isinstance(decision, TopUpSkipped) else "requested"
        self.figures.decisions.labels(reason).inc()
        get_log().info("decided", team_id=state.team_id, decision=decision.type, reason=reason)
        if reason == "requested" and state.unusually_often:
            self.figures.often.inc()
            get_log().warning("unusually many top-ups", team_id=state.team_id, within_a_day=len(state.recent))
