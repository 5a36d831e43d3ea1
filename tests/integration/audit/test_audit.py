"""Speed may come from a table, money may not: edited tables give nobody anything, and `replay --audit` names the edit."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from random import Random
from uuid import uuid4

import asyncpg
import pytest
from msgspec import structs

from projections.entitlement import Limit
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    ChargeRefunded,
    CreditsAdjusted,
    CreditsGranted,
    CreditsPurchased,
    CreditsRefilled,
    CreditsToppedUp,
    HoldCaptured,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    NewFact,
    PlanAssigned,
    TopUpRequested,
    UsageRecorded,
    UsageVoided,
)
from schemas.places import Place
from services.audit.derived import AuditFinding, examine_shard
from services.audit.replay import ReplayScope, replay
from services.credits.grants import adjust
from services.credits.holds import CapturedPart, capture, release
from services.credits.limits import set_limit
from services.credits.plans import assign_plan
from services.credits.rate_cards import load_rate_cards
from services.credits.refill import expire_due, expire_holds_due, refill_due
from services.credits.sealing import seal
from services.money.checkout import rows as checkouts
from services.read_models.balances import read_balance
from services.runtime.errors import Refused
from services.store.append import append
from services.store.connect import Connection
from services.store.read import heads
from services.store.shards import shard_of
from tests.support.facts import SOURCE, new, now
from tests.support.heads import heads_unguarded
from tests.support.honest import Honest, project, report
from tests.support.usage import voided

AUDIT = ReplayScope(audit=True)


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    """A superuser's connection."""
    connection = await asyncpg.connect(database, server_settings={"timezone": "UTC"})
    yield connection
    await connection.close()


@pytest.mark.parametrize("seed", range(5))
async def test_an_honest_history_raises_no_alarm(connection: Connection, seed: int) -> None:
    history = Honest(connection, Random(seed), ["team_a", "team_b", "team_c"])
    await history.begin()
    await history.go_on(120)

    replayed = await replay(connection, AUDIT)

    assert list(map(str, replayed.findings)) == []
    assert list(map(str, replayed.differences)) == []


TEAM = "team_a"
OLD_PLAN = "(SELECT id FROM facts WHERE team_id = 'team_a' AND type = 'plan.assigned.v1' ORDER BY position LIMIT 1)"

STRANGE_VOID = (
    b'{"usage_source":"x","usage_id":"x","usage_position":9,"usage_occurred_at":"2026-01-01T00:00:00Z","credits":1,'
    b'"feature":"x","reason":"x"}'
)

# By the triggers: nobody may, the owner neither.
REFUSED = [
    "UPDATE holds SET state = 'open'",
    "UPDATE holds SET credits = credits + 1 WHERE state = 'open'",
    "UPDATE holds SET expires_at = placed_at + interval '25 hours' WHERE state = 'open'",
    "UPDATE holds SET placed_at = placed_at + interval '1 hour' WHERE state = 'open'",
    "DELETE FROM holds",
    "TRUNCATE holds",
    "DELETE FROM voided_usages",
    "UPDATE voided_usages SET usage_position = usage_position + 1",
    "UPDATE member_limits SET daily = NULL",
    "UPDATE member_limits SET number = number - 1",
    "UPDATE shard_heads SET next = next + 5 WHERE next > 1",
    "UPDATE shard_heads SET next = next - 1 WHERE next > 1",
    "UPDATE shard_heads SET recorded_at = recorded_at + interval '1 year' WHERE next > 1",
    "UPDATE shard_heads SET recorded_at = recorded_at - interval '1 day' WHERE next > 1",
]

