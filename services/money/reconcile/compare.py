"""Reconciliation: every payment at Stripe against the log, and every credit of the log against Stripe.

Stripe is listed, never searched: its search may lag by an hour. Three lists name the payments of a time: intents made,
refunds and disputes opened then, of older payments too. Credits are held against the money as well: they are those
that were asked for, by the log and by what stands upon the payment. The log names the payments that brought credits
then, and those that are disputed and undecided. Whatever one look does not settle is looked at alone, the log before
and after Stripe. So what happens meanwhile is never taken for a break, and what is only under way is given a moment to
arrive.

`paid_not_credited` is healed as the worker would have done it: the credits that we had asked for, named after the
payment, which can be credited once. Everything else is a person's decision. To take back what a lost webhook should
have (`claw`) is asked for.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.catalog import Catalog, load_catalog
from services.money.adopting import Doubt, PaidIntent, adopt, believe
from services.money.checkout import flow as pages
from services.money.checkout import rows as checkouts
from services.money.reconcile.breaks import BY_HAND, Break, BreakKind, LookedAt, Payment, breaks_of, is_quiet
from services.money.reconcile.listing import listed
from services.money.reconcile.reads import (
    Credit,
    IntendedPayment,
    credits_between,
    credits_of,
    reversed_by_log,
    settled_by_hand,
    wanted_by,
)
from services.money.reconcile.report import BEGINNING, END, Period, Report
from services.money.reversals import follow, read_account
from services.money.stamps import PaymentRequest, Stamps, kind_of, read_stamps
from services.money.stripe_client import Charges, Intent, Missing
from services.money.top_ups.crediting import credit_top_up
from services.runtime.errors import Unavailable
from services.runtime.logs import get_log
from services.store.connect import Connection, Transaction

CLOCKS_DIFFER = timedelta(hours=1)
LOOKS_MAX = 10
SETTLE_SECONDS = (0.5, 1.5)  # what is under way arrives meanwhile
MAY_BE_UNDER_WAY = frozenset(
    {BreakKind.PAID_NOT_CREDITED, BreakKind.REFUND_NOT_CLAWED, BreakKind.DISPUTE_UNHANDLED, BreakKind.ORPHAN_INTENT}
)
HEALED = frozenset({BreakKind.PAID_NOT_CREDITED})
CLAWED = frozenset({BreakKind.REFUND_NOT_CLAWED, BreakKind.DISPUTE_UNHANDLED})

OnPayments = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Sides:
    """The log and Stripe, and what it takes to believe what stands upon a payment."""

    connection: Connection
    charges: Charges
    catalog: Catalog
    stamps: Stamps


async def reconcile(
    connection: Connection,
    charges: Charges,
    *,
    since: datetime = BEGINNING,
    until: datetime = END,
    heal: bool = False,
    claw: bool = False,
    catalog: Catalog | None = None,
    settle_seconds: Iterable[float] = SETTLE_SECONDS,
    on_payments: OnPayments = lambda _: None,
) -> Report:
    """Compare Stripe with the log, both ways: the payments that Stripe made from `since` until before `until`.

    Not to be called within a transaction: it takes as long as Stripe takes. `catalog` (the package's, unless told)
    says which prices are believed of payments that the log has lost.

    Raises:
        Unavailable: Stripe does not answer, time and again.
    """
    report = Report(Period(since, until))
    sides = Sides(connection, charges, catalog or load_catalog(), await read_stamps(connection))
    suspects = await _suspects(sides, report, on_payments)
    payments = await _examine_settled(sides, suspects, settle_seconds)
    breaks = _breaks_in(payments)
    asked_for = (HEALED if heal else frozenset[BreakKind]()) | (CLAWED if claw else frozenset[BreakKind]())
    acted = [one for one in breaks if one.type in asked_for and await _heal(sides, one)]
    if heal or claw:
        payments |= await _examine_all(sides, _payments_of(breaks), suspects)
        breaks = _breaks_in(payments)
        open_breaks = {(one.type, one.payment_intent_id) for one in breaks}
        report.healed = [one for one in acted if (one.type, one.payment_intent_id) not in open_breaks]
    for payment in payments.values():
        report.count(payment)
    by_hand = await settled_by_hand(connection) if breaks else set()
    report.breaks = [one for one in breaks if not (one.type in BY_HAND and one.payment_intent_id in by_hand)]
    return report


async def look_at(
    connection: Connection, charges: Charges, teams: Mapping[str, tuple[str, ...]], *, catalog: Catalog,
    settle_seconds: Iterable[float] = SETTLE_SECONDS,
) -> list[LookedAt]:  # fmt: skip
    """Some payments on both sides, as `reconcile` looks at those that one look does not settle.

    `teams` has the payments, each with the teams whose credits it brought by the log, where that is known. Not to be
    called within a transaction. What was settled by hand is no break. Raises as `reconcile`.
    """
    sides = Sides(connection, charges, catalog, await read_stamps(connection))
    payments = await _examine_settled(sides, teams, settle_seconds)
    by_hand = await settled_by_hand(connection) if payments else set()
    return [
        LookedAt(
            payment, breaks_of(payment), by_hand=name in by_hand,
            elsewhere=payment.intent is not None and _is_elsewhere(sides, payment.intent),
        )
        for name, payment in payments.items()
    ]  # fmt: skip


def _is_elsewhere(sides: Sides, intent: Intent) -> bool:
    """Another Creditwell's, at the same account."""
    return intent.metadata.get("log", sides.stamps.log) != sides.stamps.log


async def _suspects(sides: Sides, report: Report, on_payments: OnPayments) -> dict[str, tuple[str, ...]]:
    """The payments that one look does not settle, and the teams whose they may be; the others are counted."""
    connection, charges, period = sides.connection, sides.charges, report.period
    credits: dict[str, list[Credit]] = {}
    for credit in await credits_between(connection, sides.catalog, *period.wider(CLOCKS_DIFFER)):
        credits.setdefault(credit.payment_intent_id, []).append(credit)
    went_back = await reversed_by_log(connection, *period)
    suspects: dict[str, tuple[str, ...]] = {}
    async for intent in listed(charges.list_intents, period):
        if _is_elsewhere(sides, intent):
            continue
        report.payments += 1
        on_payments(1)
        credited, stamped = tuple(credits.pop(intent.id, ())), sides.stamps.claimed(intent)
        if is_quiet(intent, credited, went_back, stamped):
            report.count(Payment(intent.id, intent, credits=credited))
        else:
            suspects[intent.id] = tuple({one.team_id for one in credited} | _team_of(intent))
        went_back.discard(intent.id)
    # What is left over of either side: credits of this time whose payment was not listed, and other payments of which
    # something went back then.
    for name, left_over in credits.items():
        if any(period.holds(one.recorded_at) for one in left_over):
            suspects[name] = tuple({one.team_id for one in left_over})
    since, until = period.bounds
    if since is not None:  # else their payments were listed
        for of_kind in (charges.list_refunded, charges.list_disputed):
            went_back.update([name async for name in of_kind(created_after=since, created_before=until)])
    for name in went_back - suspects.keys():
        suspects[name] = ()
    return suspects


def _team_of(intent: Intent | None) -> set[str]:
    return {intent.metadata["team_id"]} if intent is not None and "team_id" in intent.metadata else set()


def _payments_of(breaks: Iterable[Break]) -> Iterable[str]:
    return dict.fromkeys(one.payment_intent_id for one in breaks)


def _breaks_in(payments: Mapping[str, Payment]) -> list[Break]:
    return [one for payment in payments.values() for one in breaks_of(payment)]


async def _examine_all(sides: Sides, names: Iterable[str], teams: Mapping[str, tuple[str, ...]]) -> dict[str, Payment]:
    return {name: await _examine(sides, name, teams[name]) for name in names}


async def _examine_settled(
    sides: Sides, suspects: Mapping[str, tuple[str, ...]], settle_seconds: Iterable[float]
) -> dict[str, Payment]:
    """Every suspect on both sides; what may be under way is looked at again after each of these times."""
    payments = await _examine_all(sides, suspects, suspects)
    for seconds in settle_seconds:
        breaks = _breaks_in(payments)
        if any(one.type in MAY_BE_UNDER_WAY for one in breaks):
            await asyncio.sleep(seconds)
            payments |= await _examine_all(sides, _payments_of(breaks), suspects)
    return payments


async def _examine(sides: Sides, name: str, teams: tuple[str, ...]) -> Payment:
    """One payment on both sides, at a moment at which the log did not move."""
    connection, charges = sides.connection, sides.charges
    if not teams:
        teams = tuple(_team_of(await _retrieve(charges, name)))
    for _ in range(LOOKS_MAX):
        before = await _by_log(sides, name, teams)
        intent = await _retrieve(charges, name)
        disputes = await charges.disputes_of(name) if intent is not None and intent.disputed else ()
        intended = None if before.credits or intent is None else await wanted_by(connection, intent.metadata)
        lost = None if before.credits or intent is None or intended is not None else await _lost(sides, intent)
        stamped = sides.stamps.claimed(intent) if intent is not None else None
        if await _by_log(sides, name, teams) == before:
            return before._replace(intent=intent, disputes=disputes, intended=intended, lost=lost, stamped=stamped)
    raise Unavailable(f"{name} moves while it is looked at")


async def _lost(sides: Sides, intent: Intent) -> PaymentRequest | Doubt | None:
    """What a payment was for that the log does not know; None for one that is not ours, or no money yet."""
    team_id = intent.metadata.get("team_id", "")
    if intent.state != "succeeded" or not sides.stamps.is_ours(intent, team_id):
        return None
    payment = await _with_page(sides, intent)
    return await believe(sides.connection, sides.stamps, sides.catalog, team_id, payment)


async def _with_page(sides: Sides, intent: Intent) -> PaidIntent:
    page = await sides.charges.find_checkout(intent.id) if kind_of(intent) == "purchase" else None
    return PaidIntent(intent, page, await sides.charges.disputes_of(intent.id) if intent.disputed else ())


async def _by_log(sides: Sides, name: str, teams: tuple[str, ...]) -> Payment:
    credits = await credits_of(sides.connection, sides.catalog, teams, name)
    account = await read_account(sides.connection, credits[0].team_id, name) if credits else None
    return Payment(name, None, credits=credits, account=account)


async def _retrieve(charges: Charges, name: str) -> Intent | None:
    try:
        return await charges.retrieve(name)
    except Missing:
        return None


async def _heal(sides: Sides, one: Break) -> bool:
    """Do what a worker would have done.

    False where nothing was left to do, for whoever comes second changes nothing.
    """
    connection, charges = sides.connection, sides.charges
    intent = await charges.retrieve(one.payment_intent_id)
    if one.type in HEALED and not await _credit(sides, intent):
        return False
    if intent.refunded_cents or intent.disputed:
        await follow(transactions_on(connection), charges, intent.id)
    get_log().warning(
        "reconciled", type=one.type.value, payment_intent_id=intent.id, team_id=one.team_id, what=one.what
    )
    return True


async def _credit(sides: Sides, intent: Intent) -> bool:
    """Credit what was paid; False for what is answered by now, or is for a person."""
    connection, charges = sides.connection, sides.charges
    intended = await wanted_by(connection, intent.metadata)
    if intended is None:
        payment = await _with_page(sides, intent)
        async with connection.transaction():
            return await adopt(connection, sides.stamps, sides.catalog, intent.metadata["team_id"], payment)
    if intended.kind == "purchase":
        await _follow_purchase(connection, charges, intended)
        return True
    async with connection.transaction():
        return await credit_top_up(connection, intended.team_id, intended.id, intent) is not None


async def _follow_purchase(connection: Connection, charges: Charges, intended: IntendedPayment) -> None:
    record = await checkouts.find(connection, intended.id)
    assert record is not None
    if record.session_id is not None:
        await pages.follow(charges, transactions_on(connection), record)


def transactions_on(connection: Connection) -> Transaction:
    """For who has one connection only, and may keep it while Stripe is asked."""

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Connection]:
        async with connection.transaction():
            yield connection

    return transaction
