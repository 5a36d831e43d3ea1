"""The numbered invariants 1 to 5 of the design, the log's own, each on a real PostgreSQL and, where it is about Kafka, a real Kafka."""

import asyncio
import hashlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

import asyncpg
import pytest
from confluent_kafka import Message, Producer

from services.runtime.errors import Fenced, Refused
from services.store import migrate, shards
from services.store.append import AlreadyStored, append
from services.store.claims import IS_OURS, Claims, Part
from services.store.connect import Connection
from services.store.identities import Identity, find
from services.store.proofs import merkle_root
from services.store.read import heads, read_after
from services.store.shards import SHARDS, shard_of
from services.usage.cursors import CursorStep, claim_cursors, move_cursors
from tests.conftest import url_of
from tests.support.connections import connections
from tests.support.facts import granted, new, now, planned, store, usage
from tests.support.holds import wait_for_locks
from tests.support.oracle import Oracle, merkle
from tests.support.usage import structured, used, voided
from tests.support.world import ServiceWorld

APPEND_ONLY = {
    "facts": "body", "blocks": "root", "refused": "reason", "signed_checkpoints": "note", "signed_shards": "head",
}  # fmt: skip
CHANGES = (
    "UPDATE {table} SET {column} = {column}",
    "DELETE FROM {table}",
    "TRUNCATE {table}",
    "TRUNCATE {table} CASCADE",
)
ROLES = ("recorder", "projector", "worker", "api", "reader", "signer")
LEASE_SECONDS = 3_600.0  # or a lease ends by itself on a machine that stands still


async def found_by_oracle(world: ServiceWorld) -> list[str]:
    """What a reader of the log that shares no code with it finds wrong."""
    oracle = Oracle(world.stack.kafka, {}, set())
    return await oracle.log_problems(world.connection)


# 1. Append-only.


@pytest.mark.parametrize("replica", [False, True], ids=["as always", "with triggers switched off for the session"])
async def test_invariant_01_not_even_the_owner_changes_what_happened(world: ServiceWorld, replica: bool) -> None:
    await store(world.connection, granted("team_1", "a"))
    if replica:
        await world.connection.execute("SET session_replication_role = replica")

    for table, column in APPEND_ONLY.items():
        for statement in CHANGES:
            with pytest.raises(asyncpg.RestrictViolationError):
                await world.connection.execute(statement.format(table=table, column=column))


