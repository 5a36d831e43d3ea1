"""Reconciliation with the stand-in for Stripe: every kind of break is found, none is invented, and only the safe kind is healed."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import generate_latest

from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import CreditsAdjusted, CreditsPurchased, CreditsToppedUp, NewFact, TopUpRequested
from services.money.checkout import purchases
from services.money.checkout import rows as checkouts
from services.money.checkout.purchases import request_purchase
from services.money.reconcile.breaks import BreakKind
from services.money.reconcile.compare import reconcile
from services.money.reconcile.reads import COUNT, GAINS, OF_TYPES, credits_of
from services.money.reconcile.report import Report
from services.money.reconcile.schedule import keep_reconciled
from services.money.stamps import PaymentRequest, read_stamps, words_of
from services.money.top_ups.crediting import request_of
from services.money.top_ups.log import STRIPE, TOP_UPS
from services.runtime.health import Health
from services.store.append import append, take_head
from services.store.connect import Connection, connect_pool
from tests.support import serving
from tests.support.desk import KEY, Desk, available
from tests.support.payments import (
    CENTS,
    CREDITS,
    Paid,
    a_payment,
    a_team,
    asked_for,
    bought,
    by_hand,
    charged,
    credited,
    decide,
    dispute,
    follow,
    refund,
    topped_up,
)
from tests.support.serving import as_role, connected, store
from tests.support.waiting import until

NEWS = """
    INSERT INTO stripe_inbox (event_id, type, object_kind, object_id, created_at, done_at)
    VALUES ($1, 't', 'k', 'o', clock_timestamp(), clock_timestamp() - $2::text::interval)
"""

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


async def compare(connection: Connection, desk: Desk, **asked: Any) -> Report:
    """At once: nobody else is at work who might still bring something."""
    return await reconcile(connection, desk.charges, **{"settle_seconds": (), **asked})


async def found(connection: Connection, desk: Desk, **asked: Any) -> list[tuple[BreakKind, str]]:
    """What is left, as (type, payment)."""
    report = await compare(connection, desk, **asked)
    return sorted((one.type, one.payment_intent_id) for one in report.breaks)


async def requested(
    connection: Connection, team: str, attempt_id: UUID, *, cents: int = CENTS, customer_id: str = "cus_1"
) -> TopUpRequested:
    """A top-up that was decided, and of which no more is known."""
    fact = TopUpRequested(
        attempt_id=str(attempt_id), ran_low_id="low", attempt=0, credits=CREDITS * MICRO, charge_cents=cents,
        currency="usd", customer_id=customer_id, payment_method_id="pm_1",
    )  # fmt: skip
    async with connection.transaction():
        await append(connection, [NewFact(team, TOP_UPS, f"requested:{attempt_id}", datetime.now(UTC), fact)])
    return fact


async def paid_for_attempt(connection: Connection, desk: Desk, *, cents: int = CENTS) -> Paid:
    """Money for a top-up that we had decided on; its worker died, and its webhook was lost."""
    team, attempt_id = await a_team(connection), uuid4()
    customer_id = await desk.charges.ensure_customer(team)
    asked = request_of(team, await requested(connection, team, attempt_id, customer_id=customer_id))
    return await charged(desk, team, cents=cents, attempt_id=attempt_id, metadata=words_of(asked))


async def bought_page(connection: Connection, desk: Desk) -> Paid:
    """A pack that was paid on Stripe's page, of which nobody has heard."""
    team, purchase_id = await a_team(connection), uuid4()
    customer_id = await desk.charges.ensure_customer(team)
    record = checkouts.CheckoutRow(
        team_id=team, id=purchase_id, mode="payment", customer_id=customer_id, asked_by="mem_1",
        return_url="https://example.com/", pack="mini", name="1,000 credits", credits=CREDITS * MICRO, charge_cents=CENTS,
        currency="usd", keeps_card=False, taxed=False,
    )  # fmt: skip
    page = await desk.charges.create_checkout(
        purchase_id=str(purchase_id), team_id=team, customer_id=customer_id, name="1,000 credits", amount_cents=CENTS,
        currency="usd", success_url="https://example.com/done", cancel_url="https://example.com/no",
        metadata=words_of(purchases.request_of(record)),
    )  # fmt: skip
    async with connection.transaction():
        await checkouts.begin(connection, record)
        await request_purchase(connection, record, await take_head(connection, record.team_id))
        await checkouts.opened(connection, record, page.id, page.url or "", page.expires_at)
    await desk.http.post(page.url or "", data={"action": "pay", "card": "pm_card_visa"})
    seen = await desk.charges.retrieve_checkout(page.id)
    assert seen.intent is not None
    return Paid(team, seen.intent)


