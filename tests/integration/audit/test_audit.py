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

from deploy.local.stack import Stack
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
    DisputeClosed,
    HoldCaptured,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    NewFact,
    PlanAssigned,
    TopUpFailed,
    TopUpIntentCreated,
    TopUpRequested,
    UsageRecorded,
    UsageVoided,
)
from schemas.places import Place
from services.audit.derived import AuditFinding, examine_shard
from services.audit.replay import ReplayScope, replay
from services.audit.replays.outcome import Replayed
from services.credits.grants import adjust
from services.credits.holds.hold import CapturedPart, capturing, release
from services.credits.holds.moving import move
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
from tests.conftest import a_database
from tests.support.facts import SOURCE, new, now
from tests.support.heads import heads_unguarded
from tests.support.honest import Honest, project, report
from tests.support.serving import connected
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
    "UPDATE shard_heads SET next = 1 WHERE next > 1",
    "UPDATE shard_heads SET recorded_at = 'infinity'",
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
    "UPDATE holds SET credits = 0 WHERE state = 'open'",
    "UPDATE top_ups SET enabled = false, due_at = 'infinity'",
    """UPDATE top_ups SET state = jsonb_set(state::jsonb, '{suspension}', 'null')::text, due_at = '-infinity';
       UPDATE top_ups SET state = jsonb_set(state::jsonb, '{cool_until}', '"2020-01-01T00:00:00Z"')::text""",
    """INSERT INTO top_up_attempts (shard, team_id, attempt_id, payment_intent_id, owner, leased_until, look_at, requested_at, ended_at)
       SELECT shard, team_id, gen_random_uuid(), 'pi_minted_' || team_id, '', '-infinity', '-infinity', now(), now() FROM teams""",
    "UPDATE checkouts SET (shard, team_id) = (SELECT shard, team_id FROM teams WHERE team_id = 'team_b') WHERE team_id = 'team_a'",
    """INSERT INTO checkouts (shard, team_id, id, mode, customer_id, asked_by, return_url, pack, name, credits, charge_cents, currency,
           keeps_card, taxed)
       SELECT shard, team_id, gen_random_uuid(), 'payment', 'cus', 'x', 'x', 'mini', 'Mini', 2_000_000_000_000, 2_000, 'usd', false, false
       FROM teams""",
    "UPDATE stripe_customers SET customer_id = customer_id || '_other', payment_method_id = 'pm_other'",
    "UPDATE stripe_customers SET payment_method_id = 'pm_' || team_id || '_other', card_created_at = '2020-01-01'",
    """ALTER TABLE voided_usages DISABLE TRIGGER USER;
       INSERT INTO voided_usages (shard, team_id, usage_position, void_position)
       SELECT DISTINCT ON (team_id) shard, team_id, position, position FROM facts
       WHERE type = 'usage.recorded.v1' ORDER BY team_id, position DESC""",
    """INSERT INTO member_limits (shard, team_id, member_id, number, position, daily, monthly, hard)
       SELECT shard, team_id, 'mem_9', 1, 1, 1, 1, true FROM teams""",
    "UPDATE balance_v1 SET additional = 1_000_000_000_000_000, debt = 0",
    "UPDATE balance_v1 SET additional = -1_000_000_000_000, included = 0",
    "UPDATE balance_v1 SET top_up_threshold = 1_000_000_000_000, low = false",
    "UPDATE lots_v1 SET kind = 'purchased', ends_at = '9999-01-01'",
    "UPDATE activity_rows_v1 SET included = 0, additional = 0 WHERE kind = 'usage'",
    "UPDATE usage_v1 SET features = '{}'",
    """INSERT INTO notices (shard, position, team_id, type, notice_id, body)
       SELECT shard, 99_999 + row_number() OVER (), team_id, 'credits.topped_up.v1', 'x', '{}' FROM teams""",
    """INSERT INTO teams (shard, team_id, plan, plan_assigned_id, anchor, zone, allowance_credits, cycle, cycle_ends_at)
       SELECT shard, 'team_a ', plan, plan_assigned_id, anchor, zone, 1_000_000_000_000_000, 0, '2020-01-01'
       FROM teams WHERE team_id = 'team_a'; UPDATE teams SET allowance_credits = allowance_credits + 1""",
]

