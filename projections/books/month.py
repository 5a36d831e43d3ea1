"""The bookings of a month, added up by team and currency, and the checks that they must pass."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from projections.books.accounts import BookAccount, Booking, Cause
from projections.books.ageing import AgeingRow, age
from projections.books.cash import CashMove, cash_of
from projections.books.fold import TeamBooks
from schemas.cycles import instant_of, load_zone
from schemas.money import format_money
from schemas.places import Place

FlowKey = tuple[BookAccount, BookAccount, str | None]  # debit, credit, feature
TeamCurrency = tuple[str, str]
OWN = (BookAccount.STRIPE, BookAccount.HELD)
OWED = (BookAccount.TAX, BookAccount.DEFERRED, BookAccount.FROZEN)
EARNED = (BookAccount.RECOGNISED, BookAccount.BREAKAGE, BookAccount.ADJUSTED)


class Month(NamedTuple):
    """A month of the books: from `starts_at` up to, not including, `ends_at`."""

    name: str
    zone: str
    starts_at: datetime
    ends_at: datetime


def month_of(name: str, zone: str) -> Month:
    """The month that a text such as `2026-10` names. Raises ValueError."""
    first = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
    if first.strftime("%Y-%m") != name or not 2000 <= first.year < 9000:
        message = f"{name!r} is no month"
        raise ValueError(message)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    starts_at, ends_at = (instant_of(day.replace(tzinfo=None), load_zone(zone)) for day in (first, following))
    return Month(name, zone, starts_at, ends_at)


def name_of_month(at: datetime, zone: str) -> str:
    """The month that an instant lies in."""
    return at.astimezone(load_zone(zone)).strftime("%Y-%m")


@dataclass(slots=True)
class Balances:
    """What stood in each account at the month's beginning, and each flow since; cents, more on the debit side is more.

    `opening` and `flows` are counters, so that balances of teams add up to those of all.
    """

    opening: Counter[BookAccount] = field(default_factory=Counter)
    flows: Counter[FlowKey] = field(default_factory=Counter)

    def add(self, other: "Balances") -> None:
        """Count another one in."""
        for mine, theirs in ((self.opening, other.opening), (self.flows, other.flows)):
            for key, cents in theirs.items():
                mine[key] += cents  # type: ignore[index]  # both are of the same kind

    def changed(self, account: BookAccount) -> int:
        """What came into an account in the month, less what went."""
        return self.flow(account, None) - self.flow(None, account)

    def closing(self, account: BookAccount) -> int:
        """What stands in an account at the month's end."""
        return self.opening[account] + self.changed(account)

    def flow(self, debit: BookAccount | None, credit: BookAccount | None) -> int:
        """What flowed into `debit` out of `credit`, of which either may be any."""
        return sum(
            cents
            for (into, out_of, _), cents in self.flows.items()
            if debit in (into, None) and credit in (out_of, None)
        )

    def net_flow(self, debit: BookAccount, credit: BookAccount) -> int:
        """What flowed into `debit` out of `credit`, less what flowed back."""
        return self.flow(debit, credit) - self.flow(credit, debit)


@dataclass(slots=True)
class JournalDay:
    """What one team moved on one day for one cause: the payments it was about, and the first and last position."""

    flows: Counter[FlowKey] = field(default_factory=Counter)
    payments: dict[str, None] = field(default_factory=dict)
    shard: int = 0
    first: int = 0
    last: int = 0

    @property
    def positions(self) -> str:
        """From the first to the last fact."""
        return f"{Place(self.shard, self.first)} to {Place(self.shard, self.last)}"

    def add(self, booking: Booking) -> None:
        """Count a booking in."""
        for debit, credit, cents, feature in booking.moves:
            self.flows[debit, credit, feature] += cents
        if booking.payment is not None:
            self.payments[booking.payment] = None
        self.shard, self.first, self.last = booking.shard, self.first or booking.position, booking.position


JournalKey = tuple[str, str, str, Cause]  # day, team, currency, cause


@dataclass(slots=True)
class MonthBooks:
    """A month's books. Bookings come in the order of the log, team by team or mixed, those of months before too."""

    month: Month
    balances: defaultdict[TeamCurrency, Balances] = field(default_factory=lambda: defaultdict(Balances))
    late: Counter[tuple[str, str]] = field(default_factory=Counter)  # currency, month of the work
    cash: list[CashMove] = field(default_factory=list)  # of the month
    days: defaultdict[JournalKey, JournalDay] = field(default_factory=lambda: defaultdict(JournalDay))
    ageing: list[AgeingRow] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, bookings: Iterable[Booking]) -> None:
        """Count bookings in."""
        for booking in bookings:
            team_currency = booking.team_id, booking.currency
            if booking.recorded_at < self.month.starts_at:
                opening = self.balances[team_currency].opening
                for debit, credit, cents, _ in booking.moves:
                    opening[debit] += cents
                    opening[credit] -= cents
            else:
                self._add_of_month(booking, self.balances[team_currency].flows)

    def _add_of_month(self, booking: Booking, flows: Counter[FlowKey]) -> None:
        if (cash := cash_of(booking)) is not None:
            self.cash.append(cash)
        worked_at = booking.worked_at
        for debit, credit, cents, feature in booking.moves:
            flows[debit, credit, feature] += cents
            if credit is BookAccount.RECOGNISED and worked_at is not None and worked_at < self.month.starts_at:
                self.late[booking.currency, name_of_month(worked_at, self.month.zone)] += cents
        day = booking.recorded_at.astimezone(load_zone(self.month.zone)).date().isoformat()
        self.days[day, booking.team_id, booking.currency, booking.cause].add(booking)

    def close(self, books: TeamBooks) -> None:
        """Check a team's books at the month's end against its payments and the credits that are left."""
        expected: defaultdict[str, Counter[BookAccount]] = defaultdict(Counter)
        for payment in books.payments.values():
            accounts = expected[payment.currency]
            accounts[BookAccount.STRIPE] += payment.cash
            accounts[BookAccount.HELD] += payment.held
            accounts[BookAccount.TAX] -= payment.tax - payment.refunded_tax
            accounts[BookAccount.FROZEN] -= sum(payment.frozen.values())
        for row in (rows := age(books, self.month.ends_at)):
            expected[row.currency][BookAccount.DEFERRED] -= row.cents
        self.ageing += rows
        team_id = books.team.team_id
        for currency, accounts in expected.items():
            balances = self.balances[team_id, currency]
            for account in (*OWN, *OWED):
                stands, should = balances.closing(account), accounts[account]
                if stands != should:
                    stands_text, should_text = format_money(stands, currency), format_money(should, currency)
                    self.wrong.append(f"{team_id}: {account} should be {should_text} and is {stands_text}")

    def by_currency(self) -> dict[str, Balances]:
        """The balances of all teams together, sorted."""
        totals: dict[str, Balances] = {}
        for (_, currency), balances in sorted(self.balances.items(), key=lambda item: item[0]):
            totals.setdefault(currency, Balances()).add(balances)
        return dict(sorted(totals.items()))
