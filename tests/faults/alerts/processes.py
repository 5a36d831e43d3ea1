"""Processes that are dead, wait or do not get on, and usage, facts and reads that wait with them."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from uuid import uuid4

from tests.faults.alerts.kafka_tools import TRANSACTIONS, kafka_tool
from tests.faults.alerts.stage import RECORDERS, SOON_SECONDS, Stage
from tests.faults.alerts.table import fires
from tests.support.usage import used
from tests.support.waiting import until
from tests.support.world import a_transaction

WAITERS = "SELECT pid, application_name, state, wait_event, query FROM pg_stat_activity WHERE application_name LIKE 'creditwell-%'"


@fires("Down", "a recorder is started with a setting that is wrong")
async def down(stage: Stage) -> AsyncIterator[None]:
    """It ends with 2, and its last line names the setting."""
    await stage.stop("recorder-2")
    stage.world.processes.start_again("recorder-2", {"CREDITWELL_KAFKA_SESSION_TIMEOUT_MS": "soon"})
    assert await stage.world.processes.ended("recorder-2", timeout_seconds=SOON_SECONDS) == 2
    yield
    stage.stands("2: a setting is wrong, and a sentence names it")
    assert "CREDITWELL_KAFKA_SESSION_TIMEOUT_MS" in stage.log("recorder-2").splitlines()[-1]
    await stage.start("recorder-2", CREDITWELL_KAFKA_SESSION_TIMEOUT_MS="10000")


@fires("Blind", "the only refill worker is stopped", "Down")
async def blind(stage: Stage) -> AsyncIterator[None]:
    """Nobody else reports ages."""
    await stage.stop("refill")
    yield
    await stage.start("refill")


@fires("NotReady", "Kafka is killed")
async def not_ready(stage: Stage) -> AsyncIterator[None]:
    """Recorder, relay and top-up worker wait for it."""
    kafka = stage.world.stack.native_kafka
    assert kafka is not None
    await asyncio.to_thread(kafka.stop, signal.SIGKILL)
    yield
    assert any("Kafka" in name for name in (await stage.look("relay", "/readyz"))["away"])
    await asyncio.to_thread(kafka.start)
    for name in (*RECORDERS, "relay", "topup"):
        await stage.ready(name)


@fires("Halted", "the holds of a team's balance row are damaged", "FactsNotProjected", "ApiErrors")
async def halted(stage: Stage) -> AsyncIterator[None]:
    """The team's next fact can't be folded, nor its balance read; those of others are."""
    team = stage.world.teams[0].id
    await stage.stop("projector")
    before = await stage.fetchval("SELECT holds::text FROM balance WHERE team_id = $1", team)
    await stage.execute("UPDATE balance SET holds = '{\"nonsense\": 1}' WHERE team_id = $1", team)
    await stage.start("projector")
    yield
    assert team in await stage.creditwell("halted list", exits=1)
    await stage.execute("UPDATE balance SET holds = $2::text::jsonb WHERE team_id = $1", team, before)


@fires("UsageNotStored", "all recorders are stopped", "Down")
async def not_stored(stage: Stage) -> AsyncIterator[None]:
    """Ten minutes pass at once: the time up to which all is recorded is put back."""
    await stage.stop(*RECORDERS)
    await stage.execute("UPDATE kafka_cursors SET passed_at = passed_at - interval '10 minutes' WHERE topic = 'usage'")
    yield
    await stage.start(*RECORDERS)


@fires("HeldUp", "a producer leaves a Kafka transaction open", "UsageNotStored")
async def held_up(stage: Stage) -> AsyncIterator[None]:
    """The usage of its partition waits behind it."""
    team = stage.world.teams[0].id
    async with a_transaction(stage.world.kafka, f"left-open-{uuid4()}") as producer:
        inside = used(team, uuid4().hex)
        await producer.send_and_wait("usage", inside.value, key=inside.key)
        yield
        held: dict[str, str] = {}
        for name in RECORDERS:
            held |= (await stage.look(name, "/healthz"))["held_up"]
        ((work, why),) = held.items()
        found = re.search(r"a Kafka transaction is open at offset (\d+)", why)
        assert found is not None
        where = {"PARTITION": work.rpartition("-")[2], "OFFSET": found[1]}
        command = "abort --topic usage --partition PARTITION --start-offset OFFSET"
        stage.stands(f"kafka-transactions.sh --bootstrap-server … {command}")
        for word, meant in where.items():
            command = command.replace(word, meant)
        await asyncio.to_thread(kafka_tool, TRANSACTIONS, stage.world.kafka, command)


@fires("FactsNotProjected", "the projector is stopped", "Down")
async def not_projected(stage: Stage) -> AsyncIterator[None]:
    """Facts wait for a minute and more."""
    await stage.stop("projector")
    yield
    await stage.creditwell("halted list")
    await stage.start("projector")


@fires("FactsNotRelayed", "the relay is stopped", "Down")
async def not_relayed(stage: Stage) -> AsyncIterator[None]:
    """Facts wait for two minutes and more."""
    await stage.stop("relay")
    yield
    await stage.creditwell("topics check", exits=None)
    await stage.start("relay")


@fires("ApiErrors", "the API's role may not log in at the database", "NotReady")
async def api_errors(stage: Stage) -> AsyncIterator[None]:
    """Its sessions are ended, and it gets no new ones."""
    await stage.execute("ALTER ROLE creditwell_api NOLOGIN")
    await stage.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'creditwell_api'")
    yield
    stage.stands('"event": "request"')

    async def said() -> bool:
        return any('"event": "request"' in line and '"status": 5' in line for line in stage.log("api").splitlines())

    await until(said, what="a request that failed is in the API's log")
    assert (await stage.look("api", "/readyz"))["away"]
    await stage.execute("ALTER ROLE creditwell_api LOGIN")
    await stage.ready("api")


@fires("ApiSlow", "the network between the API and the database takes 0.3 s for each piece", "DatabaseSlow")
async def api_slow(stage: Stage) -> AsyncIterator[None]:
    """Each question takes twice as long."""
    stage.proxy.delay_seconds = 0.3
    yield
    stage.proxy.delay_seconds = 0.0


@fires("DatabaseSlow", "the network between the API and the database takes 0.1 s for each piece", "ApiSlow")
async def database_slow(stage: Stage) -> AsyncIterator[None]:
    """Even the smallest."""
    stage.proxy.delay_seconds = 0.1
    yield
    stage.proxy.delay_seconds = 0.0


@fires("KafkaUnsure", "there is one broker alone")
async def unsure(stage: Stage) -> AsyncIterator[None]:
    """It has been so from the beginning, and nobody hears of it."""
    stage.prometheus.silent.clear()
    yield
    assert "1" in await stage.creditwell("topics check", exits=None)
    stage.stands("With a single broker silence this alert")
    stage.prometheus.silent.add(stage.alert)
