"""What can make a balance low, and that each leads to one charge: alone, a thousand times, and for many teams at once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    BalanceRanLow,
    BalanceRecovered,
    CreditsGranted,
    CreditsToppedUp,
    HoldPlaced,
    TopUpConfigured,
    TopUpRequested,
    TopUpSkipped,
)
from services.money.topup import Worker
from services.read_models.low_balance import judge
from services.store.connect import Connection, connect_pool
from tests.faults.rush import a_worker, rush
from tests.support.desk import (
    Desk,
    assert_books_agree,
    facts,
    has,
    new_team,
    of_type,
    settings,
    working,
)
from tests.support.serving import as_role, connected, plan, store, used
from tests.support.waiting import until

Trigger = Callable[[Connection, Desk], Awaitable[str]]


def off(**changes: object) -> TopUpConfigured:
    """Top-ups are off."""
    return settings(enabled=False, **changes)


async def _hold(connection: Connection, desk: Desk) -> str:
    team = await new_team(connection, desk)
    hold = HoldPlaced(hold_id=str(uuid4()), credits=300 * MICRO, expires_at=datetime.now(UTC) + timedelta(hours=1))
    await store(connection, team, [hold])
    return team


async def _expiring_lot(connection: Connection, desk: Desk) -> str:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    gift = CreditsGranted(credits=500 * MICRO, reason="welcome", expires_at=soon)
    return await _team(connection, desk, plan(700), gift, settings())


async def _switched_on_while_low(connection: Connection, desk: Desk) -> str:
    return await _team(connection, desk, plan(1_200, notice=950), off(), used(300), settings())


async def _switched_on_where_nothing_was_low_before(connection: Connection, desk: Desk) -> str:
    return await _team(connection, desk, plan(1_200), off(), used(300), settings())


async def _raised_threshold(connection: Connection, desk: Desk) -> str:
    return await _team(
        connection,
        desk,
        plan(1_200),
        settings(threshold_credits=500 * MICRO),
        settings(threshold_credits=1_300 * MICRO),
    )


async def _raised_threshold_while_low(connection: Connection, desk: Desk) -> str:
    return await _team(
        connection,
        desk,
        plan(1_200),
        settings(monthly_cap_cents=400),
        used(300),
        settings(threshold_credits=1_300 * MICRO),
    )


async def _team(connection: Connection, desk: Desk, *told: AnyFact) -> str:
    """One fact after the other, each heard before the next is said."""
    team = f"team_{uuid4().hex}"
    await store(connection, team, [told[0], await desk.card(team, "pm_card_visa")])
    for fact in told[1:]:
        await store(connection, team, [fact])
        await judge(connection, team)
    return team


TRIGGERS: tuple[Trigger, ...] = (
    _hold, _expiring_lot, _switched_on_while_low, _switched_on_where_nothing_was_low_before, _raised_threshold,
    _raised_threshold_while_low,
)  # fmt: skip


async def test_holds_expiring_lots_and_settings_cross_the_threshold_without_any_usage_and_are_charged_once(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk, "projector", "topup", "refill"):
        teams = [await trigger(connection, desk) for trigger in TRIGGERS]

        for trigger, team in zip(TRIGGERS, teams, strict=True):
            try:
                await until(lambda team=team: has(connection, team, CreditsToppedUp))  # type: ignore[misc]
            except AssertionError as late:
                late.add_note(f"{trigger.__name__}: {[stored.type for stored in await facts(connection, team)]}")
                raise

        books = await desk.books()
        assert sorted(charge["metadata"]["team_id"] for charge in books["charges"]) == sorted(teams)


async def test_a_balance_that_a_top_up_lifted_too_little_to_count_as_recovered_is_charged_for_when_it_is_low_once_more(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk, "projector", "topup"):
        team = await _team(connection, desk, plan(10_200), settings(threshold_credits=10_000 * MICRO), used(300))
        await until(lambda: connection.fetchval("SELECT enough_at FROM top_ups WHERE enough_at > 0"))
        assert not await has(connection, team, BalanceRecovered)

        await store(connection, team, [used(300)])
        assert len(await of_type(connection, team, CreditsToppedUp)) == 1
        await store(connection, team, [used(300)])
        await until(lambda: has(connection, team, CreditsToppedUp, 2))

        requests = await of_type(connection, team, TopUpRequested)
        assert len({request.ran_low_id for request in requests}) == 1, "it is the same low episode"
        assert [request.attempt for request in requests] == [0, 1]
        assert len(await of_type(connection, team, BalanceRanLow)) == 1


async def test_a_thousand_crossings_of_one_team_while_two_workers_look_are_one_attempt_and_every_other_says_why_not(
    database: str, desk: Desk
) -> None:
    crossing: list[AnyFact] = [
        BalanceRanLow(available_credits=0, threshold_credits=1, crossed_at_position=1, top_up_enabled=True),
        BalanceRecovered(available_credits=0, threshold_credits=1, crossed_at_position=1),
    ]
    async with connected(database) as connection, connected(database) as another:
        team = await new_team(connection, desk, cool_down_seconds=300)
        await store(connection, team, [used(300), crossing[0]])
        pool = await connect_pool(as_role(database, "worker"), process="test", size=4)
        async with pool:
            await desk.order("faults", route="POST /v1/payment_intents/{id}/confirm", do="hold_after")
            looking = [asyncio.create_task(_look(a_worker(pool, desk), team)) for _ in range(2)]
            await desk.http.get("/_control/held")
            for _ in range(20):
                await store(another, team, crossing * 50)
                await store(another, team, crossing[:1])
            await until(lambda: has(connection, team, TopUpSkipped))
            await desk.order("release")
            await until(lambda: has(connection, team, CreditsToppedUp))
            for task in looking:
                task.cancel()
            await asyncio.wait(looking)
            assert all(task.cancelled() for task in looking)
            await a_worker(pool, desk).look_at(team)

        await assert_books_agree(connection, desk, team, charges=1)
        assert len(await of_type(connection, team, TopUpRequested)) == 1
        skipped = await of_type(connection, team, TopUpSkipped)
        assert {fact.reason for fact in skipped} <= {"in_flight", "cooling_down"}
        assert len({(fact.ran_low_id, fact.decision) for fact in skipped}) == len(skipped) > 0


async def test_many_teams_that_run_low_at_once_are_all_served_and_stripe_is_never_asked_faster_than_agreed(
    database: str,
) -> None:
    rushed = await rush(database, teams=60, per_second=50)

    assert not rushed.problems
    assert rushed.seconds > 60 * 2 / 50 - 1, "two questions a team can't be asked faster"


async def _look(worker: Worker, team: str) -> None:
    while True:
        await worker.look_at(team)
