"""A month of the books as people and programs read it: the same figures as rows, JSON and CSV."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from projections.books.accounts import BookAccount
from projections.books.month import EARNED, Balances, MonthBooks
from schemas.instants import instant
from schemas.money import major_units
from schemas.spreadsheets import as_cell, csv_lines

FORMAT = "creditwell revenue 1"
FIGURES = {
    "opening": "deferred, opening", "received": "+ received, net", "recognised": "− recognised",
    "refunded_unspent": "− refunded unspent", "breakage": "− breakage", "adjusted": "− adjusted",
    "frozen": "− frozen, change", "closing": "deferred, closing", "reversed": "revenue reversed",
    "dispute_losses": "dispute losses", "revenue": "revenue", "charged": "charged", "refunded": "refunded",
    "disputed": "disputed", "won": "won back", "cash": "cash at Stripe", "cash_to_date": "cash to date",
    "revenue_to_date": "revenue to date", "frozen_closing": "frozen, closing", "tax_closing": "tax payable, closing",
    "held_closing": "held by banks, closing", "other_income_to_date": "breakage and adjusted to date",
}  # fmt: skip
DEBT = "(debt)"  # recognised as a debt was paid: which feature owed it is not kept

Figures = dict[str, int]


def figures_of(balances: Balances) -> Figures:
    """The figures of a month, in cents, in the order in which they are shown."""
    stripe, deferred, changed = BookAccount.STRIPE, BookAccount.DEFERRED, balances.changed
    recognised, breakage, adjusted = (
        -changed(BookAccount.RECOGNISED),
        -changed(BookAccount.BREAKAGE),
        -changed(BookAccount.ADJUSTED),
    )
    reversed_, losses = changed(BookAccount.REVERSED), changed(BookAccount.LOSSES)
    away = (BookAccount.HELD, BookAccount.LOSSES)
    return {
        "opening": -balances.opening[deferred], "received": balances.flow(stripe, deferred), "recognised": recognised,
        "refunded_unspent": balances.net_flow(deferred, BookAccount.REVERSED), "breakage": breakage, "adjusted": adjusted,
        "frozen": balances.net_flow(deferred, BookAccount.FROZEN), "closing": -balances.closing(deferred),
        "reversed": reversed_, "dispute_losses": losses, "revenue": recognised - reversed_ - losses,
        "charged": balances.flow(stripe, deferred) + balances.flow(stripe, BookAccount.TAX),
        "refunded": balances.flow(BookAccount.REVERSED, stripe) + balances.flow(BookAccount.TAX, stripe),
        "disputed": sum(balances.flow(account, stripe) for account in away),
        "won": sum(balances.flow(stripe, account) for account in away), "cash": changed(stripe),
        "cash_to_date": balances.closing(stripe),
        "revenue_to_date": -sum(
            balances.closing(account) for account in (BookAccount.RECOGNISED, BookAccount.REVERSED, BookAccount.LOSSES)
        ),
        "frozen_closing": -balances.closing(BookAccount.FROZEN), "tax_closing": -balances.closing(BookAccount.TAX),
        "held_closing": balances.closing(BookAccount.HELD),
        "other_income_to_date": -sum(balances.closing(account) for account in EARNED[1:]),
    }  # fmt: skip


def ties(figures: Figures) -> bool:
    """True where what we have is what we owe and what we earned, to date."""
    owed = figures["closing"] + figures["frozen_closing"] + figures["tax_closing"]
    earned = figures["revenue_to_date"] + figures["other_income_to_date"]
    return figures["cash_to_date"] + figures["held_closing"] == owed + earned


def by_team(books: MonthBooks) -> dict[tuple[str, str], Figures]:
    """Figures by (currency, team), sorted."""
    return {
        (currency, team_id): figures_of(balances)
        for (team_id, currency), balances in sorted(books.balances.items(), key=lambda item: item[0][::-1])
    }


def by_feature(books: MonthBooks) -> dict[tuple[str, str], int]:
    """What was recognised in the month by (currency, feature), sorted; debts that were paid are a row of their own."""
    recognised: Counter[tuple[str, str]] = Counter()
    for currency, balances in books.by_currency().items():
        for (debit, credit, feature), cents in balances.flows.items():
            sign = (credit is BookAccount.RECOGNISED) - (debit is BookAccount.RECOGNISED)
            if sign:
                recognised[currency, feature or DEBT] += sign * cents
    return dict(sorted(recognised.items()))


def late_use(books: MonthBooks) -> dict[tuple[str, str], int]:
    """What was recognised now for work of earlier months, by (currency, month), sorted."""
    return {key: cents for key, cents in sorted(books.late.items()) if cents}


def ageing(books: MonthBooks) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Deferred money and lots by (currency, age, time since the last use), in the order of the sums' keys."""
    rows: dict[tuple[str, str, str], tuple[int, int]] = {}
    for row in sorted(books.ageing, key=lambda row: (row.currency, row.paid_at, row.team_id, row.lot)):
        key = row.currency, row.age, row.unused
        cents, lots = rows.get(key, (0, 0))
        rows[key] = cents + row.cents, lots + 1
    return rows


