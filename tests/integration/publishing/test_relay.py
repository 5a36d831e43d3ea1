"""What is stored reaches Kafka: all of it, in order, whatever dies on the way."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

import msgspec
import pytest
from aiokafka import ConsumerRecord
from asyncpg.connection import LoggedQuery
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat

from deploy.local.stack import Stack
from schemas.facts import Stored, UsageRecorded
from schemas.generate import REFUSED_HEADERS
from schemas.topics import EVENTS, REFUSED
from services.publishing import relay
from services.runtime.health import Health
from services.runtime.settings import Settings
from services.runtime.tracing.context import Trail, carrying
from services.store.beside.traces import trails_of
from services.store.claims import Claims
from services.store.connect import Connection
from services.store.read import read_after, read_round
from services.store.shards import SHARDS, shard_of
from services.usage.refusals import RefusedRecord, keep_refusals
from tests.support.serving import as_role, connected, leases_run_out, plan, read_topic, serving, store, used
from tests.support.waiting import until

TEAMS = 5
LAST = "SELECT next - 1 FROM shard_heads WHERE shard = $1"


@asynccontextmanager
async def relaying(stack: Stack, database: str) -> AsyncIterator[Health]:
    """A relay in this process, stopped in good order at the end."""
    stop, health = asyncio.Event(), Health("relay")
    settings = Settings(kafka=stack.kafka, database=as_role(database, "worker"), insecure_dev=True)
    serve = asyncio.create_task(relay.serve(settings, stop, health))
    try:
        yield health
    finally:
        stop.set()
        await serve


async def some_teams(connection: Connection, facts: int = 20) -> list[str]:
    """Teams with a plan and some usage."""
    teams = [f"team_{uuid4().hex}" for _ in range(TEAMS)]
    for team in teams:
        await store(connection, team, [plan(), *(used(1) for _ in range(facts))])
    return teams


async def caught_up(connection: Connection) -> bool:
    """True when the relay's checkpoints stand at the heads."""
    behind = await connection.fetchval(
        "SELECT count(*) FROM shard_heads h LEFT JOIN checkpoints c ON c.reader = 'relay' AND c.shard = h.shard "
        "WHERE h.next - 1 > coalesce(c.position, 0)"
    )
    return bool(behind == 0)


async def published(stack: Stack, teams: Iterable[str]) -> dict[str, list[ConsumerRecord]]:
    """The records of these teams, in the order in which a consumer meets them."""
    of_team: dict[str, list[ConsumerRecord]] = {team: [] for team in teams}
    keys = {team.encode() for team in teams}
    for record in await read_topic(stack.kafka, EVENTS, lambda record: record.key in keys):
        of_team[record.key.decode()].append(record)
    return of_team


async def log_of(connection: Connection, team: str) -> list[Stored]:
    """What the log holds of a team."""
    shard = shard_of(team)
    facts = (await read_after(connection, {shard: 0}, 100_000))[shard]
    return [stored for stored in facts if stored.team_id == team]


def positions(records: Iterable[ConsumerRecord]) -> list[int]:
    """The positions that a consumer meets, repetitions included."""
    return [json.loads(record.value)["position"] for record in records]


def first_seen(numbers: Iterable[int]) -> list[int]:
    """What is left for a consumer that drops the positions it has seen."""
    kept: list[int] = []
    for number in numbers:
        if not kept or number > kept[-1]:
            kept.append(number)
    return kept


async def test_every_stored_fact_is_published_once_in_order_with_the_bytes_that_the_log_keeps(
    stack: Stack, database: str
) -> None:
    async with connected(database) as connection, relaying(stack, database):
        teams = await some_teams(connection)
        await until(lambda: caught_up(connection))

        for team, records in (await published(stack, teams)).items():
            log = await log_of(connection, team)
            assert [record.value.partition(b'"data":')[2][:-1] for record in records] == [stored.body for stored in log]
            assert positions(records) == [stored.position for stored in log]
            assert len({record.partition for record in records}) == 1


async def test_a_round_asks_for_traces_of_those_shards_alone_whose_next_facts_have_some(database: str) -> None:
    async with connected(database) as connection, connected(as_role(database, "worker")) as worker:
        teams = await some_teams(connection, facts=3)
        with carrying(Trail(None, "asked-1")):
            await store(connection, teams[0], [used(1)])
        await store(connection, teams[0], [used(1)])
        traced, last = shard_of(teams[0]), await connection.fetchval(LAST, shard_of(teams[0]))

        async def said(position: int) -> dict[int, bool]:
            rows = await worker.fetch(relay.BEHIND, [*range(SHARDS)], [position] * SHARDS)
            return {row["shard"]: row["traced"] for row in rows}

        assert await said(0) == {shard_of(team): shard_of(team) == traced for team in teams}
        assert await said(last - 2) | {traced: True} == await said(last - 2)
        assert await said(last - 1) | {traced: False} == await said(last - 1)
        asked: list[LoggedQuery] = []
        with worker.query_logger(asked.append):
            assert await trails_of(worker, {}) == {}
        assert asked == []


