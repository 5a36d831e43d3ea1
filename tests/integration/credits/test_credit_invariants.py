"""The numbered invariants 6 to 13 of the design, as far as Kafka, PostgreSQL and concurrency have a say in them.

The folds themselves are judged in `tests/unit/test_balance*.py`.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, cast

import pytest

from schemas.catalog import load_catalog
from schemas.cycles import cycle_at, cycle_start
from schemas.facts import CreditsRefilled, HoldPlaced, NewFact, PlanAssigned
from schemas.rates import parse_rate_card
from services.credits.rate_cards import publish_rate_card, seed_catalog
from services.read_models import balances
from services.read_models.balances import read_balance
from services.runtime.errors import Refused, Unavailable
from services.store import numbered
from services.store.append import AlreadyStored, append
from services.store.connect import Connection
from services.store.cycles import CYCLES
from services.store.read import read_team
from services.store.shards import shard_of
from services.usage.voids import note_voids
from tests.support.connections import connections
from tests.support.facts import granted, new, now, planned, store, usage, void
from tests.support.heads import heads_unguarded
from tests.support.history import Histories
from tests.support.model import Purse, purses
from tests.support.usage import Message, reported, structured, used, voided
from tests.support.waiting import until
from tests.support.world import ServiceWorld

CREDIT = 1_000_000
MICROSECOND = timedelta(microseconds=1)


async def model_of(connection: Connection, team_id: str) -> Purse:
    """What the slow model says of a team, from the log."""
    facts = await read_team(connection, shard_of(team_id), team_id, 0, 1_000_000)
    return purses(facts)[team_id]


# 6. Exact.


async def test_invariant_06_a_balance_is_the_sum_of_entries_each_rounded_once(world: ServiceWorld) -> None:
    await world.team("team_1", plan="pro")
    quantities = ["0.000001", "0.333333333", "0.000005", "12345.678901234", "999", "0.1", "0.7", "0.000004999"]
    async with world.recorder(), world.projector():
        await world.send(
            *[
                used("team_1", f"id-{n}", feature="video_export.render", tier="720p", quantity=q)
                for n, q in enumerate(quantities)
            ]
        )
        await world.recorded()
        await world.projected()

    by_hand = [0, 33_333, 1, 1_234_567_890, 99_900_000, 10_000, 70_000, 0]  # quantity × 0.1, half up at the sixth place
    facts = await world.facts("team_1", type="usage.recorded.v1")
    assert [json.loads(fact.body)["credits"] for fact in facts] == by_hand
    entries = await world.connection.fetch(
        "SELECT included + additional AS credits, balance_after FROM activity ORDER BY position"
    )
    assert sum(entry["credits"] for entry in entries) == entries[-1]["balance_after"] == (await world.balance()).total
    assert (await world.balance()).total == 3_000 * CREDIT - sum(by_hand)


async def test_invariant_06_more_than_a_trillion_credits_are_refused_and_a_trillion_is_recorded(
    world: ServiceWorld,
) -> None:
    await world.team("team_1")
    async with world.recorder():
        await world.send(
            used("team_1", "a trillion", quantity="250000000000", tier="standard"),
            used("team_1", "more", quantity="250000000000.000001", tier="standard"),
        )
        await world.recorded()

    assert await world.usage_ids() == ["a trillion"]
    assert await world.reasons() == ["too_large"]
    assert (await world.balance()).total == 3_000 * CREDIT - 10**12 * CREDIT


# 7. Lots.


async def test_invariant_07_two_recorders_that_void_one_usage_at_the_same_time_return_its_credits_once(
    world: ServiceWorld,
) -> None:
    await world.team("team_1")
    async with world.recorder(), world.recorder():
        await world.send(*[used("team_1", f"id-{n}") for n in range(30)])
        await world.recorded()
        await world.send(*[
            Message(b"team_1", structured(voided("team_1", f"void-{n}-{m}", of=f"id-{n}")).value, partition=(n + m) % 8)
            for n in range(30)
            for m in range(8)
        ])  # fmt: skip
        await world.recorded()

    assert len(await world.facts("team_1", type="usage.voided.v1")) == 30
    assert await world.connection.fetchval("SELECT sum(duplicates)::int FROM repeats") == 30 * 7
    assert (await world.balance()).total == 3_000 * CREDIT


async def test_invariant_07_a_usage_that_was_taken_back_meanwhile_is_not_taken_back_again(world: ServiceWorld) -> None:
    """Two recorders have judged a void each before either has stored one: the second finds out, and nothing of it stays."""
    await store(world.connection, *planned("team_1"))
    taken_back = usage("team_1", "a", 3)
    position = (await store(world.connection, taken_back)).places[0].position
    voids = [
        void("team_1", id, of="a", position=position, at=taken_back.occurred_at, credits=3)
        for id in ("first", "second")
    ]

    async def note(fact: NewFact) -> None:
        async with world.connection.transaction():
            appended = await append(world.connection, [fact])
            await note_voids(world.connection, [(fact, appended.places[0])])

    await note(voids[0])
    with pytest.raises(AlreadyStored):
        await note(voids[1])

    assert [fact.id for fact in await world.facts("team_1", type="usage.voided.v1")] == ["first"]
    assert (await world.balance()).total == 100 * CREDIT


async def test_invariant_07_a_lot_that_ended_pays_nothing_though_nobody_has_written_down_that_it_ended(
    world: ServiceWorld,
) -> None:
    ends_after = timedelta(milliseconds=300)
    await store(world.connection, *planned("team_1", credits=1), granted("team_1", "gift", 50, ends_after=ends_after))
    await asyncio.sleep(ends_after.total_seconds())

    left = await world.balance()
    await store(world.connection, usage("team_1", "a", 3))
    after = await world.balance()

    assert (left.included, left.additional) == (CREDIT, 0)
    assert (after.included, after.additional) == (0, -2 * CREDIT)


# 8. Holds.


async def test_invariant_08_a_hold_lowers_what_is_available_and_nothing_else_until_it_ends(world: ServiceWorld) -> None:
    ends_after = timedelta(minutes=10)
    await store(world.connection, *planned("team_1", credits=100))
    await store(
        world.connection,
        new("team_1", "h1", HoldPlaced(hold_id="h1", credits=30 * CREDIT, expires_at=now() + timedelta(hours=1))),
        new("team_1", "h2", HoldPlaced(hold_id="h2", credits=20 * CREDIT, expires_at=now() + ends_after)),
    )
    held = await read(world)
    await store(world.connection, usage("team_1", "settles", 40, hold_id="h1"))
    settled = await read(world)
    expired = await read(world, later=ends_after)

    assert held == (100 * CREDIT, 50 * CREDIT)
    assert settled == (60 * CREDIT, 40 * CREDIT)
    assert expired == (60 * CREDIT, 60 * CREDIT)


async def read(world: ServiceWorld, *, later: timedelta = timedelta()) -> tuple[int, int]:
    """Total and available, now or so much later."""
    at = now() + later
    exact = await read_balance(world.connection, "team_1", at)
    assert exact is not None
    return exact.team.total, exact.team.available(at)


# 9. One fold: the rebuild is in test_rebuild.py, the live projection in test_projector.py; here as-of and model.


async def test_invariant_09_an_exact_read_is_the_same_with_and_without_a_projection_at_every_position(
    world: ServiceWorld,
) -> None:
    teams = [f"team_{n}" for n in range(5)]
    histories = Histories(Random(91), teams)
    await histories.begin(world.connection)
    async with world.projector():
        await histories.go_on(world.connection, 120)
        await world.projected()
    await histories.go_on(world.connection, 60)
    at = now()
    with_cache = {team: await read_balance(world.connection, team, at) for team in teams}
    await world.connection.execute("DELETE FROM checkpoints WHERE reader LIKE 'projector_of_%'")
    await world.connection.execute("TRUNCATE balance_v1, lots_v1, activity_rows_v1, activity_runs_v1, usage_v1")
    without = {team: await read_balance(world.connection, team, at) for team in teams}

    for team in teams:
        cached, folded = with_cache[team], without[team]
        assert cached is not None
        assert folded is not None
        assert (cached.team.included, cached.team.additional, cached.team.debt, cached.team.holds) == (
            folded.team.included, folded.team.additional, folded.team.debt, folded.team.holds,
        )  # fmt: skip
        assert [lot_of(lot) for lot in cached.team.lots if lot.remaining] == [
            lot_of(lot) for lot in folded.team.lots if lot.remaining
        ]
        assert cached.position == folded.position


def lot_of(lot: Any) -> tuple[Any, ...]:
    return lot.lot, lot.kind, lot.gained, lot.remaining, lot.starts_at, lot.ends_at, lot.ended


# 10. Always exact to read.


async def test_invariant_10_a_read_is_exact_at_every_moment_while_the_projector_runs(world: ServiceWorld) -> None:
    teams = [f"team_{n}" for n in range(4)]
    for team in teams:
        await store(world.connection, *planned(team, credits=40))
    writing, checked = True, 0

    async def write(session: Connection, team: str) -> None:
        random = Random(team)
        places: list[tuple[str, int, datetime]] = []
        for n in range(50):
            if places and random.random() < 0.2:
                taken, position, at = places.pop()
                await store(session, void(team, f"v{n}", of=taken, position=position, at=at))
                continue
            at = now()
            appended = await store(session, usage(team, f"u{n}", at=at), granted(team, f"g{n}", random.randint(1, 2)))
            places.append((f"u{n}", appended.places[0].position, at))

    async def check(session: Connection) -> None:
        nonlocal checked
        while writing or checked <= 20:
            for team in teams:
                exact = await read_balance(session, team, now())
                assert exact is not None
                facts = await read_team(session, exact.shard, team, 0, 10_000)
                purse = purses([fact for fact in facts if fact.position <= exact.team.position])[team]
                assert (exact.team.included, exact.team.additional) == (purse.included, purse.additional)
                checked += 1

    async with connections(world.database, 6) as sessions, world.projector():
        checks = [asyncio.create_task(check(session)) for session in sessions[4:]]
        await asyncio.gather(*(write(session, team) for session, team in zip(sessions, teams, strict=False)))
        writing = False
        await asyncio.gather(*checks)


async def test_invariant_10_a_read_does_not_mind_the_projector_getting_on_in_the_middle_of_it(
    world: ServiceWorld,
) -> None:
    """After each statement of the read, the projector folds whatever there is."""
    await store(world.connection, *planned("team_1", credits=0), granted("team_1", "emptied", 3))
    place = (await store(world.connection, usage("team_1", "u", 3, at=(at := now())))).places[0]
    async with world.projector():
        await world.projected()
    await store(world.connection, void("team_1", "v", of="u", position=place.position, at=at, credits=3))
    await store(world.connection, granted("team_1", "g", 4), usage("team_1", "last", 1))

    class Overtaken:
        """A connection after each of whose statements the projector is at the head."""

        def __getattr__(self, name: str) -> Any:
            method = getattr(world.connection, name)
            if not name.startswith("fetch"):
                return method

            async def then_project(*arguments: Any) -> Any:
                answer = await method(*arguments)
                if not world.connection.is_in_transaction():
                    async with world.projector():
                        await world.projected()
                return answer

            return then_project

    exact = await read_balance(cast(Connection, Overtaken()), "team_1", now())
    assert exact is not None
    purse = await model_of(world.connection, "team_1")
    assert (exact.team.included, exact.team.additional) == (purse.included, purse.additional)
    assert sum(lot.remaining for lot in exact.team.lots) - exact.team.debt == exact.team.total


async def test_invariant_10_rather_no_answer_than_a_guess(world: ServiceWorld) -> None:
    await store(world.connection, *planned("team_1"))
    await store(world.connection, *[granted("team_1", f"g{n}") for n in range(balances.TAIL_MAX + 1)])
    with pytest.raises(Unavailable, match="wait to be folded"):
        await world.balance()
    async with world.projector():
        await world.projected()
    assert (await world.balance()).additional == (balances.TAIL_MAX + 1) * CREDIT


async def test_invariant_10_a_decision_under_the_shards_lock_sees_every_fact_and_none_comes_in_between(
    world: ServiceWorld,
) -> None:
    """Ten buyers want the last credits at the same time; each looks before it takes."""
    await store(world.connection, *planned("team_1", credits=30))

    async def take(session: Connection, n: int) -> bool:
        async with session.transaction():
            await session.execute("SELECT FROM shard_heads WHERE shard = $1 FOR UPDATE", shard_of("team_1"))
            exact = await read_balance(session, "team_1", now())
            assert exact is not None
            if exact.team.available(now()) < 10 * CREDIT:
                return False
            await append(session, [usage("team_1", f"taken-{n}", 10)])
            return True

    async with connections(world.database, 10) as sessions:
        won = await asyncio.gather(*(take(session, n) for n, session in enumerate(sessions)))

    assert sum(won) == 3
    assert (await world.balance()).total == 0


# 11. Cycles.


async def test_invariant_11_whoever_appends_first_appends_the_refills_that_are_due_once_each(
    world: ServiceWorld,
) -> None:
    anchor = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
    await store(world.connection, *planned("team_1", credits=10, anchor=anchor, zone="America/New_York"))
    async with connections(world.database, 8) as sessions:
        await asyncio.gather(*(store(session, granted("team_1", f"g{n}")) for n, session in enumerate(sessions)))

    stored = await world.facts("team_1", type="credits.refilled.v1")
    refills = [fact.fact() for fact in stored]
    open_now = cycle_at(anchor, "America/New_York", now())
    assert [fact.id for fact in stored] == [f"cycle:plan:{k}" for k in range(open_now + 1)]
    assert {fact.source for fact in stored} == {CYCLES}
    for k, refilled in enumerate(refills):
        assert isinstance(refilled, CreditsRefilled)
        assert refilled.starts_at == cycle_start(anchor, "America/New_York", k)
    assert (await world.balance()).included == 10 * CREDIT


async def test_invariant_11_the_first_usage_after_a_cycles_end_burns_the_new_credits(world: ServiceWorld) -> None:
    """A refill worker that is down for the moment of the cycle's end changes no balance."""
    # A cycle ends at the anchor: there is a month before it, whatever day it is. The recorder takes usage some minutes ahead.
    ends_at = now() + timedelta(minutes=3)
    plan = PlanAssigned(plan="test", anchor=ends_at, zone="UTC", allowance_credits=10 * CREDIT)
    await store(world.connection, new("team_1", "plan", plan))
    await store(world.connection, usage("team_1", "before", 9))
    before, unwritten = await included(world, ends_at - MICROSECOND), await included(world, ends_at)
    # The cycle ends: a shard goes by the time that it has reached.
    async with heads_unguarded(world.connection):
        await world.connection.execute(
            "UPDATE shard_heads SET recorded_at = $2 WHERE shard = $1", shard_of("team_1"), ends_at
        )
    async with world.recorder():
        await world.send(used("team_1", "after", at=ends_at))
        await world.recorded()
    after = await included(world, ends_at)

    assert (before, unwritten, after) == (1 * CREDIT, 10 * CREDIT, 9 * CREDIT)
    types = [fact.type for fact in await world.facts("team_1")][-2:]
    assert types == ["credits.refilled.v1", "usage.recorded.v1"]