def document(books: MonthBooks, *, open_: bool) -> dict[str, Any]:
    """A month as JSON: money as decimal strings of major units. `open_` says that the month is not over."""
    month = books.month
    return {
        "format": FORMAT, "month": month.name, "zone": month.zone, "starts_at": instant(month.starts_at),
        "ends_at": instant(month.ends_at), "open": open_, "ok": is_right(books), "wrong": books.wrong,
        "currencies": {currency: _texts(figures_of(one), currency) for currency, one in books.by_currency().items()},
        "by_feature": [
            {"currency": currency, "feature": feature, "recognised": major_units(cents, currency)}
            for (currency, feature), cents in by_feature(books).items()
        ],
        "by_team": [
            {"currency": currency, "team_id": team_id, **_texts(figures, currency)}
            for (currency, team_id), figures in by_team(books).items()
        ],
        "cut_off": [
            {"currency": currency, "month": name, "recognised": major_units(cents, currency)}
            for (currency, name), cents in late_use(books).items()
        ],
    }  # fmt: skip


def is_right(books: MonthBooks) -> bool:
    """True where every check holds."""
    return not books.wrong and all(ties(figures_of(balances)) for balances in books.by_currency().values())


def ageing_document(books: MonthBooks) -> dict[str, Any]:
    """Deferred money by age, as JSON: the sums, and each lot."""
    return {
        "format": FORMAT, "month": books.month.name, "at": instant(books.month.ends_at), "ok": is_right(books),
        "wrong": books.wrong,
        "sums": [
            {"currency": currency, "age": old, "unused": unused, "lots": lots, "deferred": major_units(cents, currency)}
            for (currency, old, unused), (cents, lots) in ageing(books).items()
        ],
        "lots": [
            {
                "currency": row.currency, "team_id": row.team_id, "lot": row.lot, "paid_at": instant(row.paid_at),
                "last_used_at": instant(row.last_used_at) if row.last_used_at else None,
                "deferred": major_units(row.cents, row.currency),
            }
            for row in sorted(books.ageing, key=lambda row: (row.currency, row.paid_at, row.team_id, row.lot))
        ],
    }  # fmt: skip


def csv_of(books: MonthBooks, by: str | None) -> str:
    """A month as CSV: a line for each currency, or by team or feature."""
    if by == "feature":
        rows = [[*key, major_units(cents, key[0])] for key, cents in by_feature(books).items()]
        return write_csv(["currency", "feature", "recognised"], rows)
    if by == "team":
        teams = [[*key, *_texts(figures, key[0]).values()] for key, figures in by_team(books).items()]
        return write_csv(["currency", "team_id", *FIGURES], teams)
    currencies = books.by_currency().items()
    return write_csv(
        ["currency", *FIGURES], [[one, *_texts(figures_of(balances), one).values()] for one, balances in currencies]
    )


def ageing_csv(books: MonthBooks) -> str:
    """Deferred money by age as CSV: a line for each sum."""
    rows = [[*key, str(lots), major_units(cents, key[0])] for key, (cents, lots) in ageing(books).items()]
    return write_csv(["currency", "age", "unused", "lots", "deferred"], rows)


def write_csv(columns: list[str], rows: Iterable[list[str]]) -> str:
    """CSV with LF. Text that a spreadsheet would run as a formula is kept text; numbers stay numbers."""
    return csv_lines([columns, *(map(as_cell, row) for row in rows)], line_end="\n")


def _texts(figures: Figures, currency: str) -> dict[str, str]:
    return {name: major_units(figures[name], currency) for name in FIGURES}