# Whoever may write these tables may do this; no money follows from it.
EDITED = [
    """UPDATE top_ups SET due_at = '-infinity', state = replace(
       replace(state, '"credits":500000000', '"credits":22500000000000'), '"monthly_cap_cents":100000', '"monthly_cap_cents":null')""",
    """UPDATE top_ups SET state = jsonb_set(state::jsonb, '{settings,monthly_cap_cents}', '99999999')::text""",
    """UPDATE top_ups SET state = jsonb_set(state::jsonb, '{reserved}', '{}')::text""",
    """UPDATE top_ups SET state = jsonb_set(state::jsonb, '{card,payment_method_id}', '"pm_other"')::text""",
    """UPDATE top_ups SET state = jsonb_set(jsonb_set(state::jsonb, '{open,charge_cents}', '90000000'), '{open,credits}', '1')::text
       WHERE state::jsonb -> 'open' <> 'null'""",
    "UPDATE top_ups SET state = '{}', position = 0",
    "UPDATE top_ups SET position = 99999",
    "DELETE FROM top_ups",
    """UPDATE top_up_attempts SET ended_at = clock_timestamp(); UPDATE top_up_attempts a SET ended_at = NULL, look_at = '-infinity'
       WHERE NOT EXISTS (SELECT FROM top_up_attempts b WHERE b.team_id = a.team_id AND b.requested_at < a.requested_at)""",
    "UPDATE top_up_attempts SET ended_at = clock_timestamp()",
    "UPDATE top_up_attempts SET payment_intent_id = 'pi_' || attempt_id || 'other'",
    "DELETE FROM top_up_attempts",
    "UPDATE checkouts SET credits = 2_000_000_000_000_000",
    "UPDATE checkouts SET charge_cents = 1, state = 'open', payment_intent_id = NULL, position = NULL",
    "UPDATE checkouts SET id = gen_random_uuid(), state = 'open'",
    "UPDATE teams SET allowance_credits = 1_000_000_000_000_000, cycle_ends_at = '2020-01-01'",
    f"UPDATE teams SET plan = 'business', plan_assigned_id = {OLD_PLAN}, cycle_ends_at = '2020-01-01'",
    f"UPDATE teams SET plan_assigned_id = {OLD_PLAN}, cycle = cycle - 3, cycle_ends_at = '2020-01-01'",
    "UPDATE teams SET anchor = anchor - interval '20 days', zone = 'Asia/Tokyo', cycle_ends_at = '2020-01-01'",
    "UPDATE teams SET zone = 'No/Where', cycle_ends_at = '2020-01-01'",
    "UPDATE teams SET cycle = -99, sealed_cycle = -99",
    "UPDATE teams SET sealed_cycle = -1, cycle = 400",
    "UPDATE lots_v1 SET ended = false, settled = false; UPDATE balance_v1 SET next_end = '2020-01-01'",
    "UPDATE lots_v1 SET remaining = 1_000_000_000_000_000",
    "ALTER TABLE member_limits DISABLE TRIGGER USER; DELETE FROM member_limits",
    "UPDATE member_limits SET number = number + 5, daily = 1_000_000_000_000",
]

# A superuser who switches the triggers off can do harm, and the audit says what was done.
FOUND = [
    "ALTER TABLE holds DISABLE TRIGGER USER; UPDATE holds SET state = 'open', expires_at = clock_timestamp() + interval '1 hour'",
    "ALTER TABLE holds DISABLE TRIGGER USER; UPDATE holds SET state = 'open', expires_at = placed_at",
    "ALTER TABLE voided_usages DISABLE TRIGGER USER; DELETE FROM voided_usages",
]


async def told(connection: Connection) -> Honest:
    """A history in which all of it has happened: holds that ended, usage that was taken back, an attempt that is open."""
    history = Honest(connection, Random(1), [TEAM, "team_b"])
    await history.begin()
    await history.go_on(60)
    for team in history.teams:
        await history.use_and_take_back(team)
        await history.settle_holds_of(team)
        await history.buy(team)
        await history.buy(team, paid=False)
        await history.configure(team, threshold=1_000, max_per_month=99)
        await runs_low(history, team)
        await history.top_up(team)
        await runs_low(history, team)
        assert (await history.top_up(team, paid=False)).open is not None
    await project(connection)
    return history


