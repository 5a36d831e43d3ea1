"""Refunds and disputes at the stand-in for Stripe, and what the log and the balances make of them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    ChargeDisputed,
    ChargeRefunded,
    DisputeClosed,
    TopUpResumed,
    TopUpSkipped,
    TopUpSuspended,
)
from services.money.inbox import InboxWorker, work_on
from services.money.inbox_rows import InboxEvent
from services.money.reversals import ReversalOutcome
from services.money.top_ups.log import read_top_ups
from services.read_models.balances import read_balance
from services.store.connect import Connection, connect_pool
from tests.integration.money.test_topup_webhook import PATH, SECRET
from tests.support.api import Api, an_api
from tests.support.desk import KEY, Desk, environment, facts, has, new_team, of_type, working
from tests.support.payments import (
    Paid,
    a_payment,
    a_team,
    bought,
    by_hand,
    charged,
    credited,
    decide,
    dispute,
    follow,
    refund,
)
from tests.support.serving import as_role, connected, serving, store, used
from tests.support.waiting import until

REVERSALS = (ChargeRefunded, ChargeDisputed, DisputeClosed)


pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
async def api(stack: Stack, database: str) -> AsyncIterator[Api]:
    """The API, for Stripe's webhooks."""
    async with an_api(stack, database, stripe_key=KEY, stripe_webhook_secret=SECRET) as running:
        yield running


async def told(connection: Connection, paid: Paid) -> list[AnyFact]:
    """What the log says of what went back."""
    return [
        fact
        for fact in (stored.fact() for stored in await facts(connection, paid.team))
        if isinstance(fact, REVERSALS) and fact.payment_intent_id == paid.id
    ]


async def additional(connection: Connection, team: str) -> float:
    """Whole additional credits."""
    exact = await read_balance(connection, team, datetime.now(UTC))
    assert exact is not None
    assert exact.team.total == exact.team.included + exact.team.additional
    return exact.team.additional / MICRO


@pytest.mark.parametrize("automatic", [False, True])
async def test_refunds_take_back_their_part_of_purchases_and_top_ups_however_often_they_are_told(
    automatic: bool, connection: Connection, desk: Desk
) -> None:
    paid = await a_payment(connection, desk, automatic=automatic)
    await store(connection, paid.team, [used(800)])
    for cents, left in ((500, -50), (300, -200), (1_200, -800)):
        await refund(desk, paid, cents)

        assert await follow(connection, desk.charges, paid.id) is ReversalOutcome.APPENDED
        assert await follow(connection, desk.charges, paid.id) is ReversalOutcome.NOTHING_NEW
        assert await additional(connection, paid.team) == left

    refunds = await told(connection, paid)
    assert [fact.refunded_cents for fact in refunds if isinstance(fact, ChargeRefunded)] == [500, 800, 2_000]


async def test_a_refund_that_does_not_arrive_gives_the_credits_back(connection: Connection, desk: Desk) -> None:
    paid = await a_payment(connection, desk)
    refund_id = await refund(desk, paid, 500)
    await follow(connection, desk.charges, paid.id)

    await desk.order(f"refunds/{refund_id}/fail")
    await follow(connection, desk.charges, paid.id)

    assert await additional(connection, paid.team) == 1_000


@pytest.mark.parametrize(("won", "left"), [(True, 1_000), (False, 0)])
async def test_a_dispute_freezes_and_then_gives_back_or_takes_for_good(
    won: bool, left: int, connection: Connection, desk: Desk
) -> None:
    paid = await a_payment(connection, desk)
    dispute_id = await dispute(desk, paid)
    await follow(connection, desk.charges, paid.id)
    assert await additional(connection, paid.team) == 0

    await decide(desk, dispute_id, won=won)
    await follow(connection, desk.charges, paid.id)

    assert await additional(connection, paid.team) == left
    assert [fact.type for fact in await told(connection, paid)] == ["charge.disputed.v1", "dispute.closed.v1"]


async def test_an_inquiry_takes_nothing(connection: Connection, desk: Desk) -> None:
    paid = await a_payment(connection, desk)
    dispute_id = await dispute(desk, paid, reason="inquiry")
    assert await follow(connection, desk.charges, paid.id) is ReversalOutcome.NOTHING_NEW

    await decide(desk, dispute_id, won=False)

    assert await follow(connection, desk.charges, paid.id) is ReversalOutcome.NOTHING_NEW
    assert await additional(connection, paid.team) == 1_000


