"""A month of the books against the stand-in's balance: what ties, what lies between two months, and what is a break."""

import asyncio
import csv
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from typer.testing import CliRunner, Result

from projections.books.month import Month
from projections.reversals import Account, Disputed, PaymentAtStripe, evolve, fact_due, open_account
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import AnyFact, CreditsAdjusted, PlanAssigned, Stored
from services.books.folding import fold_month
from services.books.tie_out import TieOut, tie_out
from services.books.tie_out_tables import payouts_csv_of
from services.cli import app
from services.money.reversals import source_of
from services.money.top_ups.log import STRIPE
from services.store.connect import Connection
from services.store.numbered import numbered
from services.store.shards import shard_of
from tests.support.desk import KEY, Desk, a_desk
from tests.support.heads import heads_unguarded
from tests.support.past import INSERT, MOVE_HEAD, SHARD, TEAM, lay
from tests.support.payments import Paid, asked_for, bought, by_hand, charged, decide, dispute, refund

OCTOBER, NOVEMBER = datetime(2016, 10, 1, tzinfo=UTC), datetime(2016, 11, 1, tzinfo=UTC)
BEGIN = OCTOBER - timedelta(seconds=2)
SOON = timedelta(seconds=5)  # after a payment, the log has its credits
READER = "?role=creditwell_reader"

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


class Books:
    """The stand-in and the log, told together: time passes when it is told to, on both sides."""

    def __init__(self, connection: Connection, desk: Desk) -> None:
        self.connection, self.desk, self.now = connection, desk, BEGIN
        self.log: list[Stored] = []
        self.accounts: dict[str, Account] = {}
        plan = PlanAssigned(plan="pro", anchor=BEGIN, zone="UTC", allowance_credits=0)
        self.tell(plan, "test", "plan", BEGIN - timedelta(days=9))

    async def at(self, now: datetime) -> None:
        """It is so late now."""
        await self.desk.order("clock", advance_seconds=int((now - self.now).total_seconds()))
        self.now = now

    def tell(self, fact: AnyFact, source: str, id: str, at: datetime | None = None) -> Stored:
        """The log has a fact, a moment after it happened at Stripe."""
        at = at or self.now + SOON
        stored = Stored(SHARD, len(self.log) + 1, at, at, TEAM, source, id, fact.type, fact.body())
        self.log.append(stored)
        return stored

    async def pay(self, cents: int = 2_000) -> Paid:
        """A payment at Stripe, which the log credits."""
        paid = await charged(self.desk, TEAM, cents=cents)
        fact = bought(paid)
        asked = asked_for(paid, fact)
        self.tell(asked.fact, asked.source, asked.id, self.now)
        self.accounts[paid.id] = open_account(self.tell(fact, STRIPE, paid.id), fact)
        return paid

    def follow(self, paid: Paid, refunded: int = 0, **disputes: Disputed) -> None:
        """The log says what went back of a payment."""
        account = self.accounts[paid.id]
        fact = fact_due(account, PaymentAtStripe(refunded, disputes))
        assert fact is not None
        stored = self.tell(fact, source_of(paid.id), numbered("reversal", account.reversals + 1))
        self.accounts[paid.id] = evolve(account, stored, fact)

    async def tied(self, month: Month | None = None) -> TieOut:
        """October on both sides; nobody else is at work who might still bring something."""
        await lay(self.connection, self.log)
        books = await fold_month(self.connection, month or Month("2016-10", "UTC", OCTOBER, NOVEMBER))
        return await tie_out(self.connection, self.desk.charges, books, load_catalog(), settle_seconds=())


@pytest.fixture
async def books(connection: Connection) -> AsyncIterator[Books]:
    """Both sides, a moment before October."""
    async with a_desk(frozen_at=BEGIN) as desk:
        yield Books(connection, desk)


async def revenue(database: str, url: str, *arguments: str, key: str = KEY) -> Result:
    environment = {
        "CREDITWELL_DATABASE": database + READER, "CREDITWELL_STRIPE_KEY": key, "CREDITWELL_STRIPE_API": url,
        "CREDITWELL_BOOKS_ZONE": "UTC", "CREDITWELL_INSECURE_DEV": "1",
    }  # fmt: skip
    return await asyncio.to_thread(CliRunner().invoke, app, ["revenue", *arguments], env=environment)