async def test_payments_that_agree_are_no_breaks(connection: Connection, desk: Desk) -> None:
    for automatic in (False, True):
        paid = await a_payment(connection, desk, automatic=automatic)
        await refund(desk, paid, 500)
        await follow(connection, desk.charges, paid.id)
    disputed = await a_payment(connection, desk)
    dispute_id = await dispute(desk, disputed)
    await follow(connection, desk.charges, disputed.id)
    await decide(desk, dispute_id, won=True)
    await follow(connection, desk.charges, disputed.id)
    await dispute(desk, await a_payment(connection, desk), reason="inquiry")
    await refund(desk, await by_hand(desk))  # money by mistake that was given back
    await by_hand(desk, confirm=False)  # somebody else's, and no money has moved

    report = await compare(connection, desk)

    assert report.breaks == []
    assert (report.charged, report.credited) == ({"usd": 4 * CENTS}, {"usd": 4 * CENTS})
    assert (report.refunded, report.refunded_by_log) == ({"usd": 1_000}, {"usd": 1_000})
    assert (report.disputed, report.disputed_by_log) == ({}, {})


async def test_what_went_back_is_totalled_on_both_sides(connection: Connection, desk: Desk) -> None:
    heard, unheard = await a_payment(connection, desk), await a_payment(connection, desk)
    await dispute(desk, heard, amount=700)
    await follow(connection, desk.charges, heard.id)
    await refund(desk, unheard, 500)

    report = await compare(connection, desk)
    clawed = await compare(connection, desk, claw=True)

    assert (report.refunded, report.refunded_by_log) == ({"usd": 500}, {})
    assert (report.disputed, report.disputed_by_log) == ({"usd": 700}, {"usd": 700})
    assert (clawed.refunded, clawed.refunded_by_log) == ({"usd": 500}, {"usd": 500})


async def test_a_payment_belongs_to_the_one_time_in_which_stripe_made_it(connection: Connection, desk: Desk) -> None:
    async def at(moment: datetime, until: datetime | None = None) -> tuple[int, int, dict[str, int], dict[str, int]]:
        report = await compare(connection, desk, since=moment, **({} if until is None else {"until": until}))
        assert report.breaks == []
        return report.payments, report.credits, report.charged, report.refunded

    first = await a_payment(connection, desk)
    await desk.order("clock", advance_seconds=3_600)
    second = await a_payment(connection, desk)
    await refund(desk, first, 500)
    await follow(connection, desk.charges, first.id)
    begin, middle = first.intent.created_at, second.intent.created_at
    end = middle + timedelta(seconds=1)

    one = (1, 1, {"usd": CENTS})
    assert await at(begin, middle) == (*one, {"usd": 500})
    assert await at(middle, end) == (*one, {})
    assert await at(begin - timedelta(hours=1), begin) == (0, 0, {}, {})
    assert await at(begin, end) == (2, 2, {"usd": 2 * CENTS}, {"usd": 500})
    assert (await at(end))[0] == 0
    assert (await at(begin + timedelta(microseconds=1)))[0] == 1