async def runs_low(history: Honest, team: str) -> None:
    """Everything is spent."""
    balance = await read_balance(history.connection, team, now())
    assert balance is not None
    spent = CreditsAdjusted(credits=-balance.available, reason="test")
    async with history.connection.transaction():
        await adjust(history.connection, team, f"spent-{uuid4()}", spent)


async def everybody_works(history: Honest) -> None:
    """Whatever could turn an edit into money: workers, webhooks, feature services, producers; none of them ends."""
    connection = history.connection
    await refill_due(connection)
    await expire_due(connection)
    await expire_holds_due(connection)
    await teams_sealed(connection)
    for row in await connection.fetch("SELECT team_id, hold_id FROM holds"):
        for work in (
            capture(connection, row["team_id"], row["hold_id"], "again", [CapturedPart(MICRO)], final=True),
            release(connection, row["team_id"], row["hold_id"]),
        ):
            with suppress(Refused):
                async with connection.transaction():
                    await work
    for team, usage_id in history.usages:
        await report(connection, [voided(team, f"again-{usage_id}", of=usage_id)])
    for row in await connection.fetch("SELECT id FROM checkouts"):
        record = await checkouts.find(connection, row["id"])
        assert record is not None
        await history.pay(replace(record, charge_cents=history.catalog.packs["mini"].prices["usd"]))
    for team in history.teams:
        async with connection.transaction():
            await set_limit(connection, team, "mem_1", Limit(daily=MICRO), limited_by=None)
        async with connection.transaction():
            await assign_plan(connection, history.catalog, team, "pro")
        await history.top_up(team)
        await project(connection)
        await runs_low(history, team)
        await history.top_up(team)


async def teams_sealed(connection: Connection) -> None:
    """As if a minute from now every cursor had passed: whatever can be sealed is."""
    teams = [row["team_id"] for row in await connection.fetch("SELECT team_id FROM teams ORDER BY team_id")]
    for team in teams:
        async with connection.transaction():
            await seal(connection, [team], now(), timedelta())


@pytest.mark.parametrize("statement", REFUSED)
async def test_rows_that_go_one_way_are_not_set_back(connection: Connection, statement: str) -> None:
    await told(connection)

    with pytest.raises((asyncpg.RestrictViolationError, asyncpg.CheckViolationError)):
        await connection.execute(statement)


@pytest.mark.parametrize("statement", EDITED)
async def test_an_edited_table_gives_nobody_anything(connection: Connection, statement: str) -> None:
    history = await told(connection)
    before = list(map(str, (await replay(connection, AUDIT)).differences))
    await connection.execute(statement)
    edited = (await replay(connection, AUDIT)).differences

    await everybody_works(history)
    await project(connection)
    replayed = await replay(connection, AUDIT)

    assert before == []
    assert list(map(str, replayed.findings)) == [], "every fact follows from those before it, whatever the tables said"
    missing_is_fine = statement == "DELETE FROM top_ups"
    assert missing_is_fine or {difference.team_id for difference in edited} >= {TEAM}, "the edit was named"


async def test_a_limit_that_was_put_right_is_no_difference_any_more(connection: Connection) -> None:
    await told(connection)
    async with connection.transaction():
        await set_limit(connection, TEAM, "mem_1", Limit(daily=MICRO), limited_by=None)
    await connection.execute("UPDATE member_limits SET number = number + 1, daily = 1_000_000_000_000")
    edited = (await replay(connection, AUDIT)).differences

    for limit in (Limit(daily=MICRO), Limit(daily=2 * MICRO)):  # the same, which is put right, and another
        async with connection.transaction():
            await set_limit(connection, TEAM, "mem_1", limit, limited_by=None)
        left = [one for one in (await replay(connection, AUDIT)).differences if one.team_id == TEAM]
        assert list(map(str, left)) == []
    assert ("member_limits", "daily") in {(one.table, one.column) for one in edited if one.team_id == TEAM}