async def a_year_end(books: Books) -> dict[str, str]:
    """Payments before, in and at the end of October, of which some went back and came again; their ids by name."""
    early = await books.pay()
    await books.at(OCTOBER + timedelta(days=14))
    refunded, disputed = await books.pay(), await books.pay()
    refund_id = await refund(books.desk, refunded, 500)
    books.follow(refunded, 500)
    dispute_id = await dispute(books.desk, disputed)
    books.follow(disputed, du=Disputed(2_000, "open"))
    await books.at(OCTOBER + timedelta(days=20))
    await refund(books.desk, refunded, 300)
    books.follow(refunded, 800)
    await books.desk.order(f"refunds/{refund_id}/fail")
    books.follow(refunded, 300)
    await decide(books.desk, dispute_id, won=True)
    books.follow(disputed, du=Disputed(2_000, "won"))
    await books.desk.order("payouts", currency="usd")
    await books.at(NOVEMBER - timedelta(seconds=2))
    late = await books.pay()
    return {"early": early.id, "late": late.id, "refunded": refunded.id, "disputed": disputed.id}


async def test_a_month_ties_but_for_what_lies_between_it_and_its_neighbours(books: Books, database: str) -> None:
    ids = await a_year_end(books)
    await lay(books.connection, books.log)

    result = await revenue(database, books.desk.url, "2016-10", "--stripe", "--format", "json")

    assert result.exit_code == 0, result.stderr
    tied = json.loads(result.stdout)["stripe"]
    assert tied["ok"]
    assert [(one["kind"], one["at_stripe"], one["in_log"]) for one in tied["totals"]] == [
        ("charged", "60.00", "60.00"), ("disputed", "0.00", "0.00"), ("refunded", "-3.00", "-3.00"),
    ]  # fmt: skip
    assert [(one["type"], one["payment"], one["difference"], one["break"]) for one in tied["lines"]] == [
        ("earlier_month", ids["early"], "-20.00", False), ("later_month", ids["late"], "20.00", False),
    ]  # fmt: skip
    assert [(one["at_stripe"], one["in_log"]) for one in tied["lines"]] == [
        ("2016-09-30T23:59:58.000000Z", "2016-10-01T00:00:03.000000Z"),
        ("2016-10-31T23:59:58.000000Z", "2016-11-01T00:00:03.000000Z"),
    ]
    assert {one["category"]: (one["transactions"], one["gross"], one["fee"]) for one in tied["balance"]} == {
        "charge": (3, "60.00", "2.64"), "refund": (2, "-8.00", "0.00"), "refund_failure": (1, "5.00", "0.00"),
        "dispute": (1, "-20.00", "15.00"), "dispute_reversal": (1, "20.00", "0.00"), "payout": (1, "-39.36", "0.00"),
    }  # fmt: skip
    [payout] = tied["payouts"]
    assert payout["net"] == "-39.36"
    refunded, disputed = ids["refunded"], ids["disputed"]
    assert Counter((one["category"], one["payment"]) for one in payout["held"]) == Counter({
        ("charge", ids["early"]): 1, ("charge", refunded): 1, ("charge", disputed): 1, ("refund", refunded): 2,
        ("refund_failure", refunded): 1, ("dispute", disputed): 1, ("dispute_reversal", disputed): 1,
    })  # fmt: skip
    assert sum(Decimal(one["net_of_fee"]) for one in payout["held"]) == Decimal("39.36")


async def test_neighbouring_months_share_what_lies_between_them_and_people_read_it(books: Books, database: str) -> None:
    ids = await a_year_end(books)
    await lay(books.connection, books.log)

    november = await revenue(database, books.desk.url, "2016-11", "--stripe", "--format", "csv")
    table = await revenue(database, books.desk.url, "2016-10", "--stripe")
    alone = await revenue(database, "http://127.0.0.1:1", "2016-10")

    assert (november.exit_code, table.exit_code, alone.exit_code) == (0, 0, 0), november.stderr + table.stderr
    assert [line.split(",")[:7] for line in november.stdout.splitlines()[1:]] == [
        ["earlier_month", "False", ids["late"], TEAM, "charged", "usd", "-20.00"]
    ]
    assert "2.64 USD" in table.stdout
    assert "later_month" in table.stdout
    assert "3 charge, 1 dispute" in table.stdout
    assert "2.64" not in alone.stdout, "without --stripe nobody is asked"


