"""The stand-in for Stripe as a test sees it, teams with a card, and what the books of both sides must agree upon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2

from deploy.local.processes import PLAIN_HTTP
from deploy.local.stack import Stack
from deploy.local.stripe import create_app, running
from projections.top_ups.fold import evolve
from projections.top_ups.state import TopUps
from schemas.credits import MICRO
from schemas.facts import CreditsToppedUp, PaymentMethodChanged, Stored, TopUpConfigured
from services.credits import refill
from services.money import topup
from services.money.stripe_client import Charges
from services.money.top_ups.log import read_top_ups
from services.publishing import relay
from services.read_models import projector
from services.read_models.balances import read_balance
from services.runtime.health import Health
from services.runtime.settings_loading import load_settings
from services.store.connect import Connection
from services.store.read import read_team
from services.store.shards import shard_of
from tests.support.facts import zone_at_midday
from tests.support.serving import as_role, plan, store
from tests.support.waiting import PATIENCE_SECONDS, until

KEY = "sk_test_stand_in"
AT_ONCE = 10_000  # requests a second: a test that is not about our pace does not wait for it


@dataclass(frozen=True)
class Desk:
    """The stand-in, and a script's hands on it."""

    url: str
    http: httpx2.AsyncClient
    charges: Charges
    patient: Charges  # for what a test only arranges, where `charges` gives up soon

    async def forget(self, path: str) -> None:
        """What was ordered there happens no more."""
        (await self.http.delete(f"/_control/{path}")).raise_for_status()

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
        customer_id = await self.patient.ensure_customer(team)
        attached = await self.http.post(f"/v1/payment_methods/{name}/attach", data={"customer": customer_id})
        assert attached.is_success, attached.text
        method = attached.json()
        return PaymentMethodChanged(
            customer_id=customer_id, payment_method_id=method["id"], fingerprint=method["card"]["fingerprint"],
            brand=method["card"]["brand"], last4=method["card"]["last4"],
        )  # fmt: skip


@asynccontextmanager
async def a_desk(*, seed: int = 1, frozen_at: datetime | None = None, **told: Any) -> AsyncIterator[Desk]:
    """A stand-in of its own; `told` is how to talk to it. A clock that is frozen moves when it is told to."""
    frozen = None if frozen_at is None else int(frozen_at.timestamp())
    app = create_app(secret_key=KEY, webhook_url=None, webhook_secret="", seed=seed, frozen_at=frozen)
    async with running(app) as url, desk_at(url, **told) as desk:
        yield desk


@asynccontextmanager
async def desk_at(url: str, **told: Any) -> AsyncIterator[Desk]:
    """A stand-in that runs there already."""
    headers = {"Authorization": f"Bearer {KEY}"}
    told = {"per_second": AT_ONCE, "timeout_seconds": PATIENCE_SECONDS} | told
    async with (
        httpx2.AsyncClient(
            base_url=url, headers=headers, trust_env=False, verify=PLAIN_HTTP, timeout=PATIENCE_SECONDS
        ) as http,
        Charges(KEY, api_base=url, **told) as charges,
        Charges(KEY, api_base=url, **(told | {"timeout_seconds": PATIENCE_SECONDS})) as patient,
    ):
        yield Desk(url, http, charges, patient)


def environment(stack: Stack, database: str, desk: Desk) -> dict[str, str]:
    """The settings of a worker in a process of its own."""
    return {
        "CREDITWELL_KAFKA": stack.kafka, "CREDITWELL_DATABASE": as_role(database, "worker"), "CREDITWELL_STRIPE_KEY": KEY,
        "CREDITWELL_STRIPE_API": desk.url,
    }  # fmt: skip


@asynccontextmanager
async def working(
    stack: Stack, database: str, desk: Desk, *names: str, catalog: str | None = None
) -> AsyncIterator[None]:
    """Processes of ours in this event loop; all of the way from a fact to its charge when none is named."""
    modules = {"projector": projector, "relay": relay, "topup": topup, "refill": refill}
    common = {"kafka": stack.kafka, "stripe_key": KEY, "stripe_api": desk.url, "insecure_dev": True, "catalog": catalog}
    stop = asyncio.Event()
    async with AsyncExitStack() as tasks:
        group = await tasks.enter_async_context(asyncio.TaskGroup())
        for name in names or ("projector", "relay", "topup"):
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
    """A team with 1,200 credits, a card, and top-ups on; it is midday there, so that all happens in one month."""
    team = f"team_{uuid4().hex}"
    await store(
        connection, team, [plan(1_200, zone=zone_at_midday()), await desk.card(team, card), settings(**changes)]
    )
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


async def nobody_looks(connection: Connection, team: str) -> None:
    """Nobody works on the team's attempt, nor will before somebody tells of it or the time of the next look is changed."""
    put_off = """
        UPDATE top_up_attempts SET look_at = clock_timestamp() + interval '1 hour'
        WHERE team_id = $1 AND payment_intent_id IS NOT NULL AND leased_until = '-infinity' RETURNING true
    """
    await until(lambda: connection.fetchval(put_off, team), what="nobody works on the attempt")


async def leases_over(connection: Connection) -> None:
    """The dead worker's leases run out, sooner than they would."""
    await connection.execute("UPDATE top_up_attempts SET leased_until = '-infinity', look_at = '-infinity'")