@pytest.mark.parametrize("role", ROLES)
async def test_invariant_01_no_process_may_even_ask_for_it(world: ServiceWorld, role: str) -> None:
    async with connections(url_of(world.database, world.database.rpartition("/")[2], role=role), 1) as (connection,):
        forbidden = [
            change.format(table=table, column=column) for table, column in APPEND_ONLY.items() for change in CHANGES
        ]
        for statement in (
            *forbidden,
            "ALTER TABLE facts DISABLE TRIGGER facts_append_only",
            "DROP TRIGGER facts_append_only ON facts",
            "DROP TABLE facts",
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "SET session_replication_role = replica",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


# 2. Exactly once.


async def test_invariant_02_an_identity_is_stored_once_however_many_try_at_the_same_time(world: ServiceWorld) -> None:
    async with connections(world.database, 8) as sessions:

        async def attempt(session: Connection, n: int) -> bool:
            try:
                await store(session, granted("team_1", f"own-{n}"), granted("team_1", "wanted by all"))
            except AlreadyStored:
                return False
            return True

        won = await asyncio.gather(*(attempt(session, n) for n, session in enumerate(sessions)))

    assert won.count(True) == 1
    stored = [fact.id for fact in await world.facts("team_1")]
    assert sorted(stored) == sorted(["wanted by all", f"own-{won.index(True)}"])
    assert await found_by_oracle(world) == []


async def test_invariant_02_a_violated_identity_leaves_no_trace_of_its_transaction(world: ServiceWorld) -> None:
    await store(world.connection, granted("team_1", "a"))
    before = await heads(world.connection)

    with pytest.raises(AlreadyStored):
        await store(world.connection, *[granted(f"team_{n}", "b") for n in range(100)], granted("team_1", "a"))

    assert await heads(world.connection) == before
    assert await found_by_oracle(world) == []


async def test_invariant_02_an_identity_is_taken_for_ever_and_not_for_a_window(world: ServiceWorld) -> None:
    await world.team("team_1", "team_2")
    long_ago = used("team_1", "a", at="2025-02-03T04:05:06Z")
    async with world.recorder():
        await world.send(long_ago)
        await world.recorded()
        await world.send(*[used("team_2", f"between-{n}") for n in range(200)], long_ago)
        await world.recorded()

    assert await world.usage_ids("team_1") == ["a"]
    assert await world.repeats("a") == (1, 0)


async def test_invariant_02_nobody_takes_the_id_of_another_team_or_of_ours(world: ServiceWorld) -> None:
    neighbour = next(team for n in range(1_000) if shard_of(team := f"neighbour_{n}") == shard_of("team_1"))
    await world.team("team_1", "team_2", neighbour)
    async with world.recorder():
        await world.send(used("team_2", "a"), used(neighbour, "a"))
        await world.send(used("team_1", "a"), used("team_1", "plan:000001", source="creditwell:plans"))
        await world.send(structured(voided("team_1", "v", of="a", source="creditwell:cycles")))
        await world.recorded()

    assert [await world.usage_ids(team) for team in ("team_1", "team_2", neighbour)] == [["a"], ["a"], ["a"]]
    assert await world.reasons() == ["reserved_source", "reserved_source"]


async def test_invariant_02_the_same_digest_is_a_duplicate_another_one_a_conflict_that_is_kept(
    world: ServiceWorld,
) -> None:
    await world.team("team_1")
    first = used("team_1", "a", quantity="2.0", at="2026-01-01T00:00:00Z")
    same = used("team_1", "a", quantity=2, at="2026-01-01T01:00:00+01:00")
    other = used("team_1", "a", quantity="2.0", at="2026-01-01T00:00:00.000001Z")
    async with world.recorder():
        await world.send(first, same, other)
        await world.recorded()
        await world.send(other, same)
        await world.recorded()

    assert await world.repeats("a") == (2, 2)
    assert [row["value"] for row in await world.refused()] == [other.value, other.value]


# 3. Order.


async def test_invariant_03_order_positions_are_gapless_and_in_commit_order(world: ServiceWorld) -> None:
    """Eight writers that are slow to commit and now and then give up, four readers that must never see a later one first."""
    teams = [f"team_{n}" for n in range(6)]
    writing = True

    async def write(session: Connection, writer: int) -> int:
        random, stored = Random(writer), 0
        for n in range(40):
            facts = [granted(random.choice(teams), f"{writer}-{n}-{m}") for m in range(random.randint(1, 4))]
            transaction = session.transaction()
            await transaction.start()
            await append(session, facts)
            await asyncio.sleep(random.random() * 0.01)
            if random.random() < 0.2:
                await transaction.rollback()
            else:
                await transaction.commit()
                stored += len(facts)
        return stored

    async def read(session: Connection) -> dict[int, int]:
        seen = dict.fromkeys(range(SHARDS), 0)
        while writing or seen != await heads(session):
            for shard, facts in (await read_after(session, seen, 7)).items():
                assert [fact.position for fact in facts] == list(range(seen[shard] + 1, seen[shard] + len(facts) + 1))
                seen[shard] = facts[-1].position
            await asyncio.sleep(0)
        return seen

    async with connections(world.database, 12) as sessions:
        readers = [asyncio.create_task(read(session)) for session in sessions[8:]]
        written = await asyncio.gather(*(write(session, n) for n, session in enumerate(sessions[:8])))
        writing = False
        reached = await asyncio.gather(*readers)

    assert {sum(seen.values()) for seen in reached} == {sum(written) + 1}  # and the rate card
    assert await found_by_oracle(world) == []


async def test_invariant_03_a_later_position_is_never_visible_before_an_earlier_one(world: ServiceWorld) -> None:
    async with connections(world.database, 3) as (slow, fast, reader):
        transaction = slow.transaction()
        await transaction.start()
        await append(slow, [granted("team_1", "slow")])
        waiting = asyncio.create_task(store(fast, granted("team_1", "fast")))
        await wait_for_locks(reader, 1)
        assert not waiting.done()
        assert await read_after(reader, {shard_of("team_1"): 0}, 10) == {}
        other_shard = next(team for n in range(100) if shard_of(team := f"other_{n}") != shard_of("team_1"))
        await store(reader, granted(other_shard, "nobody waits elsewhere"))
        await transaction.commit()
        await waiting

    assert [fact.id for fact in await world.facts("team_1")] == ["slow", "fast"]


async def test_invariant_03_writers_of_many_shards_never_wait_for_each_other_in_a_circle(world: ServiceWorld) -> None:
    teams = [f"team_{n}" for n in range(24)]

    async def write(session: Connection, writer: int) -> None:
        random = Random(writer)
        for n in range(25):
            await store(session, *[granted(team, f"{writer}-{n}") for team in random.sample(teams, 12)])

    async with connections(world.database, 6) as sessions:
        await asyncio.gather(*(write(session, n) for n, session in enumerate(sessions)))

    assert len(await world.facts()) == 6 * 25 * 12 + 1
    assert await found_by_oracle(world) == []


async def test_invariant_03_shards_are_kafkas_partitions_by_its_default_partitioner(world: ServiceWorld) -> None:
    teams = [f"team_{n}" for n in range(50)] + ["Ünïcødé", "a b", "x" * 128, "團隊"]
    by_aiokafka = {
        team: place[0]
        for team, place in zip(teams, await world.send(*[used(team, "a") for team in teams]), strict=True)
    }
    by_librdkafka: dict[str, int] = {}
    producer = Producer({"bootstrap.servers": world.stack.kafka, "partitioner": "murmur2_random", "log_level": 2})

    def delivered(_: object, message: Message) -> None:
        by_librdkafka[(message.key() or b"").decode()] = message.partition() or 0

    for team in teams:
        producer.produce("usage", b"{}", key=team.encode(), on_delivery=delivered)
    assert await asyncio.to_thread(producer.flush, 60) == 0

    assert by_aiokafka == by_librdkafka == {team: shard_of(team) % 8 for team in teams}


async def test_invariant_03_the_number_of_shards_is_refused_if_changed(
    world: ServiceWorld,
) -> None:
    assert shards.SHARDS == 64
    with pytest.raises(asyncpg.RestrictViolationError):
        await world.connection.execute("UPDATE store_constants SET value = '32' WHERE name = 'shards'")
    await world.connection.execute(
        "ALTER TABLE store_constants DISABLE TRIGGER USER"
    )  # a store made by another program
    await world.connection.execute("UPDATE store_constants SET value = '32' WHERE name = 'shards'")
    with pytest.raises(Refused, match="shards_changed"):
        await migrate.migrate(world.connection)


async def test_invariant_03_whoever_waits_for_a_shard_is_let_in_between_the_recorders_batches(
    world: ServiceWorld,
) -> None:
    """On a store that is slow to write, batches shrink while somebody waits for the head that they hold."""
    await world.connection.execute(SLOW_TO_WRITE)
    await world.team("team_1")
    await world.send(*[used("team_1", f"id-{n:05d}") for n in range(8_000)])
    appended = 0
    async with connections(world.database, 1) as (impatient,), world.recorder():
        recording = asyncio.create_task(world.recorded(within=120))
        while not recording.done():
            await store(impatient, granted("team_1", f"gift-{appended}"))
            appended += 1
        await recording

    rows = await world.connection.fetch(
        "SELECT last - first + 1 AS facts FROM blocks WHERE shard = $1 ORDER BY last", shard_of("team_1")
    )
    batches = [row["facts"] for row in rows if row["facts"] > 2]  # the others are gifts, and the plan with its refill
    assert appended >= len(batches) / 2, "the recorder took the head again and again before the one who waited"
    # The last batch may be a small rest.
    assert max(batches[-4:-1]) <= max(batches) / 4, "the recorder went on with batches as large as if nobody waited"


SLOW_TO_WRITE = """
    CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.04); RETURN NULL; END $$;
    CREATE TRIGGER slow AFTER INSERT ON facts FOR EACH STATEMENT EXECUTE FUNCTION take_long();
"""


# 4. One owner.


async def test_invariant_04_the_cursor_moves_for_its_owner_and_for_nobody_else(world: ServiceWorld) -> None:
    (start,) = {await world.connection.fetchval("SELECT next_offset FROM kafka_cursors WHERE partition = 3")}
    (old,) = await claim_cursors(world.connection, "usage", "old", {3: 0})
    await move_cursors(world.connection, "usage", [step(3, old.epoch, start, start + 10)])
    (young,) = await claim_cursors(world.connection, "usage", "young", {3: 0})

    assert young.next_offset == start + 10
    for wrong in (
        step(3, old.epoch, start + 10, start + 20),
        step(3, young.epoch, start, start + 20),
        step(3, young.epoch + 1, start + 10, start + 20),
    ):
        with pytest.raises(Fenced):
            await move_cursors(world.connection, "usage", [wrong])
    with pytest.raises(Fenced):
        async with world.connection.transaction():
            await move_cursors(
                world.connection, "usage", [step(3, young.epoch, start + 10, start + 11), step(4, 99, 0, 1)]
            )
    assert (await world.cursors())[3] == start + 10


def step(partition: int, epoch: int, from_offset: int, to_offset: int) -> CursorStep:
    return CursorStep(partition, epoch, from_offset, to_offset, b"hash", datetime.now(UTC))


async def test_invariant_04_a_claim_waits_for_the_batch_that_is_being_stored_and_goes_on_after_it(
    world: ServiceWorld,
) -> None:
    (cursor,) = await claim_cursors(world.connection, "usage", "old", {3: 0})
    async with connections(world.database, 1) as (stranger,):
        transaction = world.connection.transaction()
        await transaction.start()
        await move_cursors(
            world.connection, "usage", [step(3, cursor.epoch, cursor.next_offset, cursor.next_offset + 5)]
        )
        claiming = asyncio.create_task(claim_cursors(stranger, "usage", "new", {3: 0}))
        await wait_for_locks(world.connection, 1)
        assert not claiming.done()
        await transaction.commit()
        (claimed,) = await claiming

    assert (claimed.epoch, claimed.next_offset) == (cursor.epoch + 1, cursor.next_offset + 5)


async def test_invariant_04_readers_of_the_log_are_fenced_in_the_same_way(world: ServiceWorld) -> None:
    await store(world.connection, *[granted(f"team_{n}", "a") for n in range(100)])
    async with connections(world.database, 2) as (one, two):
        first, second = (Claims("test", name, lease_seconds=LEASE_SECONDS) for name in ("first", "second"))
        await first.join(one)
        assert set(first.positions) == set(range(SHARDS))
        await two.execute("UPDATE checkpoints SET seen_at = '-infinity' WHERE reader = 'test' AND shard < 10")
        await second.join(two)
        taken = set(second.positions)
        assert taken == set(range(10))

        async with two.transaction():
            await second.lock_and_move(two, dict.fromkeys(taken, 1))
        second.moved(dict.fromkeys(taken, 1))
        with pytest.raises(Fenced):
            async with one.transaction():
                await first.lock_and_move(one, {0: 1, 63: 1})
        assert await first.join(one)

    assert set(first.positions) < set(range(10, SHARDS))  # it gave some back: two share them now
    rows = await world.connection.fetch("SELECT shard, position FROM checkpoints WHERE reader = 'test'")
    positions = {row["shard"]: row["position"] for row in rows}
    assert Counter(positions.values()) == {0: 54, 1: 10}


WRITTEN_WITH_IT = Part(f"INSERT INTO halted (work, name, why) SELECT $1, $2, '' WHERE {IS_OURS}", ["tests", "test"])


@pytest.mark.parametrize(
    ("epochs_ago", "positions_ago"),
    [(1, 0), (0, 1), (-1, 0), (0, -1)],
    ids=["epoch", "place", "later epoch", "later place"],
)
async def test_invariant_04_a_checkpoint_moves_for_its_owner_from_where_it_stands_and_never_otherwise(
    world: ServiceWorld, epochs_ago: int, positions_ago: int
) -> None:
    reader = Claims("test", "reader")
    await reader.make_rows(world.connection)
    await reader.take(world.connection, [0, 1, 2])
    await reader.lock_and_move(world.connection, {0: 5, 1: 5, 2: 5}, [WRITTEN_WITH_IT])
    assert await world.connection.fetchval("DELETE FROM halted RETURNING name") == "test"
    reader.moved({0: 5, 1: 5, 2: 5})
    reader.epochs[1] -= epochs_ago
    reader.positions[1] -= positions_ago

    with pytest.raises(Fenced, match="1 of 3"):  # without a transaction, which would undo it
        await reader.lock_and_move(world.connection, {0: 6, 1: 6, 2: 6}, [WRITTEN_WITH_IT])

    assert await world.connection.fetchval("SELECT count(*) FROM halted") == 0
    rows = await world.connection.fetch("SELECT position FROM checkpoints WHERE reader = 'test' AND shard < 3")
    assert [row["position"] for row in rows] == [5, 5, 5]


async def test_invariant_04_readers_share_the_shards_and_none_is_read_by_two(world: ServiceWorld) -> None:
    async with connections(world.database, 4) as sessions:
        readers = [Claims("test", f"reader-{n}", lease_seconds=LEASE_SECONDS) for n in range(4)]
        for _ in range(6):
            await asyncio.gather(*(reader.join(session) for reader, session in zip(readers, sessions, strict=True)))
            owners = Counter(shard for reader in readers for shard in reader.positions)
            assert set(owners.values()) <= {1}
        assert [len(reader.positions) for reader in readers] == [16] * 4
        for reader, session in zip(readers[:3], sessions, strict=False):
            await reader.leave(session)
        await readers[3].join(sessions[3])

    assert set(readers[3].positions) == set(range(SHARDS))


# 5. Tamper-evident.


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 300], ids=lambda n: f"{n} facts")
async def test_invariant_05_leaves_roots_and_chain_can_be_worked_out_anew_from_the_rows(
    world: ServiceWorld, count: int
) -> None:
    odd = [
        new("team_Ü", f"id-{n}", granted("team_Ü", "x", n + 1).fact, at=now() - timedelta(days=n)) for n in range(count)
    ]
    await store(world.connection, *planned("team_1"))
    await store(world.connection, *odd, *[usage("team_1", f"u-{n}") for n in range(count)])
    await store(world.connection, granted("team_1", "the end"))

    assert await found_by_oracle(world) == []
    assert len(await world.facts("team_Ü")) == count