async def test_credits_that_nobody_asked_for_are_those_of_the_catalog_or_a_mismatch(
    connection: Connection, desk: Desk
) -> None:
    for credits in (2_000, CREDITS):  # the pack's for this money, and another
        paid = await charged(desk, await a_team(connection))
        await store_alone(connection, paid, bought(paid, credits=credits))

    assert await found(connection, desk, heal=True) == [(BreakKind.CREDITS_MISMATCH, paid.id)]


async def test_credits_that_a_forged_request_explains_are_found_by_what_stands_upon_the_payment(
    database: str, connection: Connection, desk: Desk
) -> None:
    team = await a_team(connection)
    card = await desk.card(team, "pm_card_visa")
    asked = PaymentRequest("top-up", team, str(uuid4()), CREDITS * MICRO, CENTS, "usd", card.customer_id, "low", 0)
    stamp = (await read_stamps(connection)).write(asked)
    paid = await charged(desk, team, metadata=stamp, attempt_id=UUID(asked.id))
    dear = topped_up(paid, credits=9 * CREDITS)
    async with connection.transaction():
        await append(connection, [asked_for(paid, dear, credits=9 * CREDITS)])
    await store_alone(connection, paid, dear)

    assert await found(connection, desk) == [(BreakKind.CREDITS_MISMATCH, paid.id)]
    async with connected(as_role(database, "reader")) as reader:
        assert await found(reader, desk) == [(BreakKind.CREDITS_MISMATCH, paid.id)]


async def store_alone(connection: Connection, paid: Paid, fact: CreditsPurchased | CreditsToppedUp) -> None:
    """The payment's credits, and nothing that asked for them."""
    async with connection.transaction():
        await append(connection, [NewFact(paid.team, STRIPE, paid.id, datetime.now(UTC), fact)])


async def seed(kind: BreakKind, connection: Connection, desk: Desk) -> str:
    """One break of this kind, and nothing else; the payment."""
    match kind:
        case BreakKind.PAID_NOT_CREDITED:
            return (await paid_for_attempt(connection, desk)).id
        case BreakKind.DIFFERS:
            stamp = {"credits": "5000000", "amount": str(CENTS), "mac": "0" * 64}
            return (await charged(desk, await a_team(connection), metadata=stamp)).id
        case BreakKind.CREDITED_NOT_PAID:
            team = await a_team(connection)
            made = await by_hand(desk, confirm=False)
            paid = Paid(team, await desk.charges.retrieve(made))
            await credited(connection, paid, bought(paid))
            return made
        case BreakKind.AMOUNT_MISMATCH:
            paid = await charged(desk, await a_team(connection))
            await credited(connection, paid, bought(paid, charge_cents=CENTS - 1))
            return paid.id
        case BreakKind.CREDITS_MISMATCH:
            paid = await charged(desk, await a_team(connection))
            await credited(connection, paid, bought(paid, credits=CREDITS + 1))
            return paid.id
        case BreakKind.DUPLICATE_CREDIT:
            paid = await a_payment(connection, desk)
            await credited(connection, paid, topped_up(paid), id="by another name")
            return paid.id
        case BreakKind.REFUND_NOT_CLAWED:
            paid = await a_payment(connection, desk)
            await refund(desk, paid, 500)
            return paid.id
        case BreakKind.DISPUTE_UNHANDLED:
            paid = await a_payment(connection, desk)
            await dispute(desk, paid)
            return paid.id
        case BreakKind.ORPHAN_INTENT:
            return await by_hand(desk)


@pytest.mark.parametrize("kind", list(BreakKind))
async def test_a_break_is_found_among_payments_that_agree_and_is_named_by_its_type_and_next_step(
    kind: BreakKind, connection: Connection, desk: Desk
) -> None:
    await a_payment(connection, desk)
    payment = await seed(kind, connection, desk)
    await a_payment(connection, desk, automatic=True)

    report = await compare(connection, desk)

    assert [(one.type, one.payment_intent_id) for one in report.breaks] == [(kind, payment)]
    assert report.breaks[0].what
    assert report.breaks[0].next_step
    assert report.by_type[kind.value] == 1