@pytest.mark.parametrize("statement", FOUND)
async def test_what_somebody_did_without_the_triggers_is_found_with_team_and_place(
    connection: Connection, statement: str
) -> None:
    history = await told(connection)
    await connection.execute(statement)

    await everybody_works(history)
    findings = (await replay(connection, AUDIT)).findings

    assert {finding.team_id for finding in findings} == {TEAM, "team_b"}
    for finding in findings:
        shard, position = map(int, finding.place.split(":"))
        fact = await connection.fetchrow(
            "SELECT team_id FROM facts WHERE shard = $1 AND position = $2", shard, position
        )
        assert fact is not None
        assert fact["team_id"] == finding.team_id


def forgeries() -> dict[str, tuple[NewFact, ...]]:
    """Facts that follow from nothing, by what the audit says of them."""
    soon = now() + timedelta(hours=1)
    paid = CreditsPurchased(credits=MICRO, pack="mini", payment_intent_id="pi_x", charge_cents=1, currency="usd")
    held = HoldPlaced(hold_id="forged", credits=MICRO, expires_at=soon)
    captured = HoldCaptured(hold_id="forged", credits=MICRO)
    request = TopUpRequested(
        attempt_id="forged", ran_low_id="x", attempt=0, credits=MICRO, charge_cents=90_000_000, currency="usd",
        customer_id="cus_x", payment_method_id="pm_x",
    )  # fmt: skip
    plan = PlanAssigned(plan="pro", anchor=soon, zone="UTC", allowance_credits=MICRO)
    again = CreditsRefilled(
        credits=10**15, plan="pro", plan_assigned_id="plan:000001", cycle=400, starts_at=now(), ends_at=soon
    )
    nowhere = UsageVoided(
        usage_source=SOURCE, usage_id="x", usage_position=999_999, usage_occurred_at=now(), credits=MICRO,
        feature="ai_image.generate", reason="x",
    )  # fmt: skip
    used = UsageRecorded(
        feature="ai_image.generate", quantity="1", credits=7, rate_card=1, attributes={"tier": "low"}, member_id="mem_1"
    )
    refund = ChargeRefunded(payment_intent_id="pi_x", lot=1, refunded_cents=1, currency="usd", clawed_credits=2 * MICRO)
    return {
        "costs 1 by rate card 1, not 0.000007": (new(TEAM, "f", used, source=SOURCE),),
        "nobody published rate card 9": (new(TEAM, "f", structs.replace(used, rate_card=9), source=SOURCE),),
        "has no price": (new(TEAM, "f", structs.replace(used, feature="x.y"), source=SOURCE),),
        "is older than the first rate card": (
            new(TEAM, "f", structs.replace(used, credits=MICRO), source=SOURCE, at=now() - timedelta(days=9_000)),
        ),
        "is no source of a usage.recorded.v1": (ours("f", structs.replace(used, credits=MICRO)),),
        "is no source of a credits.granted.v1": (
            new(TEAM, "f", CreditsGranted(credits=MICRO, reason="x"), source=SOURCE),
        ),
        "there is no usage at 999999": (new(TEAM, "f", nowhere, source=SOURCE),),
        "nobody placed hold forged": (ours("f", captured),),
        "lasts longer than a day": (ours("f", held.model_copy(update={"expires_at": soon + timedelta(days=2)})),),
        "was placed before": (ours("f1", held), ours("f2", held)),
        "hold forged is settled at this moment": (ours("f1", held), ours("f2", captured), ours("f3", captured)),
        "hold forged was settled before": (
            ours("f1", held), ours("f2", captured),
            new(TEAM, "f", structs.replace(used, credits=MICRO, hold_id="forged"), source=SOURCE),
        ),
        "hold forged is open at this moment": (ours("f1", held), ours("f2", HoldExpired(hold_id="forged"))),
        "hold forged has 0 left": (
            ours("f1", held), ours("f2", captured.model_copy(update={"remaining_credits": 5 * MICRO})),
        ),
        "is extended beyond a day": (
            ours("f1", held), ours("f2", HoldExtended(hold_id="forged", expires_at=soon + timedelta(days=2))),
        ),
        "for ever": (ours("f", plan),),
        "cycle 400 is refilled where": (ours("f", again),),
        "the plan gives": (ours("f", again),),
        "nobody asked for this purchase": (ours("pi_x", paid),),
        "brought credits before": (ours("pi_x", paid), ours("pi_y", paid)),
        "it is not named after its payment": (ours("pi_y", paid),),
        "nobody asked for attempt": (
            ours("pi_x", CreditsToppedUp(credits=1, attempt_id="x", payment_intent_id="pi_x", charge_cents=1, currency="usd")),
        ),
        "was not the card": (ours("f", request),),
        "is not the next one of a low episode": (ours("f", request),),
        "100000 usd are the cap": (ours("f", request),),
        "one was under way": (ours("f", request),),
        "pi_x has brought no credits": (ours("f", refund),),
        "no credits came at 999999 before this": (
            ours("f", CreditsAdjusted(credits=-MICRO, reason="x", burns_lot=999_999)),
        ),
        "2 are taken back": (ours("pi_x", paid), ours("f", refund)),
    }  # fmt: skip


