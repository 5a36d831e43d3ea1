"""The stage of a storm: a whole Creditwell under load, with a proxy before its database, and the oracles that count afterwards."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import psutil

from deploy.local.folders import free_ports
from deploy.local.forkserver import fork_server
from deploy.local.processes import Processes
from deploy.local.stack import Stack
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import AnyFact, NewFact, PaymentMethodChanged, TopUpConfigured
from services.credits.plans import assign_plan
from services.credits.rate_cards import seed_catalog
from services.money.stripe_client import Charges
from services.read_models.balances import PROJECTOR
from services.read_models.versions import ensure_projections
from services.store.append import append
from services.store.connect import Connection
from services.store.migrate import migrate
from services.store.shards import shard_of
from tests.support.fleet import Fleet
from tests.support.load import Load, Pressure
from tests.support.oracle import Oracle, drained
from tests.support.projections import every_row, folded_anew
from tests.support.proxy import Proxy, a_proxy
from tests.support.relayed import RelayOracle
from tests.support.topics import TopicReader
from tests.support.waiting import until
from tests.support.world import a_producer, begin_at, connected, ends_of

RECORDERS = ("recorder-1", "recorder-2")
ALWAYS = (*RECORDERS, "projector-1", "relay-1", "topup-1")
TEAMS = [f"team_{n:02d}" for n in range(20)]
TOPPED_UP = TEAMS[:12]  # these have a card, and some of them run low every few seconds
DRAIN_SECONDS = 60.0
STRIPE_KEY = "sk_test_storm"
# One team after the other runs low, so that a worker that is to die at a step of a top-up always finds one to make.
THRESHOLDS = {team_id: (2_950 - 90 * n) * MICRO for n, team_id in enumerate(TOPPED_UP)}

# What the clock would do in some seconds more: whoever holds these is dead.
LEASES_RUN_OUT = (
    "UPDATE checkpoints SET seen_at = '-infinity' WHERE reader = ANY($1)",
    "UPDATE readers SET seen_at = '-infinity' WHERE reader = ANY($1)",
    "UPDATE top_up_attempts SET leased_until = '-infinity' WHERE ended_at IS NULL AND 'topup' = ANY($1)",
)
READERS = {"projector": [PROJECTOR], "relay": ["relay", "relay-refused"], "topup": ["topup"]}


@dataclass
class Scene:
    """Where a storm takes place."""

    stack: Stack
    processes: Processes
    fleet: Fleet
    proxy: Proxy
    database: str  # a superuser's URL, past the proxy
    connection: Connection
    stripe: httpx2.AsyncClient
    oracle: Oracle
    relayed: RelayOracle
    pressure: Pressure
    always: Sequence[str] = ALWAYS  # who runs unless an injection says otherwise
    known_dead: int = 0
    said: list[str] = field(default_factory=list)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)  # one question at a time on one connection

    def say(self, line: str) -> None:
        """What an injection did, for whoever reads about its failure."""
        self.said.append(line)

    async def facts(self) -> int:
        """How many facts are stored; through a new connection where the server has been away."""
        if self.connection.is_closed():
            await self.reconnect()
        count: int = await self.connection.fetchval("SELECT sum(next - 1)::bigint FROM shard_heads")
        return count

    async def reconnect(self) -> None:
        """The server is there again."""
        self.connection = await until(lambda: connected(self.database), what="PostgreSQL answers")

    async def more_facts(self, count: int) -> None:
        """Wait until the log has grown by so many."""
        await self._beyond(self.facts, await self.facts() + count, f"{count} more facts")

    async def died_at(self, name: str) -> None:
        """Wait until a process that was asked to die has died of it."""
        code = await self.fleet.ended(name)
        assert code == -9, f"{name} ended with code {code}"

    async def killed(self, name: str) -> None:
        """Kill -9, and wait until it is gone."""
        self.processes.kill(name)
        await self.died_at(name)

    async def claims_made(self) -> int:
        """How often partitions of usage have changed hands."""
        return await self._number("SELECT coalesce(sum(epoch), 0)::bigint FROM kafka_cursors")

    async def partitions_moved(self, before: int) -> None:
        """Wait until partitions have changed hands since."""
        await self._beyond(self.claims_made, before + 1, "a partition changes hands")

    async def repeated(self) -> int:
        """How many duplicates have been counted."""
        return await self._number("SELECT coalesce(sum(duplicates), 0)::bigint FROM repeats")

    async def more_repeated(self, goal: int) -> None:
        """Wait until so many duplicates have been counted."""
        await self._beyond(self.repeated, goal, f"{goal} duplicates are counted")

    async def refused(self, reason: str = "%") -> int:
        """How many records were refused, for any reason or for this one."""
        return await self._number("SELECT count(*) FROM refused WHERE reason LIKE $1", reason)

    async def more_refused(self, goal: int, reason: str = "%") -> None:
        """Wait until so many records were refused."""
        await self._beyond(lambda: self.refused(reason), goal, f"{goal} records are refused")

    async def halted(self) -> set[str]:
        """For whom some work is halted."""
        return set(await self._answer("SELECT coalesce(array_agg(name), '{}') FROM halted"))

    async def replace_holds(self, team_id: str, holds: str) -> str:
        """Write over the open holds of a team in the projection; what stood there. Nobody may be folding."""
        before: str = await self._answer("SELECT holds::text FROM balance WHERE team_id = $1", team_id)
        await self._answer("UPDATE balance SET holds = $2::jsonb WHERE team_id = $1", team_id, holds)
        return before

    async def others_are_projected(self, team_id: str) -> None:
        """Wait until every shard but this team's is folded as far as it is recorded now."""
        goal = await self._answer(
            "SELECT array_agg(next - 1 ORDER BY shard) FROM shard_heads WHERE shard <> $1", shard_of(team_id)
        )

        async def look() -> bool:
            reached = await self._answer(
                "SELECT array_agg(position ORDER BY shard) FROM checkpoints WHERE reader LIKE 'projector_of_%' AND shard <> $1",
                shard_of(team_id),
            )
            return all(at >= head for at, head in zip(reached, goal, strict=True))

        await until(look, what=f"all but the shard of {team_id} are projected")

    async def server_started_at(self) -> datetime:
        """Since when PostgreSQL has been running."""
        started_at: datetime = await self._answer("SELECT pg_postmaster_start_time()")
        return started_at

    def broker(self) -> psutil.Process:
        """The broker's process, for whoever asks later whether it is still the same."""
        assert self.stack.native_kafka is not None
        assert self.stack.native_kafka._broker is not None
        return psutil.Process(self.stack.native_kafka._broker.pid)

    async def stripe_failed(self) -> None:
        """Wait until a request has met what was ordered to go wrong."""

        async def look() -> bool:
            rules = (await self.stripe.get("/_control/faults")).json()
            return any(rule["fired"] for rule in rules)

        await until(look, what="a request to Stripe fails as it was ordered to")

    async def _number(self, question: str, *values: object) -> int:
        number: int = await self._answer(question, *values)
        return number

    async def _answer(self, question: str, *values: object) -> Any:
        async with self.asking:
            if self.connection.is_closed():
                await self.reconnect()
            return await self.connection.fetchval(question, *values)

    async def _beyond(self, count: Callable[[], Awaitable[int]], goal: int, what: str) -> None:
        """Wait until a count has reached its goal, also while the database is away."""

        async def look() -> bool:
            try:
                return await count() >= goal
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return False

        await until(look, what=what)

    async def leases_run_out(self, program: str) -> None:
        """Of a process that is dead: nobody waits for the clock."""
        if program not in READERS:
            return
        async with self.asking:
            if self.connection.is_closed():
                await self.reconnect()
            for statement in LEASES_RUN_OUT:
                await self.connection.execute(statement, READERS[program])

    async def heal(self) -> None:
        """Whatever is dead or frozen runs again, and nobody holds what a dead one held."""
        for name in self.always:
            process = self.processes[name]
            if process.code is None:
                self.processes.resume(name)
            else:
                await self.leases_run_out(name.partition("-")[0])
                self.fleet.start(name)
        for name in set(self.fleet.ports) - set(self.always):
            if self.processes[name].code is None:
                self.processes.resume(name)
                await self.processes.stop(name)
                await self.leases_run_out(name.partition("-")[0])

    async def problems(self, *, thorough: bool = False) -> list[str]:
        """Quiet down, wait until everything has been worked off, and ask the oracles."""
        await self.pressure.pause()
        began = time.monotonic()
        behind = await self._drain()
        if behind:
            return [f"not worked off after {time.monotonic() - began:.0f} s: {'; '.join(behind)}", *self._deaths()]
        found = [
            *await self.oracle.problems(self.connection),
            *await self.oracle.wrong_balances(self.connection),
            *await self.relayed.problems(self.connection, self.oracle.facts),
            *self._deaths(),
            *self._secrets_told(),
        ]
        if thorough and await every_row(self.connection) != await folded_anew(self.connection):
            found.append("O5 the live projections are not what a replay gives")
        self.pressure.go()
        return found

    async def _drain(self) -> list[str]:
        deadline, quiet_at, behind = time.monotonic() + DRAIN_SECONDS, -1, ["nothing was looked at"]
        while time.monotonic() < deadline:
            try:
                before = await self.facts()
                behind = await drained(self.connection, await self.oracle.ends()) or await self._money_under_way()
                if not behind and before == quiet_at:
                    return []
                quiet_at = before if not behind else -1
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as away:
                behind = [f"the database is away: {away!r}"]
            await asyncio.sleep(0.1)
        return behind or ["facts keep coming"]

    async def _money_under_way(self) -> list[str]:
        """O7, as long as it can still come true: what Stripe took and what was credited, intent by intent."""
        books = (await self.stripe.get("/_control/books")).json()
        paid = {charge["payment_intent"]: charge["amount"] for charge in books["charges"]}
        rows = await self.connection.fetch(
            "SELECT convert_from(body, 'UTF8')::jsonb ->> 'payment_intent_id', (convert_from(body, 'UTF8')::jsonb ->> 'charge_cents')::int "
            "FROM facts WHERE type = 'credits.topped_up.v1'"
        )
        credited = {row[0]: row[1] for row in rows}
        open_attempts = await self.connection.fetchval("SELECT count(*) FROM top_up_attempts WHERE ended_at IS NULL")
        low = await self.connection.fetchval(
            "SELECT count(*) FROM balance JOIN unnest($1::text[], $2::bigint[]) AS t (team_id, threshold) USING (team_id) "
            "WHERE included + additional < threshold",
            TOPPED_UP,
            list(THRESHOLDS.values()),
        )
        found = []
        if len(books["charges"]) != len(paid):
            found.append("O7 an intent was charged twice")
        if paid != credited:
            found.append(
                f"O7 {len(paid)} charges, {len(credited)} credits; {sorted(paid.items() ^ credited.items())[:3]}"
            )
        if open_attempts or low:
            found.append(f"O7 {open_attempts} attempts are open, {low} teams with top-ups are low")
        return found

    def _secrets_told(self) -> list[str]:
        """O9: what nobody may read in a log, whatever went wrong meanwhile."""
        secrets = {"Stripe's key": STRIPE_KEY, "the database's password": urlsplit(self.database).password or ""}
        logs = [self.processes[name].log for name in self.fleet.ports]
        return [
            f"O9 {what} stands in {log.name}"
            for log in logs
            for what, secret in secrets.items()
            if secret.encode() in log.read_bytes()
        ]

    def _deaths(self) -> list[str]:
        """O9: who ended though nobody asked."""
        new, self.known_dead = self.processes.died[self.known_dead :], len(self.processes.died)
        return [f"O9 {died.name} ended with code {died.code}: {died.last_lines[-600:]}" for died in new]