async def test_all_breaks_at_once_are_found_in_a_window_too_and_healing_leaves_what_a_person_must_decide(
    connection: Connection, desk: Desk
) -> None:
    seeded = sorted([(kind, await seed(kind, connection, desk)) for kind in BreakKind])
    lately = datetime.now(UTC) - timedelta(hours=1)
    assert await found(connection, desk) == seeded
    assert await found(connection, desk, since=lately) == seeded

    healed = await compare(connection, desk, heal=True)

    left = [one for one in seeded if one[0] is not BreakKind.PAID_NOT_CREDITED]
    assert [one.type for one in healed.healed] == [BreakKind.PAID_NOT_CREDITED]
    assert sorted((one.type, one.payment_intent_id) for one in healed.breaks) == left
    assert await found(connection, desk, heal=True) == left


async def test_every_break_that_can_be_mended_without_a_person_is_gone_in_the_second_run(
    connection: Connection, desk: Desk
) -> None:
    attempt, page = await paid_for_attempt(connection, desk), await bought_page(connection, desk)
    await refund(desk, attempt, 500)
    for kind in (BreakKind.REFUND_NOT_CLAWED, BreakKind.DISPUTE_UNHANDLED):
        await seed(kind, connection, desk)

    first = await compare(connection, desk, heal=True, claw=True)

    assert len(first.healed) == 4
    assert first.breaks == []
    assert await found(connection, desk) == []
    assert (await available(connection, attempt.team), await available(connection, page.team)) == (750, 1_000)


async def test_what_differs_from_what_we_had_asked_for_is_never_credited_by_itself(
    connection: Connection, desk: Desk
) -> None:
    less = await paid_for_attempt(connection, desk, cents=CENTS - 100)
    twice = await paid_for_attempt(connection, desk)
    await credited(connection, twice, topped_up(twice))
    attempt_id = twice.intent.metadata["attempt_id"]
    again = await by_hand(desk, metadata={"team_id": twice.team, "attempt_id": attempt_id})
    payable = await by_hand(desk, confirm=False, metadata={"team_id": twice.team, "attempt_id": attempt_id})
    strange = await by_hand(desk, metadata={"team_id": "nobody", "attempt_id": "no uuid"})
    edited = await paid_for_attempt(connection, desk)
    await desk.http.post(f"/v1/payment_intents/{edited.id}", data={"metadata[credits]": "9"})

    left = await found(connection, desk, heal=True, claw=True)

    assert left == sorted([
        *((BreakKind.AMOUNT_MISMATCH, one.id) for one in (less, edited)),
        *((BreakKind.ORPHAN_INTENT, intent_id) for intent_id in (again, payable)),
        (BreakKind.PAID_NOT_CREDITED, strange),  # it says that it is ours, and not for how many credits
    ])  # fmt: skip
    assert (await available(connection, less.team), await available(connection, edited.team)) == (0, 0)


async def test_two_payments_for_one_attempt_are_answered_once_and_the_other_is_for_a_person_to_refund(
    connection: Connection, desk: Desk
) -> None:
    paid = await paid_for_attempt(connection, desk)
    again = await by_hand(desk, metadata=dict(paid.intent.metadata))

    report = await compare(connection, desk, heal=True)

    catalog = load_catalog()
    (credit,) = [c for one in (paid.id, again) for c in await credits_of(connection, catalog, [paid.team], one)]
    (orphan,) = {paid.id, again} - {credit.payment_intent_id}
    assert [(one.type, one.payment_intent_id) for one in report.breaks] == [(BreakKind.ORPHAN_INTENT, orphan)]
    assert [one.payment_intent_id for one in report.healed] == [credit.payment_intent_id]
    assert await available(connection, paid.team) == CREDITS


