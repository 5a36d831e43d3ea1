"""The recorder stores what arrives exactly once, whatever order and company it arrives in."""

import gc
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from faststream import AckPolicy
from faststream.kafka.subscriber.usecase import BatchSubscriber

from deploy.local.stack import Stack
from schemas.catalog import load_catalog
from schemas.facts import RATE_CARD_TEAM, NewFact, RateCardPublished
from schemas.rates import parse_rate_card
from services.credits.rate_cards import CARDS, seed_catalog
from services.store.append import append
from services.usage.receipts import Status, read_receipt
from tests.support.usage import SOURCE, Message, binary, raw, reported, structured, used, voided
from tests.support.waiting import until
from tests.support.world import Service, ServiceWorld, a_world

CREDIT = 1_000_000
PRO = 3_000 * CREDIT


async def test_usage_in_both_modes_becomes_priced_facts_and_burns_credits(world: ServiceWorld) -> None:
    await world.team("team_1")

    async with world.recorder():
        await world.send(used("team_1", "a", quantity="2.5", tier="standard"), binary(reported("team_1", "b")))
        await world.recorded()

    facts = {stored.id: json.loads(stored.body) for stored in await world.facts("team_1", type="usage.recorded.v1")}
    assert facts["a"]["credits"] == 10 * CREDIT
    assert facts["a"]["rate_card"] == 1
    assert facts["b"]["credits"] == CREDIT
    assert (await world.balance()).total == PRO - 11 * CREDIT


async def test_a_duplicate_within_a_batch_is_burned_once_and_counted(world: ServiceWorld) -> None:
    await world.team("team_1")
    same = used("team_1", "a")

    await world.send(same, used("team_1", "b"), same, same)
    async with world.recorder():
        await world.recorded()

    assert await world.usage_ids() == ["a", "b"]
    assert await world.repeats("a") == (2, 0)
    assert (await world.balance()).total == PRO - 2 * CREDIT


async def test_a_duplicate_in_a_later_batch_is_burned_once_and_stops_none_of_its_neighbours(
    world: ServiceWorld,
) -> None:
    await world.team("team_1")
    same = used("team_1", "a")

    async with world.recorder():
        await world.send(same)
        await world.recorded()
        await world.send(used("team_1", "b"), same, used("team_1", "c"))
        await world.recorded()

    assert await world.usage_ids() == ["a", "b", "c"]
    assert await world.repeats("a") == (1, 0)


async def test_a_duplicate_after_a_restart_is_burned_once(world: ServiceWorld) -> None:
    await world.team("team_1")
    same = used("team_1", "a")

    async with world.recorder():
        await world.send(same)
        await world.recorded()
    async with world.recorder():
        await world.send(same, used("team_1", "b"))
        await world.recorded()

    assert await world.usage_ids() == ["a", "b"]
    assert await world.repeats("a") == (1, 0)


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two batches"])
async def test_the_same_id_with_other_contents_is_kept_apart_and_visible(world: ServiceWorld, together: bool) -> None:
    await world.team("team_1")
    first, other = used("team_1", "a", quantity="1"), used("team_1", "a", quantity="2")

    async with world.recorder():
        await world.send(first, *([other] if together else []))
        await world.recorded()
        if not together:
            await world.send(other)
            await world.recorded()

    (fact,) = await world.facts("team_1", type="usage.recorded.v1")
    (refused,) = await world.refused()
    assert json.loads(fact.body)["quantity"] == "1"
    assert await world.repeats("a") == (0, 1)
    assert (refused["reason"], refused["team_id"], refused["event_id"]) == ("conflict", "team_1", "a")
    assert refused["value"] == other.value


async def test_the_same_usage_written_differently_is_a_duplicate_and_no_conflict(world: ServiceWorld) -> None:
    await world.team("team_1")
    event = reported("team_1", "a", quantity="1.50", at="2026-11-01T12:00:00+01:00")
    data = event["data"] | {"quantity": 1.5, "comment": "not stored"}
    again = dict(reversed((event | {"time": "2026-11-01T11:00:00Z", "data": data, "traceparent": "00-1"}).items()))

    async with world.recorder():
        await world.send(structured(event), structured(again), binary(again))
        await world.recorded()

    assert await world.repeats("a") == (2, 0)
    assert await world.refused() == []


async def test_two_teams_and_two_services_may_use_the_same_id(world: ServiceWorld) -> None:
    await world.team("team_1", "team_2")
    twos = used("team_2", "a")

    async with world.recorder():
        await world.send(used("team_1", "a"), twos, used("team_1", "a", source="/features/other"), twos)
        await world.recorded()

    facts = await world.facts(type="usage.recorded.v1")
    assert sorted((fact.team_id, fact.source) for fact in facts) == [
        ("team_1", "/features/other"),
        ("team_1", "/features/test"),
        ("team_2", "/features/test"),
    ]
    assert await world.repeats("a") == (1, 0)