@asynccontextmanager
async def a_scene(
    stack: Stack,
    database: str,
    *,
    seed: int,
    per_second: int = 80,
    always: Sequence[str] = ALWAYS,
    anchors: Mapping[str, datetime] = MappingProxyType({}),
) -> AsyncIterator[Scene]:
    """Everything runs and is under load; `database` is empty or migrated. `anchors`: of the cycles of some teams."""
    connection: Connection = await asyncpg.connect(database, server_settings={"timezone": "UTC"})
    await migrate(connection)
    await ensure_projections(connection)
    begin = await ends_of(stack.kafka)
    await begin_at(connection, begin)
    oracle = Oracle(stack.kafka, begin, set(TEAMS))
    relayed = RelayOracle(
        TopicReader(stack.kafka, "credits.events", await ends_of(stack.kafka, "credits.events")),
        TopicReader(stack.kafka, "usage.refused", await ends_of(stack.kafka, "usage.refused")),
    )
    (port,) = free_ports(1)
    stripe = f"http://127.0.0.1:{port}"
    common = {"CREDITWELL_STRIPE_API": stripe, "CREDITWELL_STRIPE_KEY": STRIPE_KEY}
    with Processes(stack, say=lambda line: None, forks=fork_server()) as processes:
        async with a_proxy(database) as proxy, a_producer(stack.kafka) as producer, a_stand_in(processes, port) as http:
            await begin_teams(connection, http, stripe, anchors)
            fleet = Fleet(processes, stack, proxy.url(database), common)
            for name in always:
                fleet.start(name)
            await fleet.ready(*always)
            pressure = Pressure(producer, Load(Random(seed), TEAMS, name=f"s{seed}"), per_second)
            scene = Scene(stack, processes, fleet, proxy, database, connection, http, oracle, relayed, pressure, always)
            sending = asyncio.create_task(pressure.run())
            try:
                yield scene
            finally:
                pressure.stop()
                await sending
                await scene.connection.close()
                oracle.close()
                relayed.close()