async def test_invariant_05_a_leaf_covers_every_column_and_the_very_bytes(world: ServiceWorld) -> None:
    await store(world.connection, *planned("team_1"))
    await store(world.connection, usage("team_1", "a"), usage("team_1", "b"))
    columns = await world.connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'facts'"
    )
    changes = {
        "shard": "(shard + 1) % 64", "position": "position + 1000", "recorded_at": "recorded_at + interval '1 microsecond'",
        "occurred_at": "occurred_at - interval '1 microsecond'", "team_id": "team_id || 'x'", "source": "source || 'x'",
        "id": "id || 'x'", "type": "'credits.granted.v1'", "body": "body || ' '", "leaf": "sha256(leaf)",
    }  # fmt: skip
    assert {row["column_name"] for row in columns} == set(changes)

    for column, change in changes.items():
        transaction = world.connection.transaction()
        await transaction.start()
        await world.connection.execute("ALTER TABLE facts DISABLE TRIGGER facts_append_only")
        await world.connection.execute(f"UPDATE facts SET {column} = {change} WHERE id = 'a'")
        assert await found_by_oracle(world) != [], column
        await transaction.rollback()
    assert await found_by_oracle(world) == []


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 100, 255, 257])
def test_invariant_05_the_root_is_that_of_rfc_9162(size: int) -> None:
    leaves = [hashlib.sha256(bytes([n % 251])).digest() for n in range(size)]

    assert merkle_root(leaves) == merkle(leaves)


async def test_invariant_05_what_is_stored_is_what_was_written_byte_for_byte(world: ServiceWorld) -> None:
    facts = [usage("team_1", "a"), granted("team_1", "b", 7)]
    await store(world.connection, *facts)

    stored = await find(world.connection, [Identity("team_1", fact.source, fact.id) for fact in facts])
    assert {kept.id: kept.body for kept in stored.values()} == {fact.id: fact.fact.body() for fact in facts}