async def test_usage_before_the_first_plan_is_refused_and_can_be_sent_again_after_it(world: ServiceWorld) -> None:
    early = used("team_1", "a")

    async with world.recorder():
        await world.send(early)
        await world.recorded()
        await world.team("team_1")
        await world.send(early)
        await world.recorded()

    assert await world.reasons() == ["unknown_team"]
    assert await world.usage_ids() == ["a"]


async def test_a_void_returns_the_credits_once_however_often_it_is_sent(world: ServiceWorld) -> None:
    await world.team("team_1")
    void = structured(voided("team_1", "void a", of="a"))

    async with world.recorder():
        await world.send(used("team_1", "a", quantity="5"), void, used("team_1", "b"), void)
        await world.recorded()
        await world.send(void, structured(voided("team_1", "another void of a", of="a")))
        await world.recorded()

    assert [fact.id for fact in await world.facts("team_1", type="usage.voided.v1")] == ["void a"]
    assert await world.refused() == []
    assert await world.repeats("void a") == (2, 0)
    assert await world.repeats("another void of a") == (1, 0)
    receipt = await read_receipt(world.connection, "team_1", SOURCE, "another void of a")
    assert (receipt.status, receipt.duplicates) == (Status.APPLIED, 1)
    assert (await world.balance()).total == PRO - CREDIT


async def test_a_void_of_unknown_usage_is_refused_and_so_is_one_of_another_service(world: ServiceWorld) -> None:
    await world.team("team_1", "team_2")
    other = voided("team_1", "v3", of="a", source="/features/other")
    other["data"]["usage_source"] = "/features/test"

    async with world.recorder():
        await world.send(used("team_1", "a"))
        await world.recorded()
        await world.send(
            structured(voided("team_1", "v1", of="nothing")),
            structured(voided("team_2", "v2", of="a")),
            structured(other),
        )
        await world.recorded()

    assert sorted(await world.reasons()) == ["unknown_usage", "unknown_usage", "wrong_source"]
    assert (await world.balance()).total == PRO - CREDIT


async def test_any_mixture_of_duplicates_over_batches_restarts_and_two_recorders_is_burned_once(
    world: ServiceWorld,
) -> None:
    random = Random(7)
    teams = [f"team_{n}" for n in range(12)]
    await world.team(*teams)
    said = [used(random.choice(teams), f"id-{n}", quantity=str(random.randint(1, 9))) for n in range(300)]
    all_of_them = [message for message in said for _ in range(random.choice((1, 1, 1, 2, 5, 40)))]
    random.shuffle(all_of_them)
    thirds = [all_of_them[n::3] for n in range(3)]

    async with world.recorder():
        await world.send(*thirds[0])
        await world.recorded()
        async with world.recorder():
            await world.send(*thirds[1])
            await world.recorded()
    async with world.recorder():
        await world.send(*thirds[2])
        await world.recorded()

    facts = await world.facts(type="usage.recorded.v1")
    repeated = await world.connection.fetchval("SELECT sum(duplicates)::bigint FROM repeats")
    assert sorted(fact.id for fact in facts) == sorted(f"id-{n}" for n in range(300))
    assert repeated == len(all_of_them) - 300
    assert await world.refused() == []


async def test_a_team_is_read_right_even_when_its_records_lie_in_other_partitions(world: ServiceWorld) -> None:
    await world.team("team_1")
    everywhere = [Message(b"team_1", used("team_1", f"id-{n}").value, partition=n % 8) for n in range(40)]

    async with world.recorder(), world.recorder():
        await world.send(*everywhere, *everywhere)
        await world.recorded()

    facts = await world.facts("team_1", type="usage.recorded.v1")
    assert sorted(fact.id for fact in facts) == sorted(f"id-{n}" for n in range(40))
    for partition in range(8):
        mine = [fact.id for fact in facts if int(fact.id.removeprefix("id-")) % 8 == partition]
        assert mine == [f"id-{n}" for n in range(40) if n % 8 == partition]


async def test_aborted_transactions_are_never_recorded_and_markers_hold_nothing_up(world: ServiceWorld) -> None:
    await world.team("team_1")
    place = await world.send(used("team_1", "before"))
    producer = AIOKafkaProducer(bootstrap_servers=world.stack.kafka, transactional_id="feature-in-two-minds")
    async with producer, world.recorder() as service:
        await producer.begin_transaction()
        for n in range(10):
            await producer.send_and_wait("usage", used("team_1", f"aborted-{n}").value, key=b"team_1")
        await producer.abort_transaction()
        async with producer.transaction():
            done = await producer.send_and_wait("usage", used("team_1", "committed").value, key=b"team_1")
        world.ends[place[0][0]] = done.offset + 1
        await world.recorded()

        async def nothing_waits() -> bool:
            return bool(service.health.work) and all(
                work.lag == 0 for name, work in service.health.work.items() if "-" in name
            )

        await until(nothing_waits, what="no lag, though Kafka's markers are never delivered")

    assert await world.usage_ids() == ["before", "committed"]