@asynccontextmanager
async def a_stand_in(processes: Processes, port: int) -> AsyncIterator[httpx2.AsyncClient]:
    """Stripe's, as a process of its own."""
    processes.start("stripe", [sys.executable, "-m", "deploy.local.stripe", "--port", str(port), "--key", STRIPE_KEY])
    url = f"http://127.0.0.1:{port}"
    await processes.wait_ready("stripe", f"{url}/_control/books")
    headers = {"Authorization": f"Bearer {STRIPE_KEY}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


async def begin_teams(
    connection: Connection,
    http: httpx2.AsyncClient,
    stripe: str,
    anchors: Mapping[str, datetime] = MappingProxyType({}),
) -> None:
    """Plans for all; a card and top-ups for some, whose threshold is near their allowance."""
    async with connection.transaction():
        await seed_catalog(connection, load_catalog())
    for team_id in TEAMS:
        async with connection.transaction():
            await assign_plan(connection, load_catalog(), team_id, "pro", anchor=anchors.get(team_id))
    async with Charges(STRIPE_KEY, api_base=stripe) as charges:
        for team_id in TOPPED_UP:
            customer = await charges.ensure_customer(team_id)
            card = (await http.post("/v1/payment_methods/pm_card_visa/attach", data={"customer": customer})).json()
            facts: list[AnyFact] = [
                PaymentMethodChanged(
                    customer_id=customer, payment_method_id=card["id"], fingerprint=card["card"]["fingerprint"]
                ),
                TopUpConfigured(
                    enabled=True,
                    threshold_credits=THRESHOLDS[team_id],
                    credits=500 * MICRO,
                    currency="usd",
                    cool_down_seconds=0,
                ),
            ]
            new = [NewFact(team_id, "test", f"begin-{n}", datetime.now(UTC), fact) for n, fact in enumerate(facts)]
            async with connection.transaction():
                await append(connection, new)