async def test_a_break_that_a_person_has_dealt_with_is_told_no_more(connection: Connection, desk: Desk) -> None:
    by_hand_kinds = [
        BreakKind.CREDITED_NOT_PAID,
        BreakKind.AMOUNT_MISMATCH,
        BreakKind.DUPLICATE_CREDIT,
        BreakKind.ORPHAN_INTENT,
    ]
    settled = [await seed(kind, connection, desk) for kind in by_hand_kinds]
    refunded = await seed(BreakKind.ORPHAN_INTENT, connection, desk)
    team = await a_team(connection)
    await store(connection, team, [CreditsAdjusted(credits=-1, reason="settled", refers_to=one) for one in settled])
    await refund(desk, refunded)

    assert await found(connection, desk) == []


async def test_credits_of_one_team_for_the_money_of_another_and_of_a_payment_that_stripe_does_not_know_are_found(
    connection: Connection, desk: Desk
) -> None:
    paid, other = await charged(desk, await a_team(connection)), await a_team(connection)
    await credited(connection, Paid(other, paid.intent), bought(paid))
    unknown = await charged(desk, other)
    await credited(connection, unknown, bought(unknown, payment_intent_id="pi_unknown"), id="pi_unknown")
    await refund(desk, unknown)

    assert await found(connection, desk) == [
        (BreakKind.CREDITED_NOT_PAID, one) for one in sorted([paid.id, "pi_unknown"])
    ]  # fmt: skip


async def test_a_refund_of_an_old_payment_is_found_in_a_window_that_does_not_hold_the_payment(
    connection: Connection, desk: Desk
) -> None:
    old, disputed = await a_payment(connection, desk), await a_payment(connection, desk)
    dispute_id = await dispute(desk, disputed)
    await follow(connection, desk.charges, disputed.id)
    await desk.order("clock", advance_seconds=40 * 86_400)
    await refund(desk, old, 500)
    await decide(desk, dispute_id, won=True)
    later = datetime.now(UTC) + timedelta(days=39)

    assert await found(connection, desk, since=later) == sorted(
        [(BreakKind.REFUND_NOT_CLAWED, old.id), (BreakKind.DISPUTE_UNHANDLED, disputed.id)]
    )


@pytest.mark.parametrize("fault", ["busy", "reset_before", "gateway_before"])
async def test_a_list_that_stops_in_the_middle_goes_on_where_it_was(
    fault: str, connection: Connection, desk: Desk
) -> None:
    orphan = await by_hand(desk)
    for _ in range(101):  # more than a page
        await by_hand(desk, confirm=False)
    await desk.order("faults", route="GET /v1/payment_intents", do=fault, nth=2)

    report = await compare(connection, desk)

    assert [one.payment_intent_id for one in report.breaks] == [orphan]
    assert report.payments == 102


async def test_what_is_only_under_way_is_no_break(database: str, connection: Connection, desk: Desk) -> None:
    paid = await a_payment(connection, desk)
    await refund(desk, paid, 500)

    async def the_webhook_comes() -> None:
        async with connected(database) as other:
            await follow(other, desk.charges, paid.id)

    def moments() -> Iterator[float]:
        """It has been looked at once, and is about to be looked at again."""
        coming = asyncio.create_task(the_webhook_comes())
        while not coming.done():
            yield 0.05
        yield 0

    assert (await reconcile(connection, desk.charges, settle_seconds=moments())).breaks == []