async def test_a_refund_and_a_dispute_of_one_payment_are_netted(connection: Connection, desk: Desk) -> None:
    paid = await a_payment(connection, desk)
    await refund(desk, paid, 1_500)
    dispute_id = await dispute(desk, paid)
    await follow(connection, desk.charges, paid.id)
    assert await additional(connection, paid.team) == 0

    await decide(desk, dispute_id, won=True)
    await follow(connection, desk.charges, paid.id)

    assert await additional(connection, paid.team) == 250


async def test_an_old_answer_of_stripes_never_overwrites_a_newer_one(database: str, desk: Desk) -> None:
    async with connected(database) as slow, connected(database) as quick:
        paid = await a_payment(slow, desk)
        await refund(desk, paid, 500)
        await desk.order("faults", route="GET /v1/payment_intents/{id}", do="hold_after", nth=2)
        stuck = asyncio.create_task(follow(slow, desk.charges, paid.id))
        await desk.http.get("/_control/held")  # it has heard of 500, and is slow to say so

        await refund(desk, paid, 1_500)
        await follow(quick, desk.charges, paid.id)
        await desk.order("release")

        assert await stuck is ReversalOutcome.NOTHING_NEW
        assert [fact.refunded_cents for fact in await told(quick, paid) if isinstance(fact, ChargeRefunded)] == [2_000]
        assert await additional(quick, paid.team) == 0


async def test_many_who_hear_of_the_same_refund_at_once_take_it_back_once(database: str, desk: Desk) -> None:
    async with connected(database) as first:
        paid = await a_payment(first, desk)
        await refund(desk, paid, 500)

        async def hear() -> ReversalOutcome:
            async with connected(as_role(database, "worker")) as connection:
                return await follow(connection, desk.charges, paid.id)

        heard = await asyncio.gather(*(hear() for _ in range(10)))

        assert sorted(heard) == [*[ReversalOutcome.NOTHING_NEW] * 9, ReversalOutcome.APPENDED]
        assert await additional(first, paid.team) == 750


async def test_what_is_not_ours_is_left_alone_and_what_is_not_credited_yet_comes_again(
    connection: Connection, desk: Desk
) -> None:
    stranger = await by_hand(desk)
    await refund(desk, stranger)
    assert await follow(connection, desk.charges, stranger) is ReversalOutcome.NOT_OURS
    assert await follow(connection, desk.charges, "pi_unknown") is ReversalOutcome.NOT_OURS

    paid = await charged(desk, await a_team(connection))
    await refund(desk, paid, 500)
    assert await follow(connection, desk.charges, paid.id) is ReversalOutcome.NOT_CREDITED
    await credited(connection, paid, bought(paid))

    assert await follow(connection, desk.charges, paid.id) is ReversalOutcome.APPENDED
    assert await additional(connection, paid.team) == 750


async def test_news_of_a_refund_hold_no_connection_while_stripe_is_silent(
    database: str, connection: Connection, desk: Desk
) -> None:
    paid = await a_payment(connection, desk)
    await refund(desk, paid, 500)
    await desk.order("faults", route="GET /v1/payment_intents/{id}", do="hold_after", times=2)
    news = InboxEvent("evt_1", "charge.refunded", "charge", "ch_1", paid.id, None, None, None, None, 1)
    async with await connect_pool(as_role(database, "worker"), process="test", size=1) as pool:
        working_on_it = asyncio.create_task(work_on(InboxWorker(pool, desk.charges), news))
        for _ in range(2):
            await desk.http.get("/_control/held")
            async with pool.acquire():  # whoever else needs one
                await desk.order("release")
        await working_on_it

    assert await additional(connection, paid.team) == 750


