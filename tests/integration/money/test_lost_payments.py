"""A store that went back in time never charges twice for what it has forgotten, and never leaves money without credits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import (
    CreditsAdjusted,
    CreditsPurchased,
    CreditsToppedUp,
    PurchaseRequested,
    TopUpFailed,
    TopUpIntentCancelled,
    TopUpIntentCreated,
    TopUpRequested,
    TopUpResumed,
    TopUpSuspended,
)
from services.audit.replay import ReplayScope, replay
from services.money.checkout.rows import CheckoutRow
from services.money.reconcile.breaks import BreakKind
from services.money.reconcile.compare import reconcile
from services.money.top_ups.log import read_top_ups
from services.read_models.low_balance import judge
from services.store.connect import Connection
from tests.faults.rush import a_worker
from tests.support.desk import Desk, assert_books_agree, available, has, leases_over, new_team, settings
from tests.support.payments import Paid, dispute, refund
from tests.support.serving import connected, store, used
from tests.support.two_lives import Life, a_copy, a_life

LIST = "GET /v1/payment_intents"
CREATE = "POST /v1/payment_intents"
CANCEL = "POST /v1/payment_intents/{id}/cancel"


@asynccontextmanager
async def forgotten(
    stack: Stack, database: str, desk: Desk, *, usages: tuple[int, ...] = (300,), card: str = "pm_card_visa"
) -> AsyncIterator[tuple[Life, str]]:
    """A team that ran low and was charged, and its store as it was before."""
    async with connected(database) as connection:
        team = await new_team(connection, desk, card=card, cool_down_seconds=300)
    async with a_copy(stack, database) as copy:
        async with a_life(database, desk) as first:
            await first.is_charged(team, *usages)
        async with a_life(copy, desk) as second:
            yield second, team


def page_for(team: str, *, pack: str = "mini") -> CheckoutRow:
    """A purchase of a Mini pack, as an admin would ask for it."""
    return CheckoutRow(
        team, uuid4(), "payment", "", "mem_ada", "https://host.example/", pack, "Mini", 2_000 * MICRO, 2_000, "usd",
        keeps_card=False, taxed=False,
    )  # fmt: skip


async def pay(desk: Desk, record: CheckoutRow, card: str = "pm_card_visa") -> None:
    """A person on Stripe's page."""
    assert record.url is not None
    pressed = await desk.http.post(record.url, data={"action": "pay", "card": card})
    assert pressed.status_code in (303, 402), pressed.text  # paid, or declined


async def intents(desk: Desk) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = (await desk.books())["payment_intents"]
    return made


async def edit(desk: Desk, intent_id: str, **metadata: str) -> None:
    """Somebody changes what stands upon an intent, in Stripe's dashboard."""
    form = {f"metadata[{name}]": text for name, text in metadata.items()}
    answer = await desk.http.post(f"/v1/payment_intents/{intent_id}", data=form)
    assert answer.is_success, answer.text


OF_MONEY = ("attempt", "purchase", "charge", "checkouts", "was not the card", "cool-down")


async def money_that_follows_from_nothing(connection: Connection) -> list[str]:
    """What the audit says of payments; usage and plans of these tests were never priced."""
    replayed = await replay(connection, ReplayScope(audit=True))
    said = map(str, (*replayed.findings, *replayed.differences))
    return [one for one in said if any(word in one for word in OF_MONEY)]