async def test_it_runs_by_itself_when_it_is_due_heals_and_says_what_is_left(
    database: str, connection: Connection, desk: Desk
) -> None:
    attempt = await paid_for_attempt(connection, desk)
    await seed(BreakKind.ORPHAN_INTENT, connection, desk)
    await connection.execute("UPDATE reconciliations SET due_at = clock_timestamp()")
    await connection.executemany(NEWS, [["old", "61 days"], ["young", "59 days"], ["waits", None]])
    stop, health = asyncio.Event(), Health("topup")
    async with await connect_pool(as_role(database, "worker"), process="test", size=2) as pool:
        keeping = asyncio.create_task(
            keep_reconciled(pool, desk.charges, load_catalog(), stop, health, news_kept=timedelta(days=60))
        )

        async def is_told() -> bool:
            if keeping.done():
                keeping.result()
            return b'creditwell_reconcile_breaks{type="orphan_intent"} 1.0' in generate_latest(health.registry)

        await until(is_told)
        assert await available(connection, attempt.team) == CREDITS
        rows = await connection.fetch(
            "SELECT name, payments, healed, due_at > clock_timestamp() AS waits FROM reconciliations ORDER BY name"
        )
        assert [tuple(row) for row in rows] == [("daily", 2, 0, True), ("hourly", 2, 1, True)]
        kept = await connection.fetch("SELECT event_id FROM stripe_inbox ORDER BY event_id")
        assert [row["event_id"] for row in kept] == ["waits", "young"]
        stop.set()
        await keeping


@pytest.mark.parametrize("statement", [OF_TYPES, COUNT], ids=["the facts", "how many"])
async def test_what_a_comparison_reads_of_the_log_is_found_by_its_time(connection: Connection, statement: str) -> None:
    await connection.execute("SET enable_seqscan = off")
    since = datetime.now(UTC) - timedelta(days=1)

    plan = await connection.fetch(f"EXPLAIN {statement}", GAINS, since, since + timedelta(days=2))

    assert any("facts_of_money" in line for (line,) in plan), plan
    assert any(line.strip().startswith("Index Cond: ((recorded_at >= ") for (line,) in plan), plan


async def run(database: str, desk: Desk, *arguments: str, key: str = KEY) -> tuple[int, str, str]:
    """`creditwell reconcile …`: exit code, output, complaints."""
    environment = {
        "CREDITWELL_DATABASE": database, "CREDITWELL_STRIPE_KEY": key, "CREDITWELL_STRIPE_API": desk.url,
        "CREDITWELL_INSECURE_DEV": "1",
    }  # fmt: skip
    return await serving.run("reconcile", *arguments, environment=environment)


async def test_the_command_says_it_in_a_table_and_in_json_and_ends_as_scripts_expect(
    database: str, connection: Connection, desk: Desk
) -> None:
    reader, worker = as_role(database, "reader"), as_role(database, "worker")
    await a_payment(connection, desk)
    code, said, _ = await run(reader, desk)
    assert (code, said.splitlines()[-1]) == (0, "Stripe and the log say the same")

    attempt, orphan = await paid_for_attempt(connection, desk), await seed(BreakKind.ORPHAN_INTENT, connection, desk)
    code, said, _ = await run(reader, desk, "--json")
    document = json.loads(said)
    assert code == 1
    assert {one["type"]: one["payment_intent_id"] for one in document["breaks"]} == {
        "paid_not_credited": attempt.id, "orphan_intent": orphan,
    }  # fmt: skip

    code, said, complaints = await run(worker, desk, "--heal")
    assert code == 1
    assert "reconciled" in complaints
    healed, left = said.split("Stripe and the log differ")
    assert healed.startswith("Healed")
    assert "paid_not_credited" in healed
    assert attempt.id in healed
    assert "orphan_intent" in left
    assert orphan in left

    code, said, _ = await run(reader, desk, "--json", "--since", "2020-01-01", "--until", "2021-01-01")
    document = json.loads(said)
    assert (code, document["payments"], document["until"]) == (0, 0, "2021-01-01T00:00:00+00:00")

    backwards = ("--since", "2021-01-01", "--until", "2021-01-01")
    for arguments, key in ((("--since", "yesterday"), KEY), ((), "sk_test_wrong"), (backwards, KEY)):
        code, _, complaints = await run(reader, desk, *arguments, key=key)
        assert code == 2, complaints
        assert complaints.startswith("creditwell: ")