async def test_what_a_payout_by_hand_held_nobody_can_tell(books: Books) -> None:
    await books.at(OCTOBER + timedelta(days=3))
    paid = await books.pay()
    manual = await books.desk.order("payouts", currency="usd", amount=1_000)
    whole = await books.desk.order("payouts", currency="usd")

    tied = await books.tied()

    assert [(payout.move.source_id, payout.held is None) for payout in tied.payouts] == [
        (manual["id"], True), (whole["id"], False),
    ]  # fmt: skip
    rows = list(csv.DictReader(payouts_csv_of(tied).splitlines()))
    assert [(row["payout"], row["payment"], row["net_of_fee"]) for row in rows] == [
        (manual["id"], "", ""), (whole["id"], "", "-10.00"), (whole["id"], paid.id, "19.12"),
    ]  # fmt: skip


async def test_each_break_is_named_with_what_it_moves(books: Books) -> None:
    await books.at(OCTOBER + timedelta(days=3))
    desk = books.desk
    uncredited = await charged(desk, TEAM)
    more, refunded, disputed = [await books.pay() for _ in range(3)]
    place = books.accounts[more.id].lot - 1
    books.log[place] = books.log[place]._replace(body=bought(more, charge_cents=2_500).body())
    await refund(desk, refunded, 700)
    await dispute(desk, disputed)
    orphan = await by_hand(desk)
    ghost = Paid(TEAM, uncredited.intent)
    unpaid = bought(ghost).model_copy(update={"payment_intent_id": "pi_nowhere"})
    books.tell(unpaid, STRIPE, "pi_nowhere")

    tied = await books.tied()

    assert {(line.type.value, line.key.payment, line.cents) for line in tied.lines} == {
        ("orphan_intent", orphan, 2_000), ("paid_not_credited", uncredited.id, 2_000),
        ("amount_mismatch", more.id, -500), ("refund_not_clawed", refunded.id, -700),
        ("dispute_unhandled", disputed.id, -2_000), ("credited_not_paid", "pi_nowhere", -2_000),
    }  # fmt: skip
    assert all(line.next_step for line in tied.lines)
    assert not tied.ties
    between = {key: cents - tied.in_log[key] for key, cents in tied.at_stripe.items()}
    for line in tied.lines:
        between[line.key.currency, line.key.kind] -= line.cents
    assert not any(between.values()), "the lines explain the whole difference"


async def test_a_payment_that_two_teams_were_credited_for_is_a_duplicate(books: Books, connection: Connection) -> None:
    await books.at(OCTOBER + timedelta(days=3))
    paid = await books.pay()
    other = bought(paid)
    stored = Stored(
        shard_of("team_b"), 1, books.now + SOON, books.now + SOON, "team_b", STRIPE, paid.id, other.type, other.body()
    )  # fmt: skip
    await connection.execute(INSERT, *stored)
    async with heads_unguarded(connection):
        await connection.execute(MOVE_HEAD, stored.shard, 2)

    tied = await books.tied()

    lines = {line.type.value: (line.key.payment, line.cents) for line in tied.breaks}
    assert lines["duplicate_credit"] == (paid.id, -2_000)
    assert sum(line.cents for line in tied.lines) == -2_000


async def test_what_needs_nobody_is_no_break(books: Books) -> None:
    await books.at(OCTOBER + timedelta(days=3))
    desk = books.desk
    back = await by_hand(desk)
    await refund(desk, back)
    settled = await by_hand(desk)
    elsewhere = await by_hand(desk, metadata={"log": "another", "team_id": TEAM})
    adjusted = CreditsAdjusted(credits=MICRO, reason="found", refers_to=settled, adjusted_by="op_1")
    books.tell(adjusted, "creditwell:gifts", "adjustment:1")

    tied = await books.tied()

    assert {(line.type.value, line.key.payment, line.cents) for line in tied.lines} == {
        ("given_back", back, 2_000), ("given_back", back, -2_000), ("settled_by_hand", settled, 2_000),
        ("another_log", elsewhere, 2_000),
    }  # fmt: skip
    assert tied.ties


async def test_whoever_can_not_ask_stripe_is_told_so(connection: Connection, database: str, desk: Desk) -> None:
    wrong_key = await revenue(database, desk.url, "2016-10", "--stripe", key="sk_test_wrong")
    mixed = [
        await revenue(database, desk.url, "2016-10", "--stripe", *more)
        for more in (("--by", "team"), ("--ageing",), ("--format", "beancount"))
    ]

    assert (wrong_key.exit_code, [one.exit_code for one in mixed]) == (2, [2, 2, 2])
    assert "Stripe refuses to answer" in wrong_key.stderr