# These are no table's of the log: no money follows from them, and nobody needs to be told.
QUIET = [
    "DELETE FROM top_ups",
    "DELETE FROM stripe_customers",
    """UPDATE top_up_attempts SET create_try = 9, confirm_try = 99, cancel_try = 99, looks = 0, owner = 'nobody', look_at = '-infinity',
       leased_until = 'infinity', requested_at = '2020-01-01', asked_at = '2020-01-01'""",
    "UPDATE checkouts SET session_id = 'cs_' || id, url = 'https://elsewhere.example', customer_id = 'cus_other', look_at = NULL",
    """INSERT INTO stripe_inbox (event_id, type, object_kind, object_id, intent_id, created_at)
       VALUES ('evt_forged', 'payment_intent.succeeded', 'payment_intent', 'pi_forged', 'pi_forged', now())""",
    "DELETE FROM command_answers",
]

MINTED = """INSERT INTO holds (shard, team_id, hold_id, credits, placed_at, expires_at)
       SELECT shard, team_id, 'minted', 9_000_000, now(), now() + interval '1 hour' FROM teams"""

# Who puts in a hold that nobody placed, or switches the triggers off, can do harm, and the audit says what was done.
FOUND = [
    "ALTER TABLE holds DISABLE TRIGGER USER; UPDATE holds SET state = 'open', expires_at = clock_timestamp() + interval '1 hour'",
    "ALTER TABLE holds DISABLE TRIGGER USER; UPDATE holds SET state = 'open', expires_at = placed_at",
    "ALTER TABLE voided_usages DISABLE TRIGGER USER; DELETE FROM voided_usages",
    MINTED,
    """ALTER TABLE holds DISABLE TRIGGER USER;
       UPDATE holds h SET hold_id = h.hold_id || '-again', state = 'open', expires_at = clock_timestamp() + interval '1 hour'""",
]


@pytest.fixture(scope="module")
async def told(stack: Stack, template: str) -> AsyncIterator[tuple[str, Honest]]:
    """A database in which all of it has happened, to be copied, and its history; nobody is connected to it."""
    async with a_database(stack, template) as url:
        async with connected(url) as connection:
            history = await tell(connection)
            assert list(map(str, (await audit(connection)).differences)) == []
        yield url.rpartition("/")[2], history


@pytest.fixture
async def history(stack: Stack, told: tuple[str, Honest]) -> AsyncIterator[Honest]:
    """What was told, in a database of the test's own."""
    name, before = told
    async with a_database(stack, name) as url, connected(url) as connection:
        yield replace(before, connection=connection, random=Random(2), usages=[*before.usages], paid=[*before.paid])


async def audit(connection: Connection) -> Replayed:
    """Replay and audit of the shards in which something is."""
    replayed = Replayed()
    for row in await connection.fetch("SELECT DISTINCT shard FROM teams ORDER BY shard"):
        of_shard = await replay(connection, ReplayScope(audit=True, shard=row["shard"]))
        replayed.differences += of_shard.differences
        replayed.findings += of_shard.findings
    return replayed


async def tell(connection: Connection) -> Honest:
    """Holds that ended, usage that was taken back, payments, an attempt that is open."""
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
            move(connection, row["team_id"], row["hold_id"], capturing("again", [CapturedPart(MICRO)], final=True)),
            move(connection, row["team_id"], row["hold_id"], release),
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


async def test_rows_that_go_one_way_are_not_set_back(history: Honest) -> None:
    done = []
    for statement in REFUSED:
        with suppress(asyncpg.RestrictViolationError, asyncpg.CheckViolationError):
            await history.connection.execute(statement)
            done.append(statement)

    assert done == []


