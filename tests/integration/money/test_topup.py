"""Automatic top-ups against the stand-in for Stripe: its own books say whether anybody was charged twice, or for nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from deploy.local.stack import Stack
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import (
    BalanceRecovered,
    CreditsPurchased,
    CreditsToppedUp,
    TopUpActionRequired,
    TopUpFailed,
    TopUpIntentCancelled,
    TopUpRequested,
    TopUpSkipped,
    TopUpSuspended,
)
from services.money.payment_details import PaymentDetail, read_details
from services.money.reconcile.compare import reconcile
from services.money.top_ups.charging import Charging
from services.money.top_ups.log import read_top_ups
from services.money.topup import Worker
from services.read_models.low_balance import judge
from services.runtime.crashpoints import arm
from services.store.connect import Connection, connect_pool
from services.store.lives import StoreUnchecked
from tests.faults.rush import a_worker
from tests.support.desk import (
    Desk,
    a_desk,
    assert_books_agree,
    available,
    environment,
    has,
    leases_over,
    new_team,
    nobody_looks,
    of_type,
    settings,
    working,
)
from tests.support.lives import LOOKED_AT, PROMOTED
from tests.support.payments import a_payment, dispute, follow
from tests.support.serving import as_role, connected, plan, serving, store, used
from tests.support.waiting import until

CREATE, CONFIRM = "POST /v1/payment_intents", "POST /v1/payment_intents/{id}/confirm"
CANCEL = "POST /v1/payment_intents/{id}/cancel"
STEPS = ["topup:requested", "topup:created", "topup:recorded", "topup:confirmed", "topup:credited"]


class Died(Exception):
    """A worker's death at a crash point, where it need not be a process's."""


def die() -> None:
    """Arm a crash point with this."""
    raise Died


@asynccontextmanager
async def attempt_under_way(database: str, desk: Desk, died_at: str) -> AsyncIterator[tuple[Connection, Worker, str]]:
    """A team whose attempt has come as far as a crash point, and who looks at it next."""

    pool = await connect_pool(as_role(database, "worker"), process="test", size=4)
    async with connected(database) as connection, pool:
        team, worker = await new_team(connection, desk, cool_down_seconds=300), a_worker(pool, desk)
        await store(connection, team, [used(300)])
        await judge(connection, team)
        arm(died_at, 1, die)
        with pytest.raises(Died):
            await worker.look_at(team)
        yield connection, worker, team


async def test_usage_that_lowers_the_balance_is_answered_by_one_charge_and_its_credits(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk):
        team = await new_team(connection, desk)
        await store(connection, team, [used(300)])

        await until(lambda: has(connection, team, CreditsToppedUp))

        (request,) = await of_type(connection, team, TopUpRequested)
        assert (request.credits, request.charge_cents) == (500 * MICRO, 500)
        assert await available(connection, team) == 1_400
        await assert_books_agree(connection, desk, team, charges=1)
        (charged,) = (await desk.books())["charges"]
        told = charged["metadata"]
        assert (charged["amount"], charged["currency"], told["team_id"]) == (500, "usd", team)
        assert (told["attempt_id"], told["credits"], told["amount"]) == (request.attempt_id, "500000000", "500")
        assert (told["episode"], told["number"], len(told["mac"])) == (request.ran_low_id, "0", 64)
        assert told["log"] == await connection.fetchval("SELECT value FROM store_constants WHERE name = 'log'")


async def test_a_thousand_usages_of_a_low_team_in_a_moment_are_one_attempt(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk):
        team = await new_team(connection, desk, cool_down_seconds=300)
        for _ in range(10):
            await store(connection, team, [used(3)] * 100)

        await until(lambda: has(connection, team, CreditsToppedUp))
        await asyncio.sleep(1.5)

        await assert_books_agree(connection, desk, team, charges=1)


async def test_what_no_record_announces_the_sweep_finds(stack: Stack, database: str, desk: Desk) -> None:
    async with connected(database) as connection, working(stack, database, desk, "projector", "topup"):
        team = await new_team(connection, desk)
        await store(connection, team, [used(300)])

        await until(lambda: has(connection, team, CreditsToppedUp))
        await assert_books_agree(connection, desk, team, charges=1)


async def test_three_workers_at_once_charge_many_teams_once_each(stack: Stack, database: str, desk: Desk) -> None:
    async with (
        connected(database) as connection,
        working(stack, database, desk),
        working(stack, database, desk, "topup"),
        working(stack, database, desk, "topup"),
    ):
        teams = [await new_team(connection, desk, cool_down_seconds=300) for _ in range(20)]
        for team in teams:
            await store(connection, team, [used(300)])

        for team in teams:
            await until(lambda team=team: has(connection, team, CreditsToppedUp))  # type: ignore[misc]
        await asyncio.sleep(1)

        books = await desk.books()
        assert sorted(charge["metadata"]["team_id"] for charge in books["charges"]) == sorted(teams)


@pytest.mark.parametrize(
    ("step", "away"),
    [
        *((step, timedelta(0)) for step in STEPS),
        ("topup:created", timedelta(hours=25)),
        ("topup:confirmed", timedelta(days=8)),
    ],
)
async def test_a_worker_that_is_killed_charges_once_when_it_comes_back(
    step: str, away: timedelta, stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk, "projector"):
        team = await new_team(connection, desk, cool_down_seconds=300)
        async with serving("topup", environment(stack, database, desk), crash_at=f"{step}:1") as killed:
            await store(connection, team, [used(300)])
            assert await killed.ended() == -9
        await desk.order("clock", advance_seconds=int(away.total_seconds()))
        await leases_over(connection)

        async with working(stack, database, desk, "topup"):
            await until(lambda: has(connection, team, CreditsToppedUp))
            await asyncio.sleep(0.5)

        await assert_books_agree(connection, desk, team, charges=1)


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        *((CREATE, fault) for fault in ("reset_after", "error_before", "error_after", "busy")),
        *(
            (CONFIRM, fault)
            for fault in ("reset_before", "reset_after", "error_before", "error_after", "gateway_after", "conflict")
        ),
    ],
)
async def test_an_answer_that_does_not_come_is_asked_for_and_never_leads_to_another_attempt(
    route: str, fault: str, stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk, "projector", "topup"):
        team = await new_team(connection, desk, cool_down_seconds=300)
        await desk.order("faults", route=route, do=fault, times=2)
        await store(connection, team, [used(300)])

        await until(lambda: has(connection, team, CreditsToppedUp))

        await assert_books_agree(connection, desk, team, charges=1)
        assert len(await of_type(connection, team, TopUpRequested)) == 1


async def test_in_a_life_of_the_server_that_nobody_has_looked_at_no_intent_is_confirmed(
    database: str, desk: Desk
) -> None:
    async with attempt_under_way(database, desk, "topup:recorded") as (connection, worker, team):
        await connection.execute(PROMOTED)
        with pytest.raises(StoreUnchecked):
            await worker.charging.go_on(team)
        assert [intent["status"] for intent in (await desk.books())["payment_intents"]] == ["requires_confirmation"]

        await connection.execute(LOOKED_AT)
        await leases_over(connection)
        await worker.look_at(team)

        await assert_books_agree(connection, desk, team, charges=1)


async def test_a_worker_that_lost_its_lease_at_stripe_neither_charges_nor_credits_again(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk, "projector"):
        team = await new_team(connection, desk, cool_down_seconds=300)
        async with serving("topup", environment(stack, database, desk), crash_at="topup:recorded:1") as killed:
            await store(connection, team, [used(300)])
            assert await killed.ended() == -9
        await leases_over(connection)
        pool = await connect_pool(as_role(database, "worker"), process="test", size=4)
        async with pool:
            slow, quick = (Charging(pool, desk.charges, load_catalog(), owner) for owner in ("slow", "quick"))
            await desk.order("faults", route="GET /v1/payment_intents/{id}", do="hold_after")
            stuck = asyncio.create_task(slow.go_on(team))
            await desk.http.get("/_control/held")
            await leases_over(connection)

            await quick.go_on(team)
            await desk.order("release")
            await stuck

        await assert_books_agree(connection, desk, team, charges=1)


async def test_a_dead_card_is_asked_three_times_and_then_no_more_until_another_comes(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk):
        team = await new_team(connection, desk, card="pm_card_chargeCustomerFail")
        await store(connection, team, [used(300)])

        await until(lambda: has(connection, team, TopUpSkipped))
        failures = await of_type(connection, team, TopUpFailed)
        assert [fact.reason for fact in failures] == ["declined_retry_later"] * 3
        assert await has(connection, team, TopUpSuspended)
        assert [fact.reason for fact in await of_type(connection, team, TopUpSkipped)] == ["suspended"]
        await assert_books_agree(connection, desk, team, charges=0)

        await store(connection, team, [await desk.card(team, "pm_card_mastercard")])
        await until(lambda: has(connection, team, CreditsToppedUp))
        await assert_books_agree(connection, desk, team, charges=1)


async def test_somebody_who_pays_by_hand_ends_the_pause(stack: Stack, database: str, desk: Desk) -> None:
    async with connected(database) as connection, working(stack, database, desk):
        team = await new_team(connection, desk, card="pm_card_chargeCustomerFail")
        await store(connection, team, [used(1_100)])
        await until(lambda: has(connection, team, TopUpSuspended))
        await desk.order("outcomes", outcome="succeeded", times=1)

        await store(
            connection,
            team,
            [CreditsPurchased(credits=MICRO, pack="mini", payment_intent_id="pi", charge_cents=1, currency="usd")],
        )

        await until(lambda: has(connection, team, CreditsToppedUp))


@pytest.mark.parametrize("first", ["worker", "reconciliation"])
async def test_a_paid_attempt_is_answered_by_the_same_fact_whoever_sees_the_money_first(
    first: str, database: str, desk: Desk
) -> None:
    async with attempt_under_way(database, desk, "topup:confirmed") as (connection, worker, team):
        (request,) = await of_type(connection, team, TopUpRequested)

        async def reconciled() -> int:
            return len((await reconcile(connection, desk.charges, heal=True, settle_seconds=())).healed)

        if first == "worker":
            await worker.look_at(team)
            assert await reconciled() == 0
        else:
            assert await reconciled() == 1
            await worker.look_at(team)

        (made,) = (await desk.books())["payment_intents"]
        intent = await desk.charges.retrieve(made["id"])
        assert intent.charge_id
        assert intent.receipt_url
        assert intent.paid_at is not None
        assert await of_type(connection, team, CreditsToppedUp) == [
            CreditsToppedUp(
                credits=500 * MICRO, attempt_id=request.attempt_id, payment_intent_id=intent.id, charge_cents=500,
                currency="usd", charge_id=intent.charge_id, paid_at=intent.paid_at,
            )
        ]  # fmt: skip
        details = await read_details(connection, team, [intent.id])
        assert details == {intent.id: PaymentDetail(receipt_url=intent.receipt_url)}, "beside the log"
        await assert_books_agree(connection, desk, team, charges=1)


async def test_money_for_an_attempt_that_was_taken_for_failed_meanwhile_is_credited_by_whoever_sees_it(
    database: str, desk: Desk
) -> None:
    async with attempt_under_way(database, desk, "topup:recorded") as (connection, worker, team):
        attempt = (await read_top_ups(connection, team)).open
        assert attempt is not None
        await desk.order("faults", route=CONFIRM, do="hold_before")
        looking = asyncio.create_task(worker.look_at(team))
        await desk.http.get("/_control/held")
        failed = TopUpFailed(attempt_id=attempt.attempt_id, reason="declined_needs_card", next_try_at=datetime.now(UTC))
        await store(connection, team, [failed])
        await desk.order("release")
        await looking

        (credit,) = await of_type(connection, team, CreditsToppedUp)
        assert credit.attempt_id == attempt.attempt_id
        await assert_books_agree(connection, desk, team, charges=1)


async def test_a_cancel_that_was_refused_while_the_bank_thought_about_it_is_said_again_and_not_without_end(
    database: str, desk: Desk
) -> None:
    async with attempt_under_way(database, desk, "topup:recorded") as (connection, worker, team):
        await store(connection, team, [settings(enabled=False)])
        (made,) = (await desk.books())["payment_intents"]
        await desk.order("faults", route=CANCEL, do="hold_before")
        await desk.order("outcomes", outcome="processing")
        looking = asyncio.create_task(worker.look_at(team))
        await desk.http.get("/_control/held")
        await desk.charges.confirm(made["id"], attempt_id=uuid4(), try_number=1)  # as its owner did a moment ago
        await desk.order("release")
        await looking
        await desk.order(f"payment_intents/{made['id']}/settle", outcome="insufficient_funds")

        for _ in range(2):
            await worker.look_at(team)

        assert [fact.reason for fact in await of_type(connection, team, TopUpFailed)] == ["declined_retry_later"]
        assert len((await desk.http.get("/_control/requests")).json()) < 20
        await assert_books_agree(connection, desk, team, charges=0)


async def test_a_charge_that_stripe_takes_with_no_card_ends_the_attempt_and_is_told(database: str, desk: Desk) -> None:
    async with attempt_under_way(database, desk, "topup:requested") as (connection, worker, team):
        await desk.order("faults", route=CREATE, do="wrong")

        await worker.look_at(team)

        (failed,) = await of_type(connection, team, TopUpFailed)
        assert failed.reason == "refused"
        assert "at least $0.50" in (failed.message or "")
        assert not await has(connection, team, TopUpSuspended)
        state = await read_top_ups(connection, team)
        assert state.point is not None
        assert state.point.at == failed.next_try_at  # an hour later at the earliest, not at each end of the cool-down
        assert state.cool_until - failed.next_try_at == timedelta(0)
        await assert_books_agree(connection, desk, team, charges=0)


async def test_what_stripe_will_not_confirm_for_another_reason_than_the_card_ends_no_attempt_and_pauses_nobody(
    database: str, desk: Desk
) -> None:
    async with attempt_under_way(database, desk, "topup:requested") as (connection, worker, team):
        await desk.order("faults", route=CONFIRM, do="wrong")
        await worker.look_at(team)
        assert (await read_top_ups(connection, team)).open is not None
        assert not await has(connection, team, TopUpFailed)

        await worker.look_at(team)

        await assert_books_agree(connection, desk, team, charges=1)


async def test_under_the_key_of_another_account_attempts_stay_open_and_end_under_the_right_one(
    database: str, desk: Desk
) -> None:
    async with (
        attempt_under_way(database, desk, "topup:requested") as (connection, worker, team),
        a_desk(seed=2) as another,
    ):
        stranger = replace(worker.charging, charges=another.charges)

        await stranger.go_on(team)

        assert (await read_top_ups(connection, team)).open is not None
        assert not await has(connection, team, TopUpFailed)
        await worker.look_at(team)
        await assert_books_agree(connection, desk, team, charges=1)


@pytest.mark.parametrize("gone", ["card", "customer"])
async def test_a_card_that_is_gone_at_stripe_ends_the_attempt_and_pauses_until_there_is_another(
    gone: str, database: str, desk: Desk
) -> None:
    async with attempt_under_way(database, desk, "topup:requested") as (connection, worker, team):
        card = (await read_top_ups(connection, team)).card
        assert card is not None
        if gone == "card":
            await desk.http.post(f"/v1/payment_methods/{card.payment_method_id}/detach")
        else:
            await desk.http.delete(f"/v1/customers/{card.customer_id}")

        await worker.look_at(team)

        assert [fact.reason for fact in await of_type(connection, team, TopUpFailed)] == ["declined_needs_card"]
        assert await has(connection, team, TopUpSuspended)
        await assert_books_agree(connection, desk, team, charges=0)


async def test_a_no_that_comes_before_any_bank_was_asked_is_a_no(database: str, desk: Desk) -> None:
    async with attempt_under_way(database, desk, "topup:requested") as (connection, worker, team):
        await desk.order("faults", route=CREATE, do="declined")

        await worker.look_at(team)

        assert [fact.reason for fact in await of_type(connection, team, TopUpFailed)] == ["declined_retry_later"]


async def test_of_two_intents_of_one_attempt_one_is_paid_and_the_other_cancelled_whenever_the_worker_dies(
    database: str, desk: Desk
) -> None:
    async with attempt_under_way(database, desk, "topup:created") as (connection, worker, team):
        attempt = (await read_top_ups(connection, team)).open
        assert attempt is not None
        await desk.charges.create_intent(  # as after a key that was spent, or forgotten
            attempt_id=UUID(attempt.attempt_id), team_id=team, customer_id=attempt.customer_id,
            payment_method_id=attempt.payment_method_id, charge_cents=500, currency="usd", try_number=2,
        )  # fmt: skip
        arm("topup:recorded", 1, die)
        with pytest.raises(Died):
            await worker.look_at(team)

        await worker.look_at(team)

        await assert_books_agree(connection, desk, team, charges=1)
        assert [intent["status"] for intent in (await desk.books())["payment_intents"]] == ["succeeded", "canceled"]
        assert await has(connection, team, TopUpIntentCancelled)


async def test_a_dispute_stops_an_attempt_that_is_under_way(database: str, desk: Desk) -> None:
    async with attempt_under_way(database, desk, "topup:recorded") as (connection, worker, team):
        paid = await a_payment(connection, desk, team)
        await dispute(desk, paid)
        await follow(connection, desk.charges, paid.id)

        await worker.look_at(team)

        assert [fact.reason for fact in await of_type(connection, team, TopUpFailed)] == ["cancelled"]
        assert [intent["status"] for intent in (await desk.books())["payment_intents"]] == ["canceled", "succeeded"]


async def test_processing_is_not_success_and_is_credited_when_it_succeeds(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk):
        team = await new_team(connection, desk, cool_down_seconds=300)
        await desk.order("outcomes", outcome="processing")
        await store(connection, team, [used(300)])

        async def is_processing() -> dict[str, Any] | None:
            intents = (await desk.books())["payment_intents"]
            return next((intent for intent in intents if intent["status"] == "processing"), None)

        intent = await until(is_processing)
        assert intent is not None
        await asyncio.sleep(1)
        assert not await has(connection, team, CreditsToppedUp)

        await desk.order(f"payment_intents/{intent['id']}/settle", outcome="succeeded")
        await until(lambda: has(connection, team, CreditsToppedUp))
        await assert_books_agree(connection, desk, team, charges=1)


async def test_a_bank_that_wants_its_owner_asked_ends_no_attempt_and_starts_no_other(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk):
        team = await new_team(connection, desk, card="pm_card_authenticationRequired")
        await store(connection, team, [used(300)])

        await until(lambda: has(connection, team, TopUpActionRequired))
        await asyncio.sleep(1.5)

        assert len(await of_type(connection, team, TopUpRequested)) == 1
        assert len(await of_type(connection, team, TopUpActionRequired)) == 1
        assert (await read_top_ups(connection, team)).open is not None

        # Nobody confirms for days: the intent is cancelled, and the attempt is over.
        await nobody_looks(connection, team)
        await connection.execute(
            "UPDATE top_up_attempts SET asked_at = asked_at - interval '2 days', look_at = '-infinity'"
        )
        await until(lambda: has(connection, team, TopUpFailed))
        (failure, *_) = await of_type(connection, team, TopUpFailed)
        assert failure.reason == "declined_needs_authentication"


async def test_an_attempt_that_waited_while_the_balance_recovered_is_not_charged(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk, "projector"):
        team = await new_team(connection, desk)
        async with serving("topup", environment(stack, database, desk), crash_at="topup:recorded:1") as killed:
            await store(connection, team, [used(300)])
            assert await killed.ended() == -9
        bought = CreditsPurchased(
            credits=5_000 * MICRO, pack="standard", payment_intent_id="pi_hand", charge_cents=4_800, currency="usd"
        )
        await store(connection, team, [bought])
        await until(lambda: recovered(connection, team))
        await leases_over(connection)

        async with working(stack, database, desk, "topup"):
            await until(lambda: has(connection, team, TopUpFailed))

        (failure,) = await of_type(connection, team, TopUpFailed)
        assert failure.reason == "cancelled"
        await assert_books_agree(connection, desk, team, charges=0)


async def recovered(connection: Connection, team: str) -> bool:
    """The episode is over."""
    return (await read_top_ups(connection, team)).episode is None


async def test_without_a_card_or_within_the_caps_nothing_stops_in_silence(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection, working(stack, database, desk):
        nobody = f"team_{uuid4().hex}"
        await store(connection, nobody, [plan(1_200), settings(), used(300)])
        capped = await new_team(connection, desk, monthly_cap_cents=400)
        await store(connection, capped, [used(300)])

        for team, reason in ((nobody, "no_payment_method"), (capped, "cap_money")):
            await until(lambda team=team: has(connection, team, TopUpSkipped))  # type: ignore[misc]
            assert [fact.reason for fact in await of_type(connection, team, TopUpSkipped)] == [reason]
        assert (await desk.books())["charges"] == []


async def test_a_saved_fold_that_is_lost_changes_nothing(stack: Stack, database: str, desk: Desk) -> None:
    async with connected(database) as connection, working(stack, database, desk):
        team = await new_team(connection, desk, cool_down_seconds=300)
        await store(connection, team, [used(300)])
        await until(lambda: has(connection, team, BalanceRecovered))
        before = await read_top_ups(connection, team)

        await connection.execute("DELETE FROM top_ups")

        assert await read_top_ups(connection, team) == before
