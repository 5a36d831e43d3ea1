"""Nothing repeats for ever in silence: every attempt, page and event has an end, however badly the world behaves, and says it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import CreditsPurchased, CreditsToppedUp, TopUpFailed
from services.audit.replay import ReplayScope, replay
from services.money.checkout import rows as checkouts
from services.money.checkout.rows import CheckoutRow
from services.money.inbox import InboxWorker, look_at, work_on
from services.money.inbox_rows import InboxEvent, keep_news, take_news
from services.money.reconcile.compare import reconcile
from services.money.top_ups.attempts import reopen
from services.money.top_ups.log import read_top_ups
from services.publishing.webhooks import DELAYS
from services.runtime.errors import Unavailable
from services.store.connect import Connection
from tests.support.desk import Desk, has, leases_over, new_team, of_type
from tests.support.serving import connected
from tests.support.two_lives import Life, a_life

CREATE, LIST = "POST /v1/payment_intents", "GET /v1/payment_intents"
RETRIEVE, CONFIRM = "GET /v1/payment_intents/{id}", "POST /v1/payment_intents/{id}/confirm"

# Whatever is looked at again by time alone, and the test here that sees its end.
REPEATS = {
    "top_up_attempts": "test_an_attempt_that_nobody_decides_ends_after_two_weeks_and_says_it",
    "checkouts": "test_a_page_of_which_nothing_comes_is_looked_at_for_a_month",
    "stripe_inbox": "test_an_event_that_can_never_be_followed_is_given_up_after_a_month",
    "notices": "test_a_notice_that_nobody_takes_has_a_last_try",
}
BY_DESIGN = {"top_ups", "reconciliations"}  # a decision that is due is a fact each time; a schedule has no end


async def test_whatever_is_tried_again_has_a_test_of_its_end(connection: Connection) -> None:
    rows = await connection.fetch(
        "SELECT DISTINCT table_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND column_name IN ('look_at', 'due_at', 'tries', 'looks')"
    )

    assert {row["table_name"] for row in rows} == REPEATS.keys() | BY_DESIGN
    assert all(name in globals() for name in REPEATS.values())


@asynccontextmanager
async def a_team_that_is_low(database: str, desk: Desk) -> AsyncIterator[tuple[Life, str]]:
    async with connected(database) as connection:
        team = await new_team(connection, desk, cool_down_seconds=300)
    async with a_life(database, desk) as life:
        await life.runs_low(team)
        yield life, team


async def two_weeks_pass(life: Life) -> None:
    await life.connection.execute("UPDATE top_up_attempts SET requested_at = requested_at - interval '15 days'")
    await leases_over(life.connection)


@pytest.mark.parametrize("wrong", ["processing", CREATE, LIST, CONFIRM, RETRIEVE])
async def test_an_attempt_that_nobody_decides_ends_after_two_weeks_and_says_it(
    wrong: str, database: str, desk: Desk
) -> None:
    async with a_team_that_is_low(database, desk) as (life, team):
        if wrong == "processing":
            await desk.order("outcomes", outcome="processing")
        elif wrong == CONFIRM:
            await desk.order("faults", route=wrong, do="wrong", times=1_000)
        else:
            await desk.order("faults", route=wrong, do="gateway_before", times=1_000)
            await desk.order("faults", route=CONFIRM, do="gateway_before", times=1_000)
        await life.worker.look_at(team)
        assert (await read_top_ups(life.connection, team)).open is not None

        await two_weeks_pass(life)
        await life.worker.look_at(team)

        assert [fact.reason for fact in await life.of_type(team, TopUpFailed)] == ["gave_up"]
        state = await read_top_ups(life.connection, team)
        assert state.open is None
        assert state.suspension is None
        assert not await life.connection.fetchval("SELECT count(*) FROM top_up_attempts WHERE ended_at IS NULL")


async def test_money_that_comes_after_all_is_credited_and_nothing_is_charged_beside_it(
    database: str, desk: Desk
) -> None:
    async with a_team_that_is_low(database, desk) as (life, team):
        await desk.order("outcomes", outcome="processing")
        await life.worker.look_at(team)
        await two_weeks_pass(life)
        await life.worker.look_at(team)
        await life.connection.execute("UPDATE top_ups SET due_at = '-infinity'")
        (intent,) = (await desk.books())["payment_intents"]

        await desk.order(f"payment_intents/{intent['id']}/settle", outcome="succeeded")
        report = await reconcile(life.connection, desk.charges, heal=True, settle_seconds=())

        assert len(report.healed) == 1
        (credited,) = await life.of_type(team, CreditsToppedUp)
        assert credited.payment_intent_id == intent["id"]
        assert len((await desk.books())["charges"]) == 1


def a_page(team: str) -> CheckoutRow:
    return CheckoutRow(
        team, uuid4(), "payment", "", "mem_ada", "https://host.example/", "mini", "Mini", 2_000 * MICRO, 2_000, "usd",
        keeps_card=False, taxed=False,
    )  # fmt: skip


@pytest.mark.parametrize("wrong", ["processing", "silence"])
async def test_a_page_of_which_nothing_comes_is_looked_at_for_a_month(wrong: str, database: str, desk: Desk) -> None:
    async with a_team_that_is_low(database, desk) as (life, team):
        record = await life.buys(a_page(team))
        await desk.order("outcomes", outcome="processing")
        await desk.http.post(record.url or "", data={"action": "pay", "card": "pm_card_visa"})
        if wrong == "silence":
            await desk.order("faults", route="GET /v1/checkout/sessions/{id}", do="gateway_before", times=2)
        worker = InboxWorker(life.worker.pool, desk.charges)
        for age in ("29 days", "2 days"):
            await life.connection.execute(f"UPDATE checkouts SET asked_at = asked_at - interval '{age}'")
            try:
                await look_at(worker, record)
            except Unavailable:
                assert wrong == "silence"

        after = await checkouts.read(life.connection, team, record.id)
        assert after is not None
        assert (after.state, (after.detail or "")[:8]) == ("failed", "given up")
        assert await life.connection.fetchval("SELECT count(look_at) FROM checkouts") == 0

        (intent,) = (await desk.books())["payment_intents"]
        await desk.order(f"payment_intents/{intent['id']}/settle", outcome="succeeded")
        await reconcile(life.connection, desk.charges, heal=True, settle_seconds=())
        assert await has(life.connection, team, CreditsPurchased)


async def test_an_event_that_can_never_be_followed_is_given_up_after_a_month(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with a_team_that_is_low(database, desk) as (life, team):
        customer = await of_team_customer(life, team)
        news = InboxEvent("evt_1", "customer.updated", "customer", customer, None, None, customer, None, None)
        await keep_news(life.connection, news, await life.connection.fetchval("SELECT now()"))
        await desk.order("faults", route="GET /v1/customers/{id}", do="gateway_before", times=2)
        worker = InboxWorker(life.worker.pool, desk.charges)
        seen = []
        for age in ("29 days", "2 days"):
            await life.connection.execute(
                f"UPDATE stripe_inbox SET look_at = '-infinity', received_at = received_at - interval '{age}'"
            )
            (taken,) = await take_news(life.connection, 1)
            await work_on(worker, taken)
            seen.append(await life.connection.fetchval("SELECT outcome FROM stripe_inbox WHERE done_at IS NOT NULL"))

        assert seen == [None, "given up: no_answer"] or (seen[0] is None and seen[1].startswith("given up: "))


async def of_team_customer(life: Life, team: str) -> str:
    """What Stripe calls the team, remembered as its page would have."""
    card = (await read_top_ups(life.connection, team)).card
    assert card is not None
    await life.connection.execute(
        "INSERT INTO stripe_customers (shard, team_id, customer_id) SELECT shard, team_id, $2 FROM teams WHERE team_id = $1",
        team, card.customer_id,
    )  # fmt: skip
    return card.customer_id


def test_a_notice_that_nobody_takes_has_a_last_try() -> None:
    assert 0 < len(DELAYS) < 100  # the tries themselves are seen in publishing/test_notices.py


async def test_a_refused_charge_is_asked_for_again_after_an_hour_at_the_earliest(database: str, desk: Desk) -> None:
    async with a_team_that_is_low(database, desk) as (life, team):
        await desk.order("faults", route=CREATE, do="wrong", times=100)
        for _ in range(5):
            await life.worker.look_at(team)

        assert len(await of_type(life.connection, team, TopUpFailed)) == 1


@pytest.mark.parametrize("heard", ["a fact", "news of Stripe's"])
async def test_an_attempt_whose_row_somebody_has_set_to_ended_goes_on_with_the_next_that_is_heard(
    heard: str, database: str, desk: Desk
) -> None:
    async with a_team_that_is_low(database, desk) as (life, team):
        await life.dies_at(team, "topup:recorded")
        await life.connection.execute("UPDATE top_up_attempts SET ended_at = clock_timestamp()")
        (difference,) = (await replay(life.connection, ReplayScope(team))).differences
        assert (difference.table, difference.column) == ("top_up_attempts", "open")

        if heard == "a fact":
            await life.worker.look_at(team)
        else:
            intent_id = (await desk.books())["payment_intents"][0]["id"]
            async with life.worker.pool.acquire() as connection, connection.transaction():
                assert await reopen(connection, intent_id)
        await leases_over(life.connection)
        await life.worker.look_at(team)

        assert await has(life.connection, team, CreditsToppedUp)
        async with life.worker.pool.acquire() as connection, connection.transaction():
            assert not await reopen(connection, (await desk.books())["payment_intents"][0]["id"])