@pytest.mark.parametrize("statement", [*EDITED, *QUIET])
async def test_an_edited_table_gives_nobody_anything(history: Honest, statement: str) -> None:
    await history.connection.execute(statement)
    edited = (await audit(history.connection)).differences

    await everybody_works(history)
    await project(history.connection)
    replayed = await audit(history.connection)

    assert list(map(str, replayed.findings)) == [], "every fact follows from those before it, whatever the tables said"
    assert statement in QUIET or {difference.team_id for difference in edited} >= {TEAM}, "the edit was named"


@pytest.mark.parametrize("role", ["recorder", "projector", "worker", "api"])
async def test_whatever_a_running_role_may_edit_gives_nobody_anything_either(history: Honest, role: str) -> None:
    connection = history.connection
    set_back = [statement for statement in REFUSED if await done_as(connection, role, statement)]
    edited = [statement for statement in EDITED if await done_as(connection, role, statement)]
    named = (await audit(connection)).differences

    await everybody_works(history)
    await project(connection)
    findings = (await audit(connection)).findings

    assert set_back == []
    assert edited, "each may edit what it works with"
    assert {difference.team_id for difference in named} >= {TEAM}
    assert list(map(str, findings)) == []
    harmful = [statement for statement in FOUND if await done_as(connection, role, statement)]
    assert harmful == ([MINTED] if role == "api" else []), "what the audit finds, and only who places holds may do"


async def done_as(connection: Connection, role: str, statement: str) -> bool:
    """Whether a role has changed anything by a statement: by any part of it, as the API one team after the other."""
    done = False
    for part in statement.split(";"):
        for team in (TEAM, "team_b"):
            with suppress(asyncpg.InsufficientPrivilegeError, asyncpg.IntegrityConstraintViolationError):
                async with connection.transaction():
                    await connection.execute("SELECT set_config('creditwell.team', $1, true)", team)
                    await connection.execute(f"SET LOCAL ROLE creditwell_{role}")
                    done |= not (await connection.execute(part)).endswith(" 0")
            if role != "api":
                break
    return done


async def test_a_limit_that_was_put_right_is_no_difference_any_more(history: Honest) -> None:
    connection = history.connection
    async with connection.transaction():
        await set_limit(connection, TEAM, "mem_1", Limit(daily=MICRO), limited_by=None)
    await connection.execute(
        "UPDATE member_limits SET number = number + 1, daily = 1_000_000_000_000 WHERE member_id = 'mem_1'"
    )
    edited = (await audit(connection)).differences

    for limit in (Limit(daily=MICRO), Limit(daily=2 * MICRO)):  # the same, which is put right, and another
        async with connection.transaction():
            await set_limit(connection, TEAM, "mem_1", limit, limited_by=None)
        left = [one for one in (await audit(connection)).differences if one.team_id == TEAM]
        assert list(map(str, left)) == []
    assert ("member_limits", "daily") in {(one.table, one.column) for one in edited if one.team_id == TEAM}


@pytest.mark.parametrize("statement", FOUND)
async def test_what_somebody_did_without_the_triggers_is_found_with_team_and_place(
    history: Honest, statement: str
) -> None:
    connection = history.connection
    await connection.execute(statement)

    await everybody_works(history)
    findings = (await audit(connection)).findings

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
    won = DisputeClosed(payment_intent_id="pi_x", dispute_id="dp_x", lot=1, outcome="won", reinstated_credits=MICRO)
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
        "0 are taken back, and 1 are due": (ours("pi_x", paid), ours("f", refund.model_copy(update={"clawed_credits": 0}))),
        "-1 are taken back, and 0 are due": (ours("pi_x", paid), ours("f", won)),
        "attempt forged was not under way": (ours("f", TopUpFailed(attempt_id="forged", reason="cancelled", next_try_at=soon)),),
        "attempt other was not under way": (ours("f", TopUpIntentCreated(attempt_id="other", payment_intent_id="pi_x")),),
    }  # fmt: skip


def ours(name: str, fact: AnyFact) -> NewFact:
    """As if Creditwell had said it."""
    return new(TEAM, name, fact, source="creditwell:forged")


async def test_each_fact_that_follows_from_nothing_is_found_with_its_team_and_place(history: Honest) -> None:
    connection = history.connection
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