async def test_usage_is_priced_by_the_card_of_its_own_time_and_a_running_recorder_learns_of_new_cards(
    world: ServiceWorld,
) -> None:
    await world.team("team_1", "team_2")

    async with world.recorder(rate_cards_reload_seconds=1):
        await world.send(used("team_1", "before anybody knew"))
        await world.recorded()
        in_force_at = await publish_card_that_doubles(world)
        await until(partial(knows_card, world, 2, in_force_at), what="the recorder has learned of the card")
        await world.send(
            used("team_1", "old", at="2025-06-01T00:00:00Z"),
            used("team_1", "just before", at=in_force_at - timedelta(microseconds=1)),
            used("team_1", "at the moment", at=in_force_at),
        )
        await world.recorded()

    facts = {stored.id: json.loads(stored.body) for stored in await world.facts("team_1", type="usage.recorded.v1")}
    assert {id: (fact["rate_card"], fact["credits"]) for id, fact in facts.items()} == {
        "before anybody knew": (1, CREDIT),
        "old": (1, CREDIT),
        "just before": (1, CREDIT),
        "at the moment": (2, 2 * CREDIT),
    }


async def knows_card(world: ServiceWorld, version: int, at: datetime) -> bool:
    """The recorder prices usage of this time by this card."""
    await world.send(used("team_2", str(uuid4()), at=at))
    await world.recorded()
    (*_, last) = await world.facts("team_2", type="usage.recorded.v1")
    return bool(json.loads(last.body)["rate_card"] == version)


async def publish_card_that_doubles(world: ServiceWorld) -> datetime:
    """The catalog's card with an image at twice the price; since when it is in force.

    It is appended as it will lie in the log some time after its notice: nobody waits until it is in force.
    """
    card = load_catalog().rate_card.model_dump(mode="json")
    in_force_at = datetime.now(UTC) - timedelta(minutes=1)
    for feature in (feature for category in card["categories"] for feature in category["features"]):
        if feature["feature"] == "ai_image.generate":
            feature["rates"][0]["credits"] = "2"
    card |= {"version": 2, "effective_from": in_force_at.isoformat()}
    doubled = parse_rate_card(card)
    published = RateCardPublished(
        version=2, effective_from=in_force_at, card=doubled.model_dump(mode="json"), published_by="test"
    )
    async with world.connection.transaction():
        await append(world.connection, [NewFact(RATE_CARD_TEAM, CARDS, "card:000002", in_force_at, published)])
    return in_force_at


async def test_a_recorder_that_starts_before_the_first_rate_card_waits_for_it(stack: Stack, database: str) -> None:
    async with a_world(stack, database, seeded=False) as world:
        await world.team("team_1")
        async with world.recorder() as service:
            await world.send(used("team_1", "a"))

            async def waits() -> bool:
                return bool(service.health.absent) and not service.task.done()

            await until(waits, what="the recorder says what it misses")
            async with world.connection.transaction():
                await seed_catalog(world.connection, load_catalog())
            await world.recorded()

        assert await world.usage_ids() == ["a"]


async def test_nonsense_does_not_move_the_order_of_its_neighbours(world: ServiceWorld) -> None:
    await world.team("team_1")

    async with world.recorder():
        await world.send(*[message for n in range(50) for message in (used("team_1", f"id-{n:02d}"), raw(b"nonsense"))])
        await world.recorded()

    assert await world.usage_ids() == [f"id-{n:02d}" for n in range(50)]
    assert len(await world.refused()) == 50


async def test_no_default_of_the_libraries_is_trusted_where_it_is_unsafe_for_money(world: ServiceWorld) -> None:
    async with world.recorder() as service:
        await until_ready(service)
        # Of all that this process has made, what consumes now; an earlier recorder's have stopped.
        (subscriber,) = [found for found in gc.get_objects() if type(found) is BatchSubscriber and found.running]
        consumer: Any = subscriber.consumer

        assert subscriber.ack_policy is AckPolicy.MANUAL
        assert consumer._enable_auto_commit is False
        assert consumer._isolation_level == "read_committed"
        assert consumer._check_crcs is True


async def until_ready(service: Service) -> None:
    async def look() -> bool:
        return service.health.is_ready

    await until(look, what="the recorder is ready")
