"""What others do wrong or don't answer: Stripe, the host product, feature services."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from deploy.local.demo.cast import HARBOR, PAPERCUT
from deploy.local.receiver import Receiver
from deploy.local.stripe.webhooks import sign
from deploy.local.teams import TeamPlan, add_teams
from projections.top_ups.state import OFTEN
from schemas.credits import MICRO
from schemas.facts import NewFact, TopUpConfigured
from services.api.tokens import TokenRole
from services.credits.directory import DirectoryMember
from services.runtime.http_server import listen
from services.store.append import append
from tests.faults.alerts.prometheus import TWO_MINUTES
from tests.faults.alerts.stage import Stage, usual
from tests.faults.alerts.table import fires
from tests.support.usage import raw, used
from tests.support.waiting import until

FLOOD, LITTLE = 20, 500
TOPPED_UP = "SELECT count(*) FROM facts WHERE team_id = $1 AND type = 'credits.topped_up.v1'"
OPEN_ATTEMPT = "SELECT EXISTS (SELECT FROM top_up_attempts WHERE ended_at IS NULL)"
WAITS = "SELECT EXISTS (SELECT FROM notices WHERE state = $1)"


async def a_new_team(stage: Stage) -> str:
    """Of the smallest plan."""
    team = f"team_{uuid4().hex[:8]}"
    async with stage.owner() as connection:
        await add_teams(
            connection, [TeamPlan(team, "Newcomers", "free", (DirectoryMember("mem_new", "New", "admin"),))]
        )
    return team


async def available(stage: Stage, team: str) -> Decimal:
    """What it may spend."""
    answer = await stage.ask_api("GET", f"/v1/teams/{team}/balance", team=team, role=TokenRole.OPERATOR)
    return Decimal(answer.json()["available"])


async def a_notice(stage: Stage) -> None:
    """A team uses all that it has, so that there is something to tell the host product."""
    team = await a_new_team(stage)
    await stage.report(used(team, uuid4().hex, quantity=str(int(await available(stage, team)))))


async def runs_low(stage: Stage, team: str, threshold: int) -> None:
    """It uses what is above its threshold, and one credit more."""
    above = int(await available(stage, team) - threshold) + 1
    if above > 0:
        await stage.report(used(team, uuid4().hex, quantity=str(above)))


@fires("NoticesNotTold", "the host product's receiver is away")
async def not_told(stage: Stage) -> AsyncIterator[None]:
    """Two hours pass at once: the moment of the notice is put back."""
    await stage.stop("receiver")
    await a_notice(stage)
    await stage.until_true("SELECT EXISTS (SELECT FROM notices WHERE state = 'waiting' AND tries > 0)")
    await stage.execute("UPDATE notices SET noticed_at = noticed_at - interval '2 hours' WHERE state = 'waiting'")
    yield
    assert "waiting" in await stage.creditwell("notices list")
    stage.world.processes.start_again("receiver")
    await stage.world.processes.wait_ready("receiver", f"{stage.world.receiver}/readyz")
    await stage.creditwell("notices retry --all")


@fires("NoticesGivenUp", "the host product answers 410 Gone", pace=TWO_MINUTES)
async def given_up(stage: Stage) -> AsyncIterator[None]:
    """Once is enough."""
    await stage.stop("receiver")
    gone, stop = Receiver(stage.world.variables["NOTICE_SECRET"]), asyncio.Event()
    gone.answers.extend([410] * 1_000)
    port = int(stage.world.receiver.rpartition(":")[2])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen(gone.app(), host="127.0.0.1", port=port, port_setting="notice_url", stop=stop))
        await a_notice(stage)
        await stage.until_true(WAITS, "given_up")
        yield
        stop.set()
    assert "given_up" in await stage.creditwell("notices list")
    stage.world.processes.start_again("receiver")
    await stage.world.processes.wait_ready("receiver", f"{stage.world.receiver}/readyz")
    await stage.creditwell("notices retry --all")
    await until(lambda: _all_told(stage), what="what was given up is told")


async def _all_told(stage: Stage) -> bool:
    return not await stage.fetchval("SELECT EXISTS (SELECT FROM notices WHERE state <> 'delivered')")


async def spoiled(stage: Stage, route: str) -> None:
    """From now on Stripe answers this with 502."""
    await stage.stripe("POST", "/_control/faults", json={"route": route, "do": "gateway_before", "times": 1_000_000})


@fires("InboxNotDone", "Stripe tells of a refund and answers no question about it", "StripeFailing")
async def inbox(stage: Stage) -> AsyncIterator[None]:
    """An hour passes at once: the moment at which the news came is put back."""
    books = await stage.stripe("GET", "/_control/books")
    paid = next(
        one for one in books["charges"] if one["metadata"].get("team_id") == HARBOR and not one["amount_refunded"]
    )
    await stage.stripe("POST", "/v1/refunds", data={"payment_intent": paid["payment_intent"], "amount": "100"})
    await spoiled(stage, "*")
    await stage.until_true("SELECT EXISTS (SELECT FROM stripe_inbox WHERE done_at IS NULL AND tries > 0)")
    await stage.execute("UPDATE stripe_inbox SET received_at = received_at - interval '1 hour' WHERE done_at IS NULL")
    yield
    await stage.creditwell("halted list", exits=None)
    await stage.stripe("DELETE", "/_control/faults")
    await stage.until_true("SELECT NOT EXISTS (SELECT FROM stripe_inbox WHERE done_at IS NULL)")
    await stage.creditwell("reconcile")


@fires("TopUpSlow", "Stripe does not take a team's charge", "StripeFailing")
async def top_up_slow(stage: Stage) -> AsyncIterator[None]:
    """An hour passes at once: the moment at which the charge was asked for is put back."""
    await spoiled(stage, "POST /v1/payment_intents")
    await runs_low(stage, PAPERCUT, 2_500)
    await stage.until_true(OPEN_ATTEMPT)
    await stage.execute(
        "UPDATE top_up_attempts SET requested_at = requested_at - interval '1 hour' WHERE ended_at IS NULL"
    )
    yield
    attempt = await stage.fetchval("SELECT attempt_id FROM top_up_attempts WHERE ended_at IS NULL")
    assert str(attempt) in stage.log("topup")
    await stage.stripe("DELETE", "/_control/faults")
    await stage.until_true(f"SELECT NOT ({OPEN_ATTEMPT})")


@fires("TopUpsUnusuallyOften", "a team is topped up by little and uses it up, six times", pace=TWO_MINUTES)
async def often(stage: Stage) -> AsyncIterator[None]:
    """Each time it has to be well above its threshold before it is low again."""
    await _configure(stage)
    for _ in range(OFTEN):
        before = await stage.fetchval(TOPPED_UP, PAPERCUT)
        await runs_low(stage, PAPERCUT, LITTLE)
        await stage.until_true(f"SELECT ({TOPPED_UP}) > $2", PAPERCUT, before)
    yield
    said = [line for line in stage.log("topup").splitlines() if "unusually many top-ups" in line]
    assert any(PAPERCUT in line for line in said)
    await stage.creditwell("activity TEAM", TEAM=PAPERCUT)


async def _configure(stage: Stage) -> None:
    settings = TopUpConfigured(
        enabled=True, threshold_credits=LITTLE * MICRO, credits=LITTLE * MICRO, currency="usd", cool_down_seconds=0
    )
    async with stage.owner() as connection, connection.transaction():
        await append(connection, [NewFact(PAPERCUT, "test", uuid4().hex, datetime.now(UTC), settings)])


@fires(
    "ReconcileBreaks", "somebody else uses our account at Stripe: a payment that nothing here knows", pace=TWO_MINUTES
)
async def breaks(stage: Stage) -> AsyncIterator[None]:
    """The hourly comparison comes at once, and again after the next step."""
    customer = (await stage.stripe("POST", "/v1/customers", data={"name": "nobody"}))["id"]
    intent = await stage.stripe("POST", "/v1/payment_intents", data={
        "amount": "1000", "currency": "usd", "customer": customer, "payment_method": "pm_card_visa", "confirm": "true",
        "off_session": "true", "metadata[team_id]": HARBOR, "metadata[attempt_id]": str(uuid4()),
    })  # fmt: skip
    await _compare(stage)
    yield
    said = await stage.creditwell("reconcile", exits=1)
    assert "refund it at Stripe" in " ".join(said.split()), said
    await stage.stripe("POST", "/v1/refunds", data={"payment_intent": intent["id"]})
    await stage.creditwell("reconcile --heal")
    await _compare(stage)


async def _compare(stage: Stage) -> None:
    """An hour is over."""
    began = datetime.now(UTC)
    await stage.execute("UPDATE reconciliations SET due_at = clock_timestamp() WHERE name = 'hourly'")
    await stage.until_true("SELECT ended_at > $1 FROM reconciliations WHERE name = 'hourly'", began)


@fires("StripeFailing", "Stripe answers every question with 502")
async def stripe_failing(stage: Stage) -> AsyncIterator[None]:
    """A team is to be topped up meanwhile."""
    await spoiled(stage, "*")
    await runs_low(stage, PAPERCUT, 1_000)
    yield
    stage.stands("`no_answer` and `server_error` are Stripe's or the network's")
    text = (await stage.http.get(f"{stage.prometheus.targets['topup']}/metrics")).text
    assert any('outcome="server_error"' in line or 'outcome="no_answer"' in line for line in text.splitlines())
    await stage.stripe("DELETE", "/_control/faults")


@fires("ThinEvents", "Stripe's destination sends thin events", pace=TWO_MINUTES)
async def thin(stage: Stage) -> AsyncIterator[None]:
    """One that is signed as it should be."""
    body = json.dumps({"id": "evt_thin", "object": "v2.core.event", "type": "v1.charge.refunded"}).encode()
    signed = sign(stage.world.variables["STRIPE_WEBHOOK_SECRET"], body, int(time.time()))
    answer = await stage.http.post(
        f"{stage.world.api}/v1/stripe/webhook", content=body,
        headers={"Stripe-Signature": signed, "Content-Type": "application/json"},
    )  # fmt: skip
    assert answer.status_code == 400
    yield
    stage.stands("set its payload style to Snapshot")
    await stage.creditwell("reconcile")


@fires("MostUsageRefused", "a flood of usage of a team that does not exist", "UsageRefused")
async def most_refused(stage: Stage) -> AsyncIterator[None]:
    """Many times as much as all else."""
    team = f"team_{uuid4().hex[:8]}"
    stage.sending = lambda: [*usual(stage.world), *(used(team, uuid4().hex) for _ in range(FLOOD))]
    yield
    assert "unknown_team" in await stage.creditwell("refused list")
    stage.stands("For `unknown_team`: create the team")
    async with stage.owner() as connection:
        members = (DirectoryMember("mem_new", "New", "admin"),)
        await add_teams(connection, [TeamPlan(team, "Newcomers", "pro", members)])
    stage.sending = lambda: usual(stage.world)
    await stage.creditwell("refused retry --reason REASON", REASON="unknown_team")


@fires("UsageRefused", "one service sends nonsense among the others", pace=TWO_MINUTES)
async def some_refused(stage: Stage) -> AsyncIterator[None]:
    """A seventh of all."""
    stage.sending = lambda: [*usual(stage.world), *usual(stage.world), raw(b"nonsense", key=b"team_x")]
    yield
    await stage.creditwell("refused list")
    stage.sending = lambda: usual(stage.world)