async def included(world: ServiceWorld, at: datetime) -> int:
    """Of the team, at an instant that may be ahead."""
    exact = await read_balance(world.connection, "team_1", at)
    assert exact is not None
    return exact.team.included


# 12. Overdraft.


async def test_invariant_12_usage_that_happened_is_recorded_past_zero_and_whatever_the_plan(
    world: ServiceWorld,
) -> None:
    await world.team("team_1", plan="free")
    async with world.recorder():
        await world.send(
            used("team_1", "too much", quantity="400"),
            used("team_1", "needs pro and top-ups", tier="high"),
            structured(
                reported("team_1", "needs top-ups") | {"data": {"feature": "ai_effects.website_scan", "quantity": "1"}}
            ),
        )
        await world.recorded()

    assert await world.refused() == []
    balance = await world.balance()
    assert balance.included == 0
    assert balance.additional == balance.total < -100 * CREDIT


# 13. Rate cards.


async def test_invariant_13_the_catalog_seeds_an_empty_log_once_however_many_start_at_the_same_time(
    world: ServiceWorld,
) -> None:
    async def seed(session: Connection) -> bool:
        async with session.transaction():
            return await seed_catalog(session, load_catalog())

    async with connections(world.database, 4) as sessions:
        assert await asyncio.gather(*map(seed, sessions)) == [False] * 4
    assert [fact.id for fact in await world.facts("creditwell")] == ["card:000001"]


