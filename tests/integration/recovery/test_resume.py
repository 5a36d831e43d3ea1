"""A store goes back in time: nobody goes on with it until what was published has come back, and nothing else comes."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import OffsetOutOfRangeError, UnknownTopicOrPartitionError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    CreditsGranted,
    CreditsToppedUp,
    HoldPlaced,
    MemberErased,
    MemberLimited,
    Stored,
    StoreResumed,
)
from services.audit.anchors import write_anchor
from services.audit.replay import ReplayScope, replay
from services.audit.sign_log import path_of_note, sign_log
from services.audit.verify import verify
from services.cli import app
from services.publishing import others
from services.publishing.batches import Origin, route
from services.publishing.beyond import a_consumer, keep_offsets, kept_offsets, places_of, read_ends, records_of
from services.publishing.looking import StoreLook
from services.read_models.low_balance import judge
from services.recovery import watching as watching_module
from services.recovery.resume import Orders, Resumed, resume
from services.recovery.watching import BY as BY_ITSELF
from services.recovery.watching import Watching
from services.runtime.crashpoints import arm
from services.runtime.errors import Refused, Unavailable
from services.runtime.health import Health
from services.store.connect import Connection
from services.store.lives import LOG, Life, StoreUnchecked, fork, note_look, read_standing
from services.store.shards import shard_of
from tests.integration.schemas.test_emitter import make_topic
from tests.support.desk import Desk, assert_books_agree, settings
from tests.support.facts import now
from tests.support.lives import RESTARTED, begin_to_publish, gone_back, publish, put, record_usage, settings_of
from tests.support.serving import connected, store, used
from tests.support.two_lives import Died, a_life, die
from tests.support.waiting import until
from tests.support.world import ServiceWorld

TEAM = "team_1"
SHARD = shard_of(TEAM)
HEADS = "SELECT shard, next, head, recorded_at FROM shard_heads ORDER BY shard"
BY = Orders("ops", apply=True)


@dataclass
class Lost:
    """A store that went back, and what it was before: nothing of the latter is known to the former."""

    stack: Stack
    connection: Connection
    before: Connection
    url: str

    async def resume(self, orders: Orders = BY) -> Resumed:
        """As the command does."""
        return await resume(self.connection, settings_of(self.stack, "postgresql://nobody"), orders)


@asynccontextmanager
async def lost(
    world: ServiceWorld, *facts: AnyFact, usages: tuple[str, ...] = ("u2", "u3"), publishes: bool = True
) -> AsyncIterator[Lost]:
    """One usage is kept; these usages and facts are lost."""
    await world.team(TEAM)
    await record_usage(world, TEAM, "u1")
    await publish(world.stack, world.connection)
    await begin_to_publish(world)
    await world.connection.close()
    async with gone_back(world.stack, world.database) as copy:
        await world.reconnect()
        await record_usage(world, TEAM, *usages)
        if facts:
            await store(world.connection, TEAM, facts, source="creditwell:test")
        if publishes:
            await publish(world.stack, world.connection)
        async with connected(copy) as connection:
            yield Lost(world.stack, connection, world.connection, copy)


async def heads_of(connection: Connection) -> list[object]:
    return [tuple(row) for row in await connection.fetch(HEADS)]


async def ids(connection: Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT id FROM facts WHERE team_id = $1 AND type = 'usage.recorded.v1' ORDER BY position", TEAM
    )
    return [row["id"] for row in rows]


async def test_what_was_published_comes_back_at_its_positions_with_the_hashes_that_it_had(world: ServiceWorld) -> None:
    hold = HoldPlaced(hold_id="hold_1", credits=MICRO, expires_at=now() + timedelta(hours=1))
    async with lost(world, hold) as back:
        with pytest.raises(StoreUnchecked, match="store_unchecked"):
            await store(back.connection, TEAM, [used(1)])

        said = await back.resume(Orders(""))
        assert ([stored.id for stored in said.facts][:2], said.unknown, said.in_the_way) == (["u2", "u3"], [], [])
        assert await ids(back.connection) == ["u1"]

        assert (await back.resume()).done

        expected = [row for row in await heads_of(back.before) if row[0] != shard_of("creditwell")]  # type: ignore[index]
        assert [row for row in await heads_of(back.connection) if row[0] != shard_of("creditwell")] == expected  # type: ignore[index]
        assert (await replay(back.connection, ReplayScope(), lambda _: None)).differences == []
        assert await ids(back.connection) == ["u1", "u2", "u3"]
        verified = await verify(back.connection)
        assert verified.problems == []
        (named,) = [fact async for fact in resumed(back.connection)]
        assert [(one.shard, one.last - one.first) for one in named.came_back] == [(SHARD, 2)]
        await store(back.connection, TEAM, [used(1)])  # and the log goes on
        assert not (await back.resume()).went_back


async def resumed(connection: Connection) -> AsyncIterator[StoreResumed]:
    for row in await connection.fetch("SELECT body FROM facts WHERE type = 'store.resumed.v1'"):
        yield StoreResumed.model_validate_json(row["body"])


@pytest.mark.parametrize("step", ["resume:facts", "resume:tables", "resume:said"])
async def test_whoever_is_killed_has_done_nothing_and_the_next_one_does_all_of_it(
    world: ServiceWorld, step: str
) -> None:
    async with lost(world) as back:
        arm(step, 1, die)
        with pytest.raises(Died):
            await back.resume()
        assert await ids(back.connection) == ["u1"]

        assert (await back.resume()).done

        assert await ids(back.connection) == ["u1", "u2", "u3"]


@pytest.mark.parametrize(
    "fact",
    [
        CreditsGranted(credits=1_000 * MICRO, reason="a gift", granted_by="me"),
        MemberLimited(member_id="mem_1", daily_credits=MICRO),
        CreditsToppedUp(
            attempt_id="a", payment_intent_id="pi_forged", credits=MICRO, charge_cents=100, currency="eur",
        ),
    ],
    ids=lambda fact: fact.type,
)  # fmt: skip
async def test_what_nobody_but_the_topic_knows_of_comes_back_by_a_persons_word_alone(
    world: ServiceWorld, fact: CreditsGranted
) -> None:
    async with lost(world, fact) as back:
        assert [stored.type for stored in (await back.resume(Orders(""))).unknown] == [fact.type]
        with pytest.raises(Refused, match="--accept"):
            await back.resume()
        assert await ids(back.connection) == ["u1"]


async def test_a_grant_that_somebody_vouches_for_comes_back(world: ServiceWorld) -> None:
    async with lost(world, CreditsGranted(credits=MICRO, reason="a gift", granted_by="me")) as back:
        assert (await back.resume(BY._replace(accept=True))).done

        assert (await replay(back.connection, ReplayScope(), lambda _: None)).findings == []
        (named,) = [fact async for fact in resumed(back.connection)]
        assert named.accepted == 1


async def test_usage_that_nobody_reported_is_not_believed(world: ServiceWorld) -> None:
    async with lost(world) as back:
        await record_usage(world, TEAM, "forged", reported_too=False)
        await publish(world.stack, world.connection)

        assert [stored.id for stored in (await back.resume(Orders(""))).unknown] == ["forged"]


async def test_a_refill_that_does_not_follow_is_refused_whoever_accepts_it(world: ServiceWorld) -> None:
    async with lost(world) as back:
        (refill,) = await world.facts(TEAM, type="credits.refilled.v1")
        head = await back.before.fetchval("SELECT next FROM shard_heads WHERE shard = $1", SHARD)
        forged = refill._replace(position=head, id="cycle:forged:1", recorded_at=now())
        log = await back.before.fetchval(LOG)
        await put(back.stack, [forged], Origin(log, 1, {SHARD: [(head, head)]}))

        with pytest.raises(Refused, match="do not follow from the log"):
            await back.resume(BY._replace(accept=True))
        assert await ids(back.connection) == ["u1"]


async def test_a_block_that_was_published_by_half_comes_back_as_far_as_it_was(world: ServiceWorld) -> None:
    async with lost(world, usages=(), publishes=False) as back:
        several = [HoldPlaced(hold_id=f"h{n}", credits=MICRO, expires_at=now() + timedelta(hours=1)) for n in range(3)]
        appended = await store(back.before, TEAM, several, source="creditwell:test")
        await publish(back.stack, back.before, up_to={SHARD: appended.places[1].position})

        assert (await back.resume()).done

        rows = await back.connection.fetch("SELECT hold_id FROM holds ORDER BY hold_id")
        assert [row["hold_id"] for row in rows] == ["h0", "h1"]
        assert (await verify(back.connection)).problems == []


async def test_a_gap_in_the_topic_brings_nothing_back_unless_a_person_gives_it_up(world: ServiceWorld) -> None:
    async with lost(world, usages=("u2",), publishes=False) as back:
        await record_usage(world, TEAM, "u3")
        (*_, last) = await world.facts(TEAM)
        log = await back.before.fetchval(LOG)
        await put(back.stack, [last], Origin(log, 1, {SHARD: [(last.position, last.position)]}))

        with pytest.raises(Refused, match=rf"{SHARD}:{last.position - 1} is not in the topic"):
            await back.resume()
        assert (await back.resume(BY._replace(as_it_is=True))).done

        assert await ids(back.connection) == ["u1"]
        (named,) = [fact async for fact in resumed(back.connection)]
        assert [(one.shard, one.first, one.last) for one in named.given_up] == [(SHARD, last.position, last.position)]
        await store(back.connection, TEAM, [used(1)])


async def test_where_kafka_knows_no_such_topic_nobody_says_that_nothing_was_lost(stack: Stack) -> None:
    async with a_consumer(settings_of(stack, "postgresql://nobody")) as consumer:
        with pytest.raises(UnknownTopicOrPartitionError, match="nothing_of_this_name"):
            await places_of(consumer, "nothing_of_this_name")


async def test_what_retention_takes_while_it_is_read_is_an_error_and_not_nothing(stack: Stack) -> None:
    place = TopicPartition(make_topic(stack.kafka, f"events.{uuid4().hex}"), 0)
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka) as producer:
        for number in range(3):
            await producer.send_and_wait(place.topic, b"%d" % number, partition=place.partition)
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    try:
        await admin.delete_records({place: RecordsToDelete(before_offset=2)})
    finally:
        await admin.close()

    async with a_consumer(settings_of(stack, "postgresql://nobody")) as consumer:
        with pytest.raises(OffsetOutOfRangeError):
            [record async for record in records_of(consumer, {place: (0, 3)})]
        assert [record.value async for record in records_of(consumer, {place: (2, 3)})] == [b"2"]


async def test_the_command_says_what_it_would_do_and_does_it_when_somebody_says_so(
    world: ServiceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lost(world) as back:
        monkeypatch.setenv("CREDITWELL_KAFKA", world.stack.kafka)
        monkeypatch.setenv("CREDITWELL_DATABASE", back.url)

        dry, done, again = [
            await asyncio.to_thread(CliRunner().invoke, app, ["resume", "--json", *more])
            for more in ([], ["--apply", "--by", "ops"], [])
        ]  # fmt: skip

        assert (dry.exit_code, done.exit_code, again.exit_code) == (1, 0, 0)
        plan = json.loads(dry.stdout)
        assert (plan["waits"], plan["comes_back"], plan["unknown"], plan["done"]) == (True, 2, [], False)
        assert (json.loads(done.stdout)["done"], json.loads(again.stdout)["waits"]) == (True, False)
        assert await ids(back.connection) == ["u1", "u2", "u3"]


async def test_the_relay_publishes_nothing_from_a_store_that_went_back_and_says_so(world: ServiceWorld) -> None:
    async with lost(world) as back:
        looking = StoreLook(settings_of(back.stack, "postgresql://nobody"), health := Health("relay"))

        with pytest.raises(Unavailable, match="store_went_back"):
            await looking.until_sure(back.connection)

        assert "2 facts of 1 shards were published and are not in the log" in health.absent["the store"]
        assert health.registry.get_sample_value("creditwell_store_went_back") == 1
        with pytest.raises(StoreUnchecked, match="store_went_back"):
            await store(back.connection, TEAM, [used(1)])
        assert (await back.resume()).done
        await looking.until_sure(back.connection)
        assert (health.absent, health.registry.get_sample_value("creditwell_store_went_back")) == ({}, 0)


async def test_a_standby_that_was_not_behind_goes_on_when_the_relay_has_looked(world: ServiceWorld) -> None:
    async with lost(world, usages=(), publishes=False) as back:
        with pytest.raises(StoreUnchecked):
            await store(back.connection, TEAM, [used(1)])

        await StoreLook(settings_of(back.stack, "postgresql://nobody"), Health("relay")).until_sure(back.connection)

        await store(back.connection, TEAM, [used(1)])


async def test_a_restart_keeps_nobody_waiting_and_is_looked_at_all_the_same(world: ServiceWorld) -> None:
    await world.team(TEAM)
    await begin_to_publish(world)
    await world.connection.execute(RESTARTED)

    await store(world.connection, TEAM, [used(1)])

    assert (await read_standing(world.connection)).looked is False
    looking = StoreLook(settings_of(world.stack, world.database), Health("relay"))
    await looking.until_sure(world.connection)
    assert (await read_standing(world.connection)).looked


async def test_a_copy_neither_appends_nor_publishes_until_it_is_a_log_of_its_own(world: ServiceWorld) -> None:
    await world.team(TEAM)
    log, key = await world.connection.fetchval(LOG), Ed25519PrivateKey.generate()
    await sign_log(world.connection, key, now())
    await world.connection.close()
    async with gone_back(world.stack, world.database, life="SELECT 1") as copy, connected(copy) as connection:
        with pytest.raises(StoreUnchecked):
            await store(connection, TEAM, [used(1)])
        looking = StoreLook(settings_of(world.stack, copy), Health("relay"))
        with pytest.raises(Unavailable, match="creditwell fork"):
            await looking.until_sure(connection)
        assert (await read_standing(connection)).life is Life.ELSEWHERE

        assert await fork(connection, "ops") != log

        await store(connection, TEAM, [used(1)])
        await looking.until_sure(connection)
        signed = await sign_log(connection, key, now())
        assert signed is not None
        assert signed.number == 1
        assert (await verify(connection, keys=[key.public_key()])).problems == []
    await world.reconnect()


async def test_a_store_that_is_no_copy_keeps_its_name_and_its_notes(world: ServiceWorld) -> None:
    await world.team(TEAM)
    log = await world.connection.fetchval(LOG)
    await sign_log(world.connection, Ed25519PrivateKey.generate(), now())

    with pytest.raises(Refused, match="no_copy"):
        await fork(world.connection, "ops")

    assert await world.connection.fetchval(LOG) == log
    assert await world.connection.fetchval("SELECT count(*) FROM signed_checkpoints") == 1
    await world.connection.execute(RESTARTED)  # as a clone of the disk looks
    assert await fork(world.connection, "ops") != log


async def test_a_log_that_begins_to_publish_where_another_one_does_says_so(world: ServiceWorld) -> None:
    await world.team(TEAM)
    await publish(world.stack, world.connection)
    health = Health("relay")

    await StoreLook(settings_of(world.stack, world.database), health).until_sure(world.connection)

    assert any("they are another log's" in note for note in health.notes)


async def test_whom_the_lost_part_of_the_log_erased_is_erased_when_it_comes_back(world: ServiceWorld) -> None:
    async with lost(world, MemberErased(member_id="mem_1", wholly=True), usages=()) as back:
        await back.connection.execute(
            "INSERT INTO members (shard, team_id, member_id, name, role, since) VALUES ($1, $2, 'mem_1', 'Ada', 'member', '2025-01-01')",
            SHARD, TEAM,
        )  # fmt: skip

        await back.resume(Orders("ops", apply=True, accept=True))

        assert await back.connection.fetch("SELECT name FROM members") == []
        assert [row["member_id"] for row in await back.connection.fetch("SELECT member_id FROM erased_members")] == [
            "mem_1"
        ]
        assert not (await replay(back.connection, ReplayScope(audit=True))).differences


async def test_a_top_up_that_was_lost_comes_back_with_its_attempt_because_stripe_has_it(
    world: ServiceWorld, desk: Desk
) -> None:
    async with lost(world, usages=(), publishes=False) as back:
        low = settings(threshold_credits=10_000 * MICRO, cool_down_seconds=300)
        await store(back.before, TEAM, [await desk.card(TEAM, "pm_card_visa"), low], source="creditwell:test")
        await record_usage(world, TEAM, "u2")
        async with a_life(world.database, desk) as first:
            await judge(first.connection, TEAM)
            await first.worker.look_at(TEAM)
        await publish(back.stack, back.before)

        done = await resume(
            back.connection, settings_of(back.stack, back.url), BY._replace(accept=True), charges=desk.charges
        )

        assert {stored.type for stored in done.unknown} == {"payment_method.changed.v1", "top_up.configured.v1"}
        assert (await replay(back.connection, ReplayScope(), lambda _: None)).differences == []
        await assert_books_agree(back.connection, desk, TEAM, charges=1)


async def test_whoever_watches_brings_back_what_needs_no_person_once_nobody_publishes(world: ServiceWorld) -> None:
    async with lost(world) as back:
        of_store = settings_of(back.stack, back.url)
        watching = Watching(of_store, back.connection, health := Health("resume"), quiet_seconds=0)
        await watching.round()
        assert "the relay looks at what was published" in health.absent["the store"]
        with pytest.raises(Unavailable):
            await StoreLook(of_store, Health("relay")).until_sure(back.connection)

        watching.quiet_seconds = math.inf
        await watching.round()
        assert "it goes on when nothing was published" in health.absent["the store"]
        watching.quiet_seconds = 0
        await watching.round()

        assert health.absent == {}
        assert await ids(back.connection) == ["u1", "u2", "u3"]
        (named,) = [fact async for fact in resumed(back.connection)]
        assert (named.resumed_by, named.accepted) == (BY_ITSELF, 0)


async def test_whoever_watches_leaves_to_a_person_what_needs_one_and_says_so(
    world: ServiceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching_module, "AGAIN_SECONDS", math.inf)
    async with lost(world, CreditsGranted(credits=MICRO, reason="a gift", granted_by="me")) as back:
        of_store = settings_of(back.stack, back.url)
        with pytest.raises(Unavailable):
            await StoreLook(of_store, Health("relay")).until_sure(back.connection)

        watching = Watching(of_store, back.connection, health := Health("resume"), quiet_seconds=0)
        await watching.round()
        assert "nobody but the topic knows of 1 facts" in health.absent["the store"]

        refused_at = watching.refused
        await watching.round()

        assert watching.refused == refused_at, "the topic and Stripe are not asked again at once"
        assert "nobody but the topic knows of 1 facts" in health.absent["the store"]
        assert await ids(back.connection) == ["u1"]


async def test_whoever_watches_leaves_two_lives_of_one_log_to_a_person_also_when_neither_publishes(
    world: ServiceWorld,
) -> None:
    async with lost(world) as back:
        stands = await read_standing(back.connection)
        await note_look(back.connection, stands, f"{others.SOMEBODY}: 2 facts of 1 shards")

        watching = Watching(settings_of(back.stack, back.url), back.connection, Health("resume"), quiet_seconds=0)
        await watching.round()

        assert "end one of them" in watching.health.absent["the store"]
        assert await ids(back.connection) == ["u1"]


async def test_a_partition_that_is_gone_with_what_was_published_to_it_leaves_the_rest_to_a_person(
    world: ServiceWorld,
) -> None:
    async with lost(world) as back:
        await keep_offsets(back.connection, {999: 5})
        of_store = settings_of(back.stack, back.url)
        with pytest.raises(Unavailable, match="999 is not there, and was published to before 5"):
            await StoreLook(of_store, Health("relay")).until_sure(back.connection)

        await Watching(of_store, back.connection, health := Health("resume"), quiet_seconds=0).round()

        assert "credits.events-999 is not there" in health.absent["the store"]
        assert await ids(back.connection) == ["u1"]


async def test_where_another_life_still_publishes_as_this_log_nobody_goes_on(
    world: ServiceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(others, "LOOK_SECONDS", math.inf)
    await world.team(TEAM)
    await begin_to_publish(world)
    (*_, newest) = await world.facts(TEAM)
    async with world.relay() as relay:
        await until(lambda: is_published(world.connection, newest), what="the relay is at the head")
        # What an old primary has appended at the next place, or a clone of the disk.
        theirs = newest._replace(position=newest.position + 1, id="theirs")
        log = await world.connection.fetchval(LOG)
        await put(world.stack, [theirs], Origin(log, 1, {SHARD: [(theirs.position, theirs.position)]}))

        await store(world.connection, TEAM, [used(1)])
        ours = newest._replace(position=newest.position + 1)
        await until(lambda: is_published(world.connection, ours), what="the relay has published behind them")

        monkeypatch.setattr(others, "LOOK_SECONDS", 0)  # nothing more comes, and it looks all the same

        await until(lambda: says(relay.health, "somebody else publishes as this log"), what="the relay says so")
        with pytest.raises(StoreUnchecked, match="store_went_back"):
            await store(world.connection, TEAM, [used(1)])
    stays = await resume(world.connection, settings_of(world.stack, world.database), Orders(""))
    assert stays.waits
    assert "holds something else at 1 places" in stays.in_the_way[0]


async def test_what_lies_between_is_read_in_parts_and_no_further_than_the_topic_goes(
    world: ServiceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(others, "LOOK_SECONDS", 0)
    monkeypatch.setattr(others, "LOOK_RECORDS", 2)
    await world.team(TEAM)
    of_store = settings_of(world.stack, world.database)
    begin = await read_ends(of_store)
    await record_usage(world, TEAM, "u1", "u2", "u3")
    await publish(world.stack, world.connection)
    ends = await read_ends(of_store)
    _, partition = route(TEAM, len(ends))
    since, end = begin[partition], ends[partition]
    log = await world.connection.fetchval(LOG)

    looking = others.Others(of_store, log, between={partition: (since, end)})
    await looking.look(world.connection)
    in_parts = dict(looking.between)
    await keep_offsets(world.connection, {partition: end})  # by another relay of the store, which has looked
    await looking.look(world.connection)
    looked = dict(looking.between)
    looking.between = {partition: (end + 1_000, end + 2_000)}  # of a topic that was made anew since
    async with asyncio.timeout(60):
        await looking.look(world.connection)

    assert in_parts == {partition: (since + 2, end)}
    assert (looked, looking.between) == ({}, {})
    assert (await kept_offsets(world.connection))[partition] == end


async def is_published(connection: Connection, fact: Stored) -> bool:
    reached = await connection.fetchval(
        "SELECT position FROM checkpoints WHERE reader = 'relay' AND shard = $1", fact.shard
    )
    return reached is not None and reached >= fact.position


async def says(health: Health, sentence: str) -> bool:
    return sentence in health.absent.get("the store", "")


async def test_notes_that_were_lost_with_the_store_are_named_and_their_anchors_still_hold(
    world: ServiceWorld, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    async with lost(world) as back:
        signed = await sign_log(back.before, key, now())
        assert signed is not None
        write_anchor(tmp_path, signed, await path_of_note(back.before, signed.number))

        done = await resume(back.connection, settings_of(back.stack, "postgresql://nobody"), BY, anchored=[signed])

        assert done.lost_notes == (1, 1)
        (named,) = [fact async for fact in resumed(back.connection)]
        assert named.lost_notes == (1, 1)
        assert await sign_log(back.connection, key, now()) is not None  # another note of that number
        verified = await verify(back.connection, anchors=tmp_path, keys=[key.public_key()])
        assert (verified.problems, verified.anchored_at) == ([], signed.vector.signed_at)