@pytest.mark.parametrize("twist", ["as they come", "double", "reversed", "shuffled"])
async def test_webhooks_in_any_order_and_number_end_at_what_stripe_says(
    twist: str, stack: Stack, database: str, desk: Desk, api: Api
) -> None:
    async with connected(database) as connection, working(stack, database, desk, "projector", "topup"):
        await desk.order("webhooks/address", url=f"{api.url}{PATH}", secret=SECRET)
        if twist != "as they come":
            await desk.order("webhooks", do="double" if twist == "double" else "hold")
        paid, lost = await a_payment(connection, desk), await a_payment(connection, desk)
        await refund(desk, paid, 200)
        await refund(desk, paid, 300)
        won_id, lost_id = await dispute(desk, paid, amount=1_000), await dispute(desk, lost)
        await decide(desk, won_id, won=True)
        await decide(desk, lost_id, won=False)
        if twist in {"reversed", "shuffled"}:
            await desk.order("webhooks/release", order=twist, seed=3)

        await desk.http.get("/_control/webhooks/settled")
        await until(lambda: nothing_waits(connection))

        assert (await additional(connection, paid.team), await additional(connection, lost.team)) == (750, 0)


async def test_a_worker_that_is_killed_over_a_refund_takes_it_back_once(
    stack: Stack, database: str, desk: Desk, api: Api
) -> None:
    async with connected(database) as connection, working(stack, database, desk, "projector"):
        paid = await a_payment(connection, desk)
        await desk.order("webhooks/address", url=f"{api.url}{PATH}", secret=SECRET)
        async with serving("topup", environment(stack, database, desk), crash_at="reversals:told:1") as killed:
            await refund(desk, paid, 500)
            assert await killed.ended() == -9
        await connection.execute("UPDATE stripe_inbox SET look_at = '-infinity' WHERE done_at IS NULL")

        async with working(stack, database, desk, "topup"):
            await until(lambda: nothing_waits(connection))

        assert await additional(connection, paid.team) == 750
        assert len(await told(connection, paid)) == 1


async def nothing_waits(connection: Connection) -> bool:
    """The inbox is empty."""
    return not await connection.fetchval("SELECT count(*) FROM stripe_inbox WHERE done_at IS NULL")


async def test_the_pause_lasts_until_the_last_open_dispute_of_the_team_is_won(
    connection: Connection, desk: Desk
) -> None:
    team = await new_team(connection, desk)
    both = [await a_payment(connection, desk, team) for _ in range(2)]
    disputes = [await dispute(desk, paid) for paid in both]
    for paid in both:
        await follow(connection, desk.charges, paid.id)
    paused = []
    for paid, dispute_id in zip(both, disputes, strict=True):
        await decide(desk, dispute_id, won=True)
        await follow(connection, desk.charges, paid.id)
        paused.append((await read_top_ups(connection, team)).suspension is not None)

    assert paused == [True, False]


async def test_credits_stay_away_while_a_lost_dispute_is_appealed_and_come_back_when_that_is_won(
    connection: Connection, desk: Desk
) -> None:
    paid = await a_payment(connection, desk)
    dispute_id = await dispute(desk, paid)
    await decide(desk, dispute_id, won=False)
    for reviewed in (False, True):
        await desk.order(f"disputes/{dispute_id}/appeal", reviewed=reviewed)
        await follow(connection, desk.charges, paid.id)
        assert await additional(connection, paid.team) == 0

    await decide(desk, dispute_id, won=True)
    await follow(connection, desk.charges, paid.id)

    assert await additional(connection, paid.team) == 1_000


async def test_a_dispute_pauses_top_ups_so_that_the_same_card_is_not_charged_for_what_it_froze(
    stack: Stack, database: str, connection: Connection, desk: Desk
) -> None:
    async with working(stack, database, desk, "projector", "topup"):
        team = await new_team(connection, desk, cool_down_seconds=300)
        paid = await a_payment(connection, desk, team)
        await store(connection, team, [used(1_150)])  # 1,050 are left, more than the threshold
        dispute_id = await dispute(desk, paid)
        await follow(connection, desk.charges, paid.id)

        await until(lambda: has(connection, team, TopUpSkipped))
        assert [fact.reason for fact in await of_type(connection, team, TopUpSkipped)] == ["suspended"]
        assert len(await of_type(connection, team, TopUpSuspended)) == 1

        await decide(desk, dispute_id, won=True)
        await follow(connection, desk.charges, paid.id)

        assert [fact.reason for fact in await of_type(connection, team, TopUpResumed)] == ["the dispute was won"]
        assert len((await desk.books())["charges"]) == 1