async def test_a_published_fact_is_a_cloud_event_that_an_independent_library_reads(stack: Stack, database: str) -> None:
    team = f'team "{uuid4().hex}" \\ é\u2028'
    async with connected(database) as connection, relaying(stack, database):
        await store(connection, team, [plan(), used(3)])
        await until(lambda: caught_up(connection))
        log = await log_of(connection, team)

        *_, record = (await published(stack, [team]))[team]

        message = KafkaMessage(dict(record.headers), record.key, record.value)
        event = from_structured_event(message, JSONFormat())
        stored = log[-1]
        assert (event.get_id(), event.get_source(), event.get_type()) == (stored.id, stored.source, "usage.recorded.v1")
        assert (event.get_subject(), event.get_time()) == (team, stored.occurred_at)
        assert msgspec.convert(event.get_data(), UsageRecorded) == stored.fact()
        assert event.get_extension("position") == stored.position
        assert event.get_extension("shard") == shard_of(team)
        assert datetime.fromisoformat(event.get_extension("recordedat")) == stored.recorded_at


@dataclass
class Arrived:
    """A Kafka record, as the recorder got it."""

    key: bytes | None
    value: bytes | None
    offset: int
    partition: int = 3
    topic: str = "usage"
    headers: Sequence[tuple[str, bytes]] = field(default_factory=list)
    timestamp: int = 0


async def test_refused_usage_is_published_as_it_arrived_with_the_reason(stack: Stack, database: str) -> None:
    mark = uuid4().hex.encode()
    big = mark + bytes(1024 * 1024)
    records = [
        Arrived(b"team_1", b"\xff not json " + mark, 11, headers=[("ce_type", b"\xfe"), ("mark", mark)]),
        Arrived(None, None, 12, headers=[("mark", mark)]),
        Arrived(b"team_2", big, 13, headers=[("mark", mark)]),
        Arrived(None, b"", 14, headers=[("mark", mark)]),
    ]
    async with connected(database) as connection, relaying(stack, database):
        await keep_refusals(
            connection, [RefusedRecord(one, "not_json", "send JSON, naïve one") for one in records], datetime.now(UTC)
        )
        await until(
            lambda: connection.fetchval(
                "SELECT position = 15 FROM checkpoints WHERE reader = 'relay-refused' AND shard = 3"
            )
        )

        found = await read_topic(stack.kafka, REFUSED, lambda record: ("mark", mark) in record.headers)

    assert [(record.key, record.value) for record in found] == [
        (b"team_1", b"\xff not json " + mark), (None, None), (b"team_2", big[: 64 * 1024]), (None, b""),
    ]  # fmt: skip
    headers = [dict(record.headers) for record in found]
    assert headers[2].keys() - {"mark"} == REFUSED_HEADERS.keys()
    assert headers[0] == {
        "ce_type": b"\xfe", "mark": mark, "refused-reason": b"not_json", "refused-detail": "send JSON, naïve one".encode(),
        "refused-sha256": sha256(records[0].value or b"").hexdigest().encode(),
        "origin-topic": b"usage", "origin-partition": b"3", "origin-offset": b"11",
    }  # fmt: skip
    assert "refused-truncated" not in headers[0] | headers[1]
    assert headers[2]["refused-truncated"] == str(len(big)).encode()
    assert headers[2]["refused-sha256"] == sha256(big).hexdigest().encode()


async def test_of_a_refused_record_that_was_erased_before_it_was_published_its_reason_is_published(
    stack: Stack, database: str
) -> None:
    secret = uuid4().hex.encode()
    digest = sha256(secret).hexdigest().encode()
    arrived = Arrived(secret, secret, 11, headers=[("mark", secret)])
    async with connected(database) as connection:
        await keep_refusals(
            connection, [RefusedRecord(arrived, "not_json", f"{secret.decode()} is no JSON")], datetime.now(UTC)
        )
        assert await connection.fetchval("SELECT erase_refused_bytes('usage', 3, 11, 'ops', 'a person asked')")
        async with relaying(stack, database):
            await until(
                lambda: connection.fetchval(
                    "SELECT position = 12 FROM checkpoints WHERE reader = 'relay-refused' AND shard = 3"
                )
            )
        (found,) = await read_topic(stack.kafka, REFUSED, lambda record: ("refused-sha256", digest) in record.headers)

    assert (found.key, found.value) == (None, None)
    assert dict(found.headers) == {
        "refused-reason": b"not_json", "refused-detail": b"", "refused-sha256": digest,
        "refused-truncated": str(len(secret)).encode(),
        "origin-topic": b"usage", "origin-partition": b"3", "origin-offset": b"11",
    }  # fmt: skip


