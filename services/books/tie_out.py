"""A month of the books against Stripe's balance: what differs, payment by payment, and why.

Stripe's balance transactions of the month are held against the bookings of the month. A payment of which the two do not
say the same is looked at alone, on both sides and over all its time, as `reconcile` does. What is left is a break, of
the same types; or the two agree, and only a month's beginning or end lies between them.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from projections.books.cash import CATEGORIES, CashKey, CashKind, CashMove, crossing, differing, sums
from projections.books.month import Month, MonthBooks
from projections.reversals import Account, evolve
from schemas.catalog import Catalog
from schemas.instants import instant_or_none
from schemas.money import format_money
from services.money.reconcile.breaks import Break, BreakKind, LookedAt, Payment
from services.money.reconcile.compare import SETTLE_SECONDS, look_at
from services.money.reconcile.listing import listed
from services.money.reconcile.report import Period
from services.money.reversals import source_of
from services.money.stripe_client import BalanceMove, Charges
from services.store.connect import Connection
from services.store.numbered import all_of

PAYOUT = "payout"
KINDS = {BreakKind.REFUND_NOT_CLAWED: CashKind.REFUNDED, BreakKind.DISPUTE_UNHANDLED: CashKind.DISPUTED}
ORPHAN_STEP = "find out at Stripe who made it, and refund it there"
UNEXPLAINED_STEP = "compare the payment's balance transactions at Stripe with its entries here"


class Explained(StrEnum):
    """Why a difference is no break."""

    EARLIER_MONTH = "earlier_month"  # one side had it in a month before: paid there, credited in this one
    LATER_MONTH = "later_month"  # one side has it in a month after: paid in this one, credited there
    GIVEN_BACK = "given_back"  # it brought no credits, and all of it went back
    SETTLED_BY_HAND = "settled_by_hand"  # an adjustment refers to it
    ANOTHER_LOG = "another_log"  # of another Creditwell at the same account


class TieOutLine(NamedTuple):
    """What differs. `cents`: how much more Stripe has of it in this month, in minor units; less than none, the log."""

    type: BreakKind | Explained
    key: CashKey
    team_id: str | None
    cents: int
    what: str
    next_step: str | None
    at_stripe: datetime | None = None
    in_log: datetime | None = None

    @property
    def is_break(self) -> bool:
        """Somebody has to do something."""
        return isinstance(self.type, BreakKind)


@dataclass(slots=True)
class BalanceSum:
    """Transactions of one reporting category and currency: how many, and minor units."""

    transactions: int = 0
    gross: int = 0
    fee: int = 0
    net: int = 0

    def add(self, move: BalanceMove) -> None:
        """And that one."""
        self.transactions += 1
        self.gross += move.gross_cents
        self.fee += move.fee_cents
        self.net += move.net_cents


class Payout(NamedTuple):
    """What went to the bank. `held` are the transactions that it brought there, newest first, of this month or before.

    None where Stripe can't tell: of one that was made by hand, and while Stripe still counts.
    """

    move: BalanceMove
    held: list[BalanceMove] | None


@dataclass(slots=True)
class TieOut:
    """A month on both sides.

    Attributes:
        month: which.
        balance: Stripe's balance by (currency in which the account settles, reporting category).
        at_stripe: what came and went there, by (currency, kind).
        in_log: the same by the books.
        lines: what differs.
        payouts: what went to the bank, oldest first.
    """

    month: Month
    balance: dict[tuple[str, str], BalanceSum] = field(default_factory=dict)
    at_stripe: Counter[tuple[str, CashKind]] = field(default_factory=Counter)
    in_log: Counter[tuple[str, CashKind]] = field(default_factory=Counter)
    lines: list[TieOutLine] = field(default_factory=list)
    payouts: list[Payout] = field(default_factory=list)

    @property
    def breaks(self) -> list[TieOutLine]:
        """What somebody has to look at."""
        return [line for line in self.lines if line.is_break]

    @property
    def ties(self) -> bool:
        """No break is left, and the lines explain the whole difference of the sums."""
        between = Counter(self.at_stripe)
        between.subtract(self.in_log)
        for line in self.lines:
            between[line.key.currency, line.key.kind] -= line.cents
        return not self.breaks and not any(between.values())


async def tie_out(
    connection: Connection,
    charges: Charges,
    books: MonthBooks,
    catalog: Catalog,
    *,
    settle_seconds: Iterable[float] = SETTLE_SECONDS,
    on_move: Callable[[BalanceMove], None] = lambda _: None,
) -> TieOut:
    """Hold a month's books against Stripe. `on_move` is told each transaction of the month as it comes, newest first.

    Raises:
        Unavailable: Stripe does not answer, time and again.
        WrongRequest: its key is none, or may not read the balance.
    """
    result, nameless, payouts = TieOut(books.month), set[str](), list[BalanceMove]()
    at_stripe: Counter[CashKey] = Counter()
    async for move in listed(charges.list_moves, Period(books.month.starts_at, books.month.ends_at)):
        on_move(move)
        result.balance.setdefault((move.currency, move.category), BalanceSum()).add(move)
        if move.category == PAYOUT:
            payouts.append(move)
        if (cash := _cash_of(move)) is not None:
            at_stripe[cash.key] += cash.cents
            nameless |= {cash.key.payment} if move.payment_intent_id is None else set()
    result.payouts = [Payout(move, await _held_by(charges, move)) for move in reversed(payouts)]
    in_log = sums(books.cash)
    for sides, totals in ((at_stripe, result.at_stripe), (in_log, result.in_log)):
        for key, cents in sides.items():
            totals[key.currency, key.kind] += cents
    keys = differing(at_stripe, in_log)
    result.lines = [_orphan(key, at_stripe[key]) for key in keys if key.payment in nameless]
    named = [key for key in keys if key.payment not in nameless]
    async for line in _lines(connection, charges, books, catalog, named, settle_seconds):
        result.lines.append(line)
    result.lines.sort(key=lambda line: (not line.is_break, line.type, line.key))
    return result


async def _held_by(charges: Charges, payout: BalanceMove) -> list[BalanceMove] | None:
    """What Stripe says that a payout brought to the bank."""
    if not payout.is_itemised or payout.source_id is None:
        return None
    moves = listed(partial(charges.list_moves, payout=payout.source_id), Period())
    return [move async for move in moves if move.id != payout.id]


async def _lines(
    connection: Connection, charges: Charges, books: MonthBooks, catalog: Catalog, keys: Sequence[CashKey],
    settle_seconds: Iterable[float],
) -> AsyncIterator[TieOutLine]:  # fmt: skip
    """Why each of these differs; each payment is looked at alone."""
    teams: dict[str, tuple[str, ...]] = {key.payment: () for key in keys}
    for move in books.cash:
        name = move.key.payment
        if name in teams and move.team_id is not None and move.team_id not in teams[name]:
            teams[name] += (move.team_id,)
    for looked in await look_at(connection, charges, teams, catalog=catalog, settle_seconds=settle_seconds):
        name = looked.payment.payment_intent_id
        moves = [] if looked.payment.intent is None else await charges.moves_of(name)
        at_stripe = [cash for move in moves if (cash := _cash_of(move)) is not None]
        in_log = await _log_moves(connection, looked.payment)
        for key in keys:
            if key.payment == name:
                for line in _explain(books.month, key, looked, _of(key, at_stripe), _of(key, in_log)):
                    yield line


def _explain(
    month: Month, key: CashKey, looked: LookedAt, at_stripe: Sequence[CashMove], in_log: Sequence[CashMove]
) -> list[TieOutLine]:
    """Why one kind of movement of one payment is not the same on both sides in this month."""
    cents = _within(month, at_stripe) - _within(month, in_log)
    if looked.open_breaks:
        return _broken(key, cents, looked.open_breaks)
    team_id = looked.payment.credits[0].team_id if looked.payment.credits else None
    if looked.elsewhere:
        return [TieOutLine(Explained.ANOTHER_LOG, key, None, cents, "it is of another Creditwell", None)]
    if sum(move.cents for move in at_stripe) == sum(move.cents for move in in_log):
        return _of_other_months(month, key, team_id, at_stripe, in_log)
    intent = looked.payment.intent
    if looked.by_hand:
        what = "an adjustment refers to the payment"
        return [TieOutLine(Explained.SETTLED_BY_HAND, key, team_id, cents, what, None)]
    if not looked.payment.credits and intent is not None and (intent.given_back or looked.payment.disputes):
        what = "it brought no credits, and what was paid went back"
        return [TieOutLine(Explained.GIVEN_BACK, key, team_id, cents, what, None)]
    moved, booked = (format_money(_within(month, side), key.currency) for side in (at_stripe, in_log))
    what = f"{key.kind}: {moved} moved at Stripe, {booked} by the log, and no other month explains it"
    return [TieOutLine(BreakKind.AMOUNT_MISMATCH, key, team_id, cents, what, UNEXPLAINED_STEP)]


def _broken(key: CashKey, cents: int, breaks: Sequence[Break]) -> list[TieOutLine]:
    """The breaks about this kind of movement, or else about the payment; the first one carries the difference."""
    own = [one for one in breaks if KINDS.get(one.type, CashKind.CHARGED) is key.kind] or breaks
    return [
        TieOutLine(one.type, key, one.team_id, 0 if number else cents, one.what, one.next_step)
        for number, one in enumerate(own)
    ]


def _of_other_months(
    month: Month, key: CashKey, team_id: str | None, at_stripe: Sequence[CashMove], in_log: Sequence[CashMove]
) -> list[TieOutLine]:
    """Both sides have all of it, and a month's beginning or end lies between."""
    lines = []
    for explained, at, sign in (
        (Explained.EARLIER_MONTH, month.starts_at, -1), (Explained.LATER_MONTH, month.ends_at, 1),
    ):  # fmt: skip
        if (boundary := crossing(at, at_stripe, in_log)) is not None:
            there, here = (instant_or_none(at) for at in (boundary.at_stripe, boundary.in_log))
            what = f"{key.kind} at {there} at Stripe, at {here} in the log"
            lines.append(
                TieOutLine(
                    explained, key, team_id, sign * boundary.cents, what, None, boundary.at_stripe, boundary.in_log
                )
            )
    return lines