def ours(name: str, fact: AnyFact) -> NewFact:
    """As if Creditwell had said it."""
    return new(TEAM, name, fact, source="creditwell:forged")


async def test_each_fact_that_follows_from_nothing_is_found_with_its_team_and_place(connection: Connection) -> None:
    await told(connection)

    for said, facts in forgeries().items():
        transaction = connection.transaction()
        await transaction.start()
        appended = await append(connection, facts)
        found = await found_at(connection, appended.places[-1])
        await transaction.rollback()

        assert any(said in what for what in found), (said, found)


async def found_at(connection: Connection, place: Place) -> list[str]:
    """What is wrong with the last fact, by a walk of its shard alone."""
    findings: list[AuditFinding] = []
    await examine_shard(
        connection, place.shard, TEAM, cards=await load_rate_cards(connection), audit=True,
        differs=lambda *_: None, finds=findings.append,
    )  # fmt: skip
    assert {finding.team_id for finding in findings} == {TEAM}
    return [finding.what for finding in findings if finding.place == str(place)]


@pytest.mark.parametrize(
    ("type_", "body", "said"),
    [
        ("tea.brewed.v9", b"{}", "unknown fact type 'tea.brewed.v9'"),
        ("credits.granted.v1", None, "its body is missing"),
        ("credits.granted.v1", b"{", "its body is no credits.granted.v1"),
        ("usage.recorded.v1", b'{"hold_id": 1}', "its body is no usage.recorded.v1"),
        ("usage.voided.v1", None, "its body is missing"),
        (
            "usage.voided.v1",
            STRANGE_VOID,
            "there is no usage at 9 before this",
        ),
    ],
)
async def test_what_can_not_be_read_is_a_finding_with_its_place(
    connection: Connection, type_: str, body: bytes | None, said: str
) -> None:
    history = Honest(connection, Random(1), [TEAM])
    await history.begin()
    await project(connection)
    head = (await heads(connection))[shard_of(TEAM)]
    async with heads_unguarded(connection):
        await connection.execute("ALTER TABLE facts ALTER body DROP NOT NULL")
        await connection.execute(
            "INSERT INTO facts (shard, position, recorded_at, occurred_at, team_id, source, id, type, body, leaf) "
            "VALUES ($1, $2, now(), now(), $3, 'x', 'x', $4, $5, '')",
            shard_of(TEAM), head + 1, TEAM, type_, body,
        )  # fmt: skip
        await connection.execute("UPDATE shard_heads SET next = next + 1 WHERE shard = $1", shard_of(TEAM))
        await connection.execute("UPDATE checkpoints SET position = position + 1 WHERE shard = $1", shard_of(TEAM))

    for wanted in (ReplayScope(), AUDIT):
        (finding,) = (await replay(connection, wanted)).findings

        assert (finding.team_id, finding.place) == (TEAM, f"{shard_of(TEAM)}:{head + 1}")
        assert said in finding.what