async def test_a_refused_record_whose_key_or_headers_no_topic_takes_holds_nothing_up(
    stack: Stack, database: str
) -> None:
    mark, much = uuid4().hex.encode(), bytes(17 * 2**20)
    records = [
        Arrived(mark + much, b"no", 11, headers=[("h", b"kept")]),
        Arrived(mark, b"no", 12, headers=[("h", much)]),
        Arrived(mark, b"no", 13, headers=[("", b"")] * 2**20),
    ]
    async with connected(database) as connection:
        await keep_refusals(
            connection, [RefusedRecord(one, "not_json", "send JSON") for one in records], datetime.now(UTC)
        )
        async with relaying(stack, database) as health:
            teams = await some_teams(connection)
            await until(lambda: caught_up(connection))
            await until(
                lambda: connection.fetchval(
                    "SELECT position = 14 FROM checkpoints WHERE reader = 'relay-refused' AND shard = 3"
                )
            )
            assert not health.absent

            found = await read_topic(stack.kafka, REFUSED, lambda record: (record.key or b"").startswith(mark))
            for team, of_team in (await published(stack, teams)).items():
                assert positions(of_team) == [stored.position for stored in await log_of(connection, team)]

    assert [(len(record.key), record.value) for record in found] == [(64 * 1024, b"no"), (32, b"no"), (32, b"no")]
    headers = [dict(record.headers) for record in found]
    assert [has["refused-truncated"] for has in headers] == [b"2"] * 3
    assert [has.get("h") for has in headers] == [b"kept", None, None]


@pytest.mark.parametrize("step", ["relay:sent", "relay:moved"])  # every step: test_crashes.py
async def test_a_relay_that_is_killed_loses_nothing_and_keeps_the_order(step: str, stack: Stack, database: str) -> None:
    environment = {"CREDITWELL_KAFKA": stack.kafka, "CREDITWELL_DATABASE": as_role(database, "worker")}
    async with connected(database) as connection:
        teams = await some_teams(connection)
        async with serving("relay", environment, crash_at=f"{step}:1") as killed:
            assert await killed.ended() == -9
        for team in teams:
            await store(connection, team, [used(2)])
        await leases_run_out(connection)
        async with serving("relay", environment):
            await until(lambda: caught_up(connection))

        for team, records in (await published(stack, teams)).items():
            met, expected = positions(records), [stored.position for stored in await log_of(connection, team)]
            assert first_seen(met) == expected
            assert set(met) == set(expected)


async def test_two_relays_at_once_publish_everything_in_order(stack: Stack, database: str) -> None:
    async with connected(database) as connection, relaying(stack, database), relaying(stack, database):
        teams = await some_teams(connection, facts=200)
        await until(lambda: caught_up(connection))

        for team, records in (await published(stack, teams)).items():
            expected = [stored.position for stored in await log_of(connection, team)]
            assert first_seen(positions(records)) == expected


async def test_a_relay_that_lost_its_shards_while_it_slept_moves_no_checkpoint(stack: Stack, database: str) -> None:
    async with connected(database) as connection, relaying(stack, database):
        await some_teams(connection, facts=1)
        await until(lambda: caught_up(connection))
        taker = Claims("relay", "somebody else")
        async with connection.transaction():  # at once, or the relay takes them back from whoever stands still
            await taker.take(connection, list(range(SHARDS)))
            await connection.execute("UPDATE checkpoints SET seen_at = 'infinity' WHERE owner = 'somebody else'")
        held = dict(taker.positions)

        await some_teams(connection, facts=1)
        await asyncio.sleep(0.5)

        rows = await connection.fetch("SELECT shard, position FROM checkpoints WHERE reader = 'relay'")
        assert {row["shard"]: row["position"] for row in rows} == held
        await taker.leave(connection)
        await until(lambda: caught_up(connection))


@pytest.mark.usefixtures("durable")
async def test_what_is_stored_while_kafka_or_the_database_restarts_is_published_afterwards(
    stack: Stack, database: str
) -> None:
    async with relaying(stack, database):
        async with connected(database) as connection:
            before = await some_teams(connection)
            await asyncio.to_thread(stack.kill_kafka)
            during = await some_teams(connection)
            await until(lambda: caught_up(connection))
        await asyncio.to_thread(stack.restart_postgres, "immediate")
        async with connected(database) as connection:
            after = await some_teams(connection)
            await until(lambda: caught_up(connection))

            for team, records in (await published(stack, [*before, *during, *after])).items():
                expected = [stored.position for stored in await log_of(connection, team)]
                assert first_seen(positions(records)) == expected


async def test_a_round_is_cut_by_bytes_and_every_shard_has_a_part_in_it(database: str) -> None:
    async with connected(database) as connection:
        teams = await some_teams(connection)
        shards = {shard_of(team) for team in teams}
        body_bytes = len((await log_of(connection, teams[0]))[1].body)

        read = await read_round(connection, dict.fromkeys(shards, 0), dict.fromkeys(shards, 15), 5 * body_bytes)
        least = await read_round(connection, dict.fromkeys(shards, 0), dict.fromkeys(shards, 15), 1)

        assert {shard: [stored.position for stored in facts] for shard, facts in least.items()} == {
            shard: [1] for shard in shards
        }
        for shard, facts in read.items():
            bodies = [len(stored.body) for stored in facts]
            assert [stored.position for stored in facts] == list(range(1, len(facts) + 1))
            assert sum(bodies[:-1]) < 5 * body_bytes <= sum(bodies)
            assert len(facts) < 15
            assert shard in shards
        assert read.keys() == shards