async def test_invariant_13_a_card_is_published_a_minute_ahead_and_with_the_next_number(world: ServiceWorld) -> None:
    card = load_catalog().rate_card.model_dump(mode="json")

    async def publish(session: Connection, version: int, ahead: timedelta) -> str:
        effective = parse_rate_card(card | {"version": version, "effective_from": (now() + ahead).isoformat()})
        try:
            async with session.transaction():
                await publish_rate_card(session, effective, published_by="test")
        except Refused as refused:
            return refused.reason
        return "published"

    async with connections(world.database, 4) as sessions:
        assert await publish(sessions[0], 2, timedelta(seconds=59)) == "too_soon"
        assert await publish(sessions[0], 3, timedelta(minutes=2)) == "rate_card_version"
        at_once = await asyncio.gather(*(publish(session, 2, timedelta(minutes=2)) for session in sessions))

    assert sorted(at_once) == ["published", "rate_card_version", "rate_card_version", "rate_card_version"]
    assert [fact.id for fact in await world.facts("creditwell")] == ["card:000001", "card:000002"]


# Whoever waits for the table of facts, and what for; it is told to give up, as on a server that is too busy.
GIVE_UP = """
    SELECT query, pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND backend_type = 'client backend'
"""


async def test_invariant_13_a_recorder_that_can_not_renew_its_cards_stops_pricing_until_it_can(
    world: ServiceWorld,
) -> None:
    await world.team("team_1")
    async with world.recorder(rate_cards_reload_seconds=0) as service:
        await world.send(used("team_1", "by a card just read"))
        await world.recorded()

        # Held by another session: within one transaction PostgreSQL shows the others' statements as they were at its first look.
        async with connections(world.database, 1) as (holder,), holder.transaction():
            await holder.execute("LOCK TABLE facts IN ACCESS EXCLUSIVE MODE")
            await world.send(used("team_1", "by nothing that is known"))
            given_up: list[str] = []

            async def often() -> bool:
                given_up.extend(row["query"] for row in await world.connection.fetch(GIVE_UP))
                return len(given_up) > 2 and bool(service.health.absent)

            await until(often, what="the recorder waits, and asks again")
            assert set(given_up) == {numbered.LAST}, "it goes on without knowing the newest card"
        await world.recorded()

    assert await world.usage_ids() == ["by a card just read", "by nothing that is known"]