# The balance crosses the threshold at another usage than before, by another amount, or just as before.
@pytest.mark.parametrize("usages", [(300,), (150, 60, 90), (201,), (900,)])
async def test_what_was_charged_before_the_store_went_back_is_credited_and_not_charged_again(
    usages: tuple[int, ...], stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        (request,) = await intents(desk)
        await life.is_charged(team, *usages)
        await life.worker.look_at(team)

        (credited,) = await life.of_type(team, CreditsToppedUp)
        assert (credited.payment_intent_id, credited.credits) == (request["id"], 500 * MICRO)
        assert credited.paid_at is not None
        assert await available(life.connection, team) == 1_200 - sum(usages) + 500
        await assert_books_agree(life.connection, desk, team, charges=1)


async def test_a_payment_that_was_found_is_requested_created_and_credited_at_once_after_the_attempt_gave_way(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        (paid,) = await intents(desk)
        await life.is_charged(team, 150, 60, 90)

        ours, found = await life.of_type(team, TopUpRequested)
        (given_up,) = await life.of_type(team, TopUpFailed)
        assert (given_up.attempt_id, given_up.reason) == (ours.attempt_id, "payment_found")
        told = paid["metadata"]
        assert (found.attempt_id, found.ran_low_id, found.attempt) == (told["attempt_id"], told["episode"], 0)
        assert (found.credits, found.charge_cents) == (500 * MICRO, 500)
        made = [(fact.attempt_id, fact.payment_intent_id) for fact in await life.of_type(team, TopUpIntentCreated)]
        assert made[-1] == (found.attempt_id, paid["id"])
        state = await read_top_ups(life.connection, team)
        assert sum(reserved.cents for reserved in state.reserved.values()) == 500
        assert [one["status"] for one in await intents(desk)] == ["succeeded", "canceled"]
        assert await money_that_follows_from_nothing(life.connection) == []


async def test_many_payments_are_listed_page_by_page_and_the_one_that_is_lost_is_found(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        state = await read_top_ups(life.connection, team)
        assert state.card is not None
        for _ in range(120):  # of another log, at the same account
            await desk.charges.create_intent(
                attempt_id=uuid4(), team_id=team, customer_id=state.card.customer_id,
                payment_method_id=state.card.payment_method_id, charge_cents=500, currency="usd",
                metadata={"log": "another"},
            )  # fmt: skip

        await life.is_charged(team, 150, 60, 90)

        (credited,) = await life.of_type(team, CreditsToppedUp)
        assert credited.payment_intent_id == (await intents(desk))[0]["id"]
        asked = [entry for entry in (await desk.http.get("/_control/requests")).json() if entry["route"] == LIST]
        assert [entry["params"].get("starting_after") is None for entry in asked[-2:]] == [True, False]
        assert all(one["status"] == "requires_confirmation" for one in (await intents(desk))[1:121])


async def test_a_payment_that_was_lost_is_found_after_a_day_too_when_stripe_has_forgotten_every_key(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        await desk.order("clock", advance_seconds=25 * 3_600)

        await life.is_charged(team)

        await assert_books_agree(life.connection, desk, team, charges=1)


async def test_a_lost_payment_is_credited_though_somebody_bought_a_pack_meanwhile(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        record = await life.buys(page_for(team))
        await pay(desk, record)
        await life.is_charged(team, 150, 60, 2_090)  # more than the pack

        (bought,) = await life.of_type(team, CreditsPurchased)
        (credited,) = await life.of_type(team, CreditsToppedUp)
        assert (bought.credits, credited.credits) == (2_000 * MICRO, 500 * MICRO)
        charged = [charge["payment_intent"] for charge in (await desk.books())["charges"]]
        assert sorted(charged) == sorted([bought.payment_intent_id, credited.payment_intent_id])
        assert await has(life.connection, team, TopUpFailed)


async def test_a_purchase_that_was_lost_is_credited_as_it_was_asked_for(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, desk, cool_down_seconds=300)
    async with a_copy(stack, database) as copy:
        async with a_life(database, desk) as first:
            await pay(desk, await first.buys(page_for(team)))
        async with a_life(copy, desk) as second:
            await second.is_charged(team)

            (bought,) = await second.of_type(team, CreditsPurchased)
            (charge,) = (await desk.books())["charges"]
            assert (bought.payment_intent_id, bought.credits, bought.pack) == (
                charge["payment_intent"], 2_000 * MICRO, "mini",
            )  # fmt: skip
            assert (bought.charge_cents, bought.charge_id is not None, bought.paid_at is not None) == (
                2_000,
                True,
                True,
            )
            assert [fact.reason for fact in await second.of_type(team, TopUpFailed)] == ["payment_found"]
            (sold,) = await second.of_type(team, PurchaseRequested)
            assert (sold.purchase_id, sold.found_payment) == (bought.purchase_id, bought.payment_intent_id)
            assert await money_that_follows_from_nothing(second.connection) == []


async def test_where_top_ups_are_switched_off_meanwhile_what_was_paid_is_credited_all_the_same(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        await life.runs_low(team, 150, 60, 90)
        await life.dies_at(team, "topup:requested")
        await store(life.connection, team, [settings(enabled=False)])

        await life.worker.look_at(team)

        assert await has(life.connection, team, CreditsToppedUp)
        assert len(await intents(desk)) == 1  # nothing was created for the attempt that nobody wants
        await assert_books_agree(life.connection, desk, team, charges=1)


async def test_of_two_workers_that_look_at_the_same_moment_one_gives_the_credits(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        await life.runs_low(team, 150, 60, 90)
        await desk.order("faults", route=LIST, do="hold_after", times=2)
        other = a_worker(life.worker.pool, desk)
        slow = asyncio.create_task(life.worker.look_at(team))
        await desk.http.get("/_control/held")
        await leases_over(life.connection)
        quick = asyncio.create_task(other.look_at(team))
        await desk.http.get("/_control/held", params={"count": 2})
        await desk.order("release")
        await asyncio.gather(slow, quick)
        await leases_over(life.connection)
        await life.worker.look_at(team)

        assert len(await life.of_type(team, CreditsToppedUp)) == 1
        await assert_books_agree(life.connection, desk, team, charges=1)


@pytest.mark.parametrize("died_at", ["topup:looked", "topup:gave_way", "topup:adopting"])
async def test_whoever_dies_over_what_was_found_is_followed_by_somebody_who_finds_it_too(
    died_at: str, stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        await store(life.connection, team, [settings(cool_down_seconds=0)])
        await life.runs_low(team, 150, 60, 90)
        await life.dies_at(team, died_at)
        assert not await has(life.connection, team, CreditsToppedUp)

        for _ in range(2):  # whose intent was cancelled already is decided anew, and finds the same
            await life.worker.look_at(team)

        await assert_books_agree(life.connection, desk, team, charges=1)


async def test_a_lost_payment_that_waits_for_its_owner_is_cancelled_and_another_charge_made(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk, card="pm_card_authenticationRequired") as (life, team):
        (lost,) = await intents(desk)
        await store(life.connection, team, [await desk.card(team, "pm_card_visa")])

        await life.is_charged(team, 150, 60, 90)

        assert [one["status"] for one in await intents(desk)] == ["canceled", "succeeded"]
        (cancelled,) = await life.of_type(team, TopUpIntentCancelled)
        assert (cancelled.payment_intent_id, cancelled.attempt_id) == (lost["id"], lost["metadata"]["attempt_id"])
        await assert_books_agree(life.connection, desk, team, charges=1)


async def test_a_lost_payment_that_is_paid_while_it_is_cancelled_is_credited_and_nothing_else_charged(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk, card="pm_card_authenticationRequired") as (life, team):
        (lost,) = await intents(desk)
        await life.runs_low(team, 150, 60, 90)
        await desk.order("faults", route=CANCEL, do="hold_before")
        looking = asyncio.create_task(life.worker.look_at(team))
        await desk.http.get("/_control/held")
        card = (await read_top_ups(life.connection, team)).card
        assert card is not None
        asked = await desk.patient.confirm(  # its owner, who was on the bank's page all the while
            lost["id"], attempt_id=UUID(lost["metadata"]["attempt_id"]), try_number=9, off_session=False,
            payment_method_id=card.payment_method_id, return_url="https://host.example",
        )  # fmt: skip
        await desk.http.post(asked.action_url or "", data={"answer": "yes"})
        await desk.order("release")
        await looking

        (credited,) = await life.of_type(team, CreditsToppedUp)
        assert credited.payment_intent_id == lost["id"]
        await assert_books_agree(life.connection, desk, team, charges=1)


async def test_while_a_lost_payment_is_processing_nothing_is_charged_and_then_it_is_credited(
    stack: Stack, database: str, desk: Desk
) -> None:
    await desk.order("outcomes", outcome="processing")
    async with forgotten(stack, database, desk) as (life, team):
        (lost,) = await intents(desk)
        await life.is_charged(team, 150, 60, 90)
        assert [one["status"] for one in await intents(desk)] == ["processing", "requires_confirmation"]
        assert (await read_top_ups(life.connection, team)).open is not None

        await desk.order(f"payment_intents/{lost['id']}/settle", outcome="succeeded")
        await life.worker.look_at(team)

        (credited,) = await life.of_type(team, CreditsToppedUp)
        assert credited.payment_intent_id == lost["id"]
        await assert_books_agree(life.connection, desk, team, charges=1)


@pytest.mark.parametrize(
    ("metadata", "kind"),
    [
        ({"credits": str(50_000 * MICRO)}, BreakKind.DIFFERS),
        ({"amount": "5000", "credits": str(5_000 * MICRO)}, BreakKind.DIFFERS),
        ({"number": "7"}, BreakKind.DIFFERS),
        (
            {"mac": "", "credits": "", "amount": "", "log": ""},
            BreakKind.PAID_NOT_CREDITED,
        ),  # as builds before the stamps
    ],
)
async def test_nothing_is_minted_from_what_somebody_wrote_upon_an_intent_and_a_person_settles_it(
    metadata: dict[str, str], kind: BreakKind, stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        (lost,) = await intents(desk)
        await edit(desk, lost["id"], **metadata)

        await life.is_charged(team, 150, 60, 90)

        assert not await has(life.connection, team, CreditsToppedUp)
        assert len((await desk.books())["charges"]) == 1
        assert [fact.reason for fact in await life.of_type(team, TopUpFailed)] == ["payment_differs"]
        (paused,) = await life.of_type(team, TopUpSuspended)
        assert (paused.cause, paused.payment_intent_id) == ("payment", lost["id"])
        for heal in (False, True):
            report = await reconcile(
                life.connection, desk.charges, catalog=life.worker.catalog, heal=heal, settle_seconds=()
            )
            assert [(one.type, one.payment_intent_id) for one in report.breaks] == [(kind, lost["id"])]
            assert "refers_to" in report.breaks[0].next_step

        settled = CreditsAdjusted(credits=500 * MICRO, reason="a payment that was lost", refers_to=lost["id"])
        await store(life.connection, team, [settled, settings(cool_down_seconds=0)])
        await life.worker.look_at(team)
        assert await has(life.connection, team, TopUpResumed)
        report = await reconcile(life.connection, desk.charges, catalog=life.worker.catalog, settle_seconds=())
        assert report.breaks == []


@pytest.mark.parametrize("metadata", [{"credits": "9"}, {"team_id": "team_other"}, {"episode": "low:other"}])
async def test_an_attempts_own_intent_that_somebody_has_edited_is_neither_confirmed_nor_answered_by_what_the_attempt_says(
    metadata: dict[str, str], database: str, desk: Desk
) -> None:
    async with a_life(database, desk) as life:
        unpaid, paid = [await new_team(life.connection, desk, cool_down_seconds=300) for _ in range(2)]
        for team, point in ((unpaid, "topup:recorded"), (paid, "topup:confirmed")):
            await life.runs_low(team)
            await life.dies_at(team, point)
        for intent in await intents(desk):
            await edit(desk, intent["id"], **metadata)

        for team in (unpaid, paid):
            await leases_over(life.connection)
            await life.worker.look_at(team)

        assert [one["status"] for one in await intents(desk)] == ["canceled", "succeeded"]
        assert await life.of_type(unpaid, CreditsToppedUp) == await life.of_type(paid, CreditsToppedUp) == []
        (ended,) = await life.of_type(paid, TopUpFailed)
        (paused,) = await life.of_type(paid, TopUpSuspended)
        assert (ended.reason, paused.cause) == ("payment_differs", "payment")
        report = await reconcile(
            life.connection, desk.charges, catalog=life.worker.catalog, heal=True, settle_seconds=()
        )
        assert (len(report.breaks), report.healed) == (1, [])


async def test_settings_that_are_saved_again_look_again_and_pause_again_where_nobody_has_settled_anything(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        (lost,) = await intents(desk)
        await edit(desk, lost["id"], credits="1")
        await life.is_charged(team, 150, 60, 90)

        await store(life.connection, team, [settings(cool_down_seconds=0)])
        await life.connection.execute("UPDATE top_ups SET state = replace(state, 'cool_until', 'was')")
        await life.worker.look_at(team)

        assert len((await desk.books())["charges"]) == 1
        assert not await has(life.connection, team, CreditsToppedUp)


async def test_reconciliation_credits_what_was_lost_before_anybody_runs_low_again(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        report = await reconcile(
            life.connection, desk.charges, catalog=life.worker.catalog, heal=True, settle_seconds=()
        )

        assert [(one.type, one.team_id) for one in report.healed] == [(BreakKind.PAID_NOT_CREDITED, team)]
        assert report.breaks == []
        await assert_books_agree(life.connection, desk, team, charges=1)
        assert await money_that_follows_from_nothing(life.connection) == []


async def test_reconciliation_leaves_a_lost_payment_to_the_worker_while_an_attempt_is_open(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        await store(life.connection, team, [used(150), used(60), used(90)])  # another crossing, another attempt
        await judge(life.connection, team)
        async with life.worker.pool.acquire() as connection, connection.transaction():
            (ours,) = [(await life.worker.decide(connection, team)).open]
        assert ours is not None

        report = await reconcile(
            life.connection, desk.charges, catalog=life.worker.catalog, heal=True, settle_seconds=()
        )
        assert report.healed == []
        assert [one.type for one in report.breaks] == [BreakKind.PAID_NOT_CREDITED]
        state = await read_top_ups(life.connection, team)
        assert state.open is not None
        assert state.open.attempt_id == ours.attempt_id

        await life.worker.look_at(team)
        assert [fact.reason for fact in await life.of_type(team, TopUpFailed)] == ["payment_found"]
        await assert_books_agree(life.connection, desk, team, charges=1)
        assert await money_that_follows_from_nothing(life.connection) == []


async def test_of_a_customer_that_two_teams_share_each_sees_what_is_its_own(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection:
        one = await new_team(connection, desk, cool_down_seconds=300)
        other = await new_team(connection, desk, cool_down_seconds=300)
        card = (await read_top_ups(connection, one)).card
        assert card is not None
        shared = (await desk.card(one, "pm_card_visa")).model_copy(
            update={"customer_id": card.customer_id, "payment_method_id": card.payment_method_id}
        )
        await store(connection, other, [shared])
    async with a_copy(stack, database) as copy:
        async with a_life(database, desk) as first:
            await first.is_charged(one)
        async with a_life(copy, desk) as second:
            await second.is_charged(other)
            await second.is_charged(one, 150, 60, 90)

            (of_one,) = await second.of_type(one, CreditsToppedUp)
            (of_other,) = await second.of_type(other, CreditsToppedUp)
            made = await intents(desk)
            assert [intent["status"] for intent in made] == ["succeeded", "succeeded", "canceled"]
            assert (of_one.payment_intent_id, of_other.payment_intent_id) == (made[0]["id"], made[1]["id"])


async def test_a_page_of_a_lost_purchase_is_expired_before_anything_is_charged(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, desk, cool_down_seconds=300)
    async with a_copy(stack, database) as copy:
        async with a_life(database, desk) as first:
            await pay(desk, await first.buys(page_for(team)), "pm_card_chargeDeclined")
        async with a_life(copy, desk) as second:
            await second.is_charged(team)

            books = await desk.books()
            assert [session["status"] for session in books["checkout_sessions"]] == ["expired"]
            assert len(books["charges"]) == 1
            assert await has(second.connection, team, CreditsToppedUp)


async def test_a_page_on_which_an_admin_is_buying_at_this_moment_is_left_alone(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, desk, cool_down_seconds=300)
    async with a_life(database, desk) as life:
        record = await life.buys(page_for(team))
        await pay(desk, record, "pm_card_chargeDeclined")

        await life.is_charged(team)

        assert await has(life.connection, team, CreditsToppedUp)
        assert [session["status"] for session in (await desk.books())["checkout_sessions"]] == ["open"]


async def test_a_purchase_that_is_paid_at_this_moment_is_credited_first_and_the_charge_decided_anew(
    database: str, desk: Desk
) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, desk, cool_down_seconds=300)
    async with a_life(database, desk) as life:
        record = await life.buys(page_for(team))
        await pay(desk, record)

        await life.is_charged(team)

        assert await has(life.connection, team, CreditsPurchased)
        assert not await has(life.connection, team, CreditsToppedUp)
        assert [fact.reason for fact in await life.of_type(team, TopUpFailed)] == ["payment_found"]
        assert len((await desk.books())["charges"]) == 1


async def test_a_key_that_was_used_for_another_amount_is_no_refusal(stack: Stack, database: str, desk: Desk) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, desk, cool_down_seconds=300)
    async with a_copy(stack, database) as copy:
        async with a_life(database, desk) as first:
            await first.runs_low(team, 300)
            await first.dies_at(team, "topup:recorded")  # an intent of 500 cents that nobody has confirmed
        async with a_life(copy, desk) as second:
            await second.runs_low(team, 900)  # the same episode, and 1,000 cents
            for _ in range(3):
                await second.worker.look_at(team)

            assert [(one["amount"], one["status"]) for one in await intents(desk)] == [
                (500, "canceled"), (1_000, "succeeded"),
            ]  # fmt: skip
            await assert_books_agree(second.connection, desk, team, charges=1)


async def test_the_same_attempt_of_another_life_that_was_paid_with_another_amount_brings_the_credits_of_that_amount(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        await life.runs_low(team, 900)  # the same episode, and 1,000 cents
        for _ in range(3):
            await life.worker.look_at(team)

        (credited,) = await life.of_type(team, CreditsToppedUp)
        assert (credited.credits, credited.charge_cents) == (500 * MICRO, 500)
        state = await read_top_ups(life.connection, team)
        assert [reserved.cents for reserved in state.reserved.values()] == [500]
        await assert_books_agree(life.connection, desk, team, charges=1)
        assert await money_that_follows_from_nothing(life.connection) == []
        report = await reconcile(life.connection, desk.charges, catalog=life.worker.catalog, settle_seconds=())
        assert (report.breaks, report.charged, report.credited) == ([], {"usd": 500}, {"usd": 500})


@pytest.mark.parametrize("went_back", ["refund", "dispute"])
async def test_of_a_lost_payment_that_went_back_in_part_no_more_than_is_left_is_credited(
    went_back: str, stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        (lost,) = await intents(desk)
        if went_back == "refund":
            await refund(desk, lost["id"], 200)
        else:
            await dispute(desk, Paid(team, await desk.charges.retrieve(lost["id"])), amount=200)
        before = await available(life.connection, team)

        await life.is_charged(team, 150, 60, 90)

        assert await available(life.connection, team) - before == 500 - 200 - 300
        written = "SELECT count(*), count(DISTINCT xmin::text) FROM facts WHERE type = ANY($1)"
        kinds = ["credits.topped_up.v1", "charge.refunded.v1", "charge.disputed.v1"]
        facts, transactions = await life.connection.fetchrow(written, kinds) or (0, 0)
        assert (facts, transactions) == (2, 1)  # nobody could spend what had gone back
        assert await money_that_follows_from_nothing(life.connection) == []


async def test_of_two_lost_payments_of_one_attempt_one_is_credited_and_the_other_is_for_a_person(
    stack: Stack, database: str, desk: Desk
) -> None:
    async with forgotten(stack, database, desk) as (life, team):
        (lost,) = await intents(desk)
        card = (await read_top_ups(life.connection, team)).card
        assert card is not None
        again = await desk.http.post("/v1/payment_intents", data={
            "amount": "500", "currency": "usd", "customer": card.customer_id, "payment_method": card.payment_method_id,
            "confirm": "true", **{f"metadata[{name}]": value for name, value in lost["metadata"].items()},
        })  # fmt: skip
        assert again.is_success, again.text

        await life.is_charged(team, 150, 60, 90)

        (credited,) = await life.of_type(team, CreditsToppedUp)
        (paused,) = await life.of_type(team, TopUpSuspended)
        assert {credited.payment_intent_id, paused.payment_intent_id} == {lost["id"], again.json()["id"]}
        assert [fact.reason for fact in await life.of_type(team, TopUpFailed)] == ["payment_found"]
        report = await reconcile(life.connection, desk.charges, catalog=life.worker.catalog, settle_seconds=())
        assert [(one.type, one.payment_intent_id) for one in report.breaks] == [
            (BreakKind.ORPHAN_INTENT, paused.payment_intent_id)
        ]


@pytest.mark.parametrize("kept", ["declined", "wrong"])
async def test_an_old_answer_that_stripe_has_kept_is_no_refusal(kept: str, database: str, desk: Desk) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, desk, cool_down_seconds=300)
    async with a_life(database, desk) as life:
        await life.runs_low(team)
        await desk.order("faults", route=CREATE, do=f"{kept}_kept", times=1)
        await life.dies_at(team, "topup:requested")
        state = await read_top_ups(life.connection, team)
        assert state.open is not None
        assert state.card is not None
        request = state.open
        with pytest.raises(Exception, match=r"declined|at least"):  # another life's request, and what came of it
            await desk.charges.create_intent(
                attempt_id=UUID(request.attempt_id), team_id=team, customer_id=request.customer_id,
                payment_method_id=request.payment_method_id, charge_cents=500, currency="usd",
                metadata=await stamp_of(life, team),
            )  # fmt: skip

        for _ in range(3):
            await life.worker.look_at(team)

        assert not await has(life.connection, team, TopUpFailed)
        await assert_books_agree(life.connection, desk, team, charges=1)


async def stamp_of(life: Life, team: str) -> dict[str, str]:
    """The metadata that the open attempt's intent will have."""
    from services.money.stamps import read_stamps
    from services.money.top_ups.crediting import request_of

    state = await read_top_ups(life.connection, team)
    assert state.open is not None
    return (await read_stamps(life.connection)).write(request_of(team, state.open))


async def test_before_the_first_payment_nothing_is_found_and_one_list_is_asked_for(database: str, desk: Desk) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, desk, cool_down_seconds=300)
    async with a_life(database, desk) as life:
        await life.is_charged(team)

        asked = [entry["route"] for entry in (await desk.http.get("/_control/requests")).json()]
        assert asked[-3:] == [CREATE, LIST, f"{CREATE}/{{id}}/confirm"]
        assert asked.count(LIST) == 1
