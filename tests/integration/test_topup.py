"""Automatic top-ups against the stand-in for Stripe: its own books say whether anybody was charged twice, or for nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from deploy.local.stack import Stack
from deploy.local.stripe import create_app, running
from projections.top_up import TopUps, evolve
from schemas.credits import MICRO
from schemas.facts import (
    BalanceRecovered,
    CreditsPurchased,
    CreditsToppedUp,
    PaymentMethodChanged,
    Stored,
    TopUpActionRequired,
    TopUpConfigured,
    TopUpFailed,
    TopUpRequested,
    TopUpSkipped,
    TopUpSuspended,
)
from services import projector, relay, topup
from services.charges import Charges
from services.charging import Charging
from services.health import Health
from services.settings import load_settings
from services.store.attempts import read_top_ups
from services.store.balances import read_balance
from services.store.connect import Connection, connect_pool
from services.store.read import read_team
from services.store.shards import shard_of
from tests.integration.serving import as_role, connected, plan, serving, store, until, used

KEY = "sk_test_stand_in"
CREATE, CONFIRM = "POST /v1/payment_intents", "POST /v1/payment_intents/{id}/confirm"
STEPS = ["topup:requested", "topup:created", "topup:recorded", "topup:confirmed", "topup:credited"]


@dataclass(frozen=True)
class Desk:
    """The stand-in, and a script's hands on it."""

    url: str
    http: httpx.AsyncClient
    charges: Charges

    async def order(self, path: str, **body: Any) -> Any:
        """Something that nobody may order at Stripe."""
        answer = await self.http.post(f"/_control/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def books(self) -> dict[str, Any]:
        """What the stand-in knows that happened."""
        found: dict[str, Any] = (await self.http.get("/_control/books")).json()
        return found

    async def card(self, team: str, name: str) -> PaymentMethodChanged:
        """A card on the team's file at Stripe, and the fact that says so."""
        customer_id = await self.charges.ensure_customer(team)
        attached = await self.http.post(f"/v1/payment_methods/{name}/attach", data={"customer": customer_id})
        assert attached.is_success, attached.text
        method = attached.json()
        return PaymentMethodChanged(
            customer_id=customer_id, payment_method_id=method["id"], fingerprint=method["card"]["fingerprint"],
            brand=method["card"]["brand"], last4=method["card"]["last4"],
        )  # fmt: skip


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A stand-in of its own for each test."""
    app = create_app(secret_key=KEY, webhook_url=None, webhook_secret="", seed=1)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        running(app) as url,
        httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30) as http,
        Charges(KEY, api_base=url) as charges,
    ):
        yield Desk(url, http, charges)


def environment(stack: Stack, database: str, desk: Desk) -> dict[str, str]:
    """The settings of a worker in a process of its own."""
    return {
        "CREDITWELL_KAFKA": stack.kafka, "CREDITWELL_DATABASE": as_role(database, "worker"), "CREDITWELL_STRIPE_KEY": KEY,
        "CREDITWELL_STRIPE_API": desk.url,
    }  # fmt: skip


@asynccontextmanager
async def working(stack: Stack, database: str, desk: Desk, *names: str) -> AsyncIterator[None]:
    """Processes of ours in this event loop; all of the way from a fact to its charge when none is named."""
    modules = {"projector": projector, "relay": relay, "topup": topup}
    common = {"kafka": stack.kafka, "stripe_key": KEY, "stripe_api": desk.url, "insecure_dev": True}
    stop = asyncio.Event()
    async with AsyncExitStack() as tasks:
        group = await tasks.enter_async_context(asyncio.TaskGroup())
        for name in names or modules:
            role = "projector" if name == "projector" else "worker"
            chosen = load_settings(**common, database=as_role(database, role))
            group.create_task(modules[name].serve(chosen, stop, Health(name)))
        try:
            yield
        finally:
            stop.set()


def settings(**changes: object) -> TopUpConfigured:
    """Below 1,000 credits, add 500; try again at once."""
    usual: dict[str, object] = {
        "enabled": True, "threshold_credits": 1_000 * MICRO, "credits": 500 * MICRO, "currency": "usd", "cool_down_seconds": 0,
    }  # fmt: skip
    return TopUpConfigured.model_validate(usual | changes)


async def new_team(connection: Connection, desk: Desk, *, card: str = "pm_card_visa", **changes: object) -> str:
    """A team with 1,200 credits, a card, and top-ups on."""
    team = f"team_{uuid4().hex}"
    await store(connection, team, [plan(1_200), await desk.card(team, card), settings(**changes)])
    return team


async def facts(connection: Connection, team: str) -> list[Stored]:
    """A team's log."""
    return await read_team(connection, shard_of(team), team, 0, 100_000)


async def of_type(connection: Connection, team: str, kind: type) -> list[Any]:
    """What of this type is in a team's log."""
    return [fact for fact in (stored.fact() for stored in await facts(connection, team)) if isinstance(fact, kind)]


async def has(connection: Connection, team: str, kind: type, count: int = 1) -> bool:
    """True when so many facts of a type are there."""
    return len(await of_type(connection, team, kind)) >= count


async def available(connection: Connection, team: str) -> float:
    """Whole credits."""
    now = datetime.now(UTC)
    exact = await read_balance(connection, team, now)
    assert exact is not None
    return exact.team.available(now) / MICRO


async def assert_books_agree(connection: Connection, desk: Desk, team: str, *, charges: int) -> None:
    """Charges at the stand-in and credits in the log are the same, one for one; and no payable intent is left behind."""
    books = await desk.books()
    paid = {charge["payment_intent"]: charge["amount"] for charge in books["charges"]}
    credited = {fact.payment_intent_id: fact.charge_cents for fact in await of_type(connection, team, CreditsToppedUp)}
    assert paid == credited
    assert len(paid) == len(books["charges"]) == charges
    by_attempt: dict[str, int] = {}
    for intent in books["payment_intents"]:
        assert intent["status"] in {"succeeded", "canceled"}
        name = intent["metadata"]["attempt_id"]
        by_attempt[name] = by_attempt.get(name, 0) + (intent["status"] == "succeeded")
    assert max(by_attempt.values(), default=0) <= 1
    assert not await connection.fetchval("SELECT count(*) FROM top_up_attempts WHERE ended_at IS NULL")
    state = await read_top_ups(connection, team)
    log = [
        stored for stored in await facts(connection, team) if stored.position <= state.position
    ]  # it may have grown since
    assert state == folded_anew(team, log)


def folded_anew(team: str, log: list[Stored]) -> TopUps:
    """The state without any short cut."""
    state = TopUps(team_id=team)
    for stored in log:
        if not stored.type.startswith(("usage.", "hold.")):
            state = evolve(state, stored, stored.fact())
    return state


async def leases_over(connection: Connection) -> None:
    """The dead worker's leases run out, sooner than they would."""
    await connection.execute("UPDATE top_up_attempts SET leased_until = '-infinity', look_at = '-infinity'")


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
        assert (charged["amount"], charged["currency"], charged["metadata"]) == (
            500, "usd", {"team_id": team, "attempt_id": request.attempt_id},
        )  # fmt: skip


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
            slow, quick = (Charging(pool, desk.charges, owner) for owner in ("slow", "quick"))
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