def _orphan(key: CashKey, cents: int) -> TieOutLine:
    """Money that no payment intent asked for, so nothing here did."""
    what = f"{key.kind}: {format_money(cents, key.currency)} moved at Stripe, and nothing here asked for it"
    return TieOutLine(BreakKind.ORPHAN_INTENT, key, None, cents, what, ORPHAN_STEP)


def _cash_of(move: BalanceMove) -> CashMove | None:
    """A transaction as a movement of a payment; None for a fee, a payout, or whatever is about no payment."""
    kind, name = CATEGORIES.get(move.category), move.payment_intent_id or move.source_id
    if kind is None or name is None:
        return None
    return CashMove(CashKey(name, kind, move.paid_currency), move.paid_cents, move.created_at)


async def _log_moves(connection: Connection, payment: Payment) -> list[CashMove]:
    """All movements of a payment by the log, in their order."""
    name, moves = payment.payment_intent_id, list[CashMove]()
    for credit in payment.credits:
        key = CashKey(name, CashKind.CHARGED, credit.currency)
        moves.append(CashMove(key, credit.charge_cents, credit.recorded_at, credit.team_id))
    if not payment.credits:
        return moves
    credit = payment.credits[0]
    account = Account(name, 0, credit.credits, credit.charge_cents, credit.currency)
    for stored in await all_of(connection, credit.team_id, source_of(name)):
        before, account = account, evolve(account, stored, stored.fact())
        for kind, cents in (
            (CashKind.REFUNDED, before.refunded_cents - account.refunded_cents),
            (CashKind.DISPUTED, _disputed(before) - _disputed(account)),
        ):
            if cents:
                key = CashKey(name, kind, credit.currency)
                moves.append(CashMove(key, cents, stored.recorded_at, credit.team_id))
    return moves


def _disputed(account: Account) -> int:
    return sum(dispute.away_cents for dispute in account.disputes.values())


def _of(key: CashKey, moves: Sequence[CashMove]) -> list[CashMove]:
    return [move for move in moves if move.key == key]


def _within(month: Month, moves: Sequence[CashMove]) -> int:
    return sum(move.cents for move in moves if month.starts_at <= move.at < month.ends_at)
