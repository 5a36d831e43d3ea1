"""`creditwell revenue`: what was earned in a month, and what is still owed to those who paid."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.money import format_money
from services.cli.showing import FOUND_WRONG, fail, print_json, print_table, progress, with_database
from services.runtime.clock import system_clock
from services.runtime.settings_loading import exit_used_wrongly, load_settings
from services.store.connect import Connection

if TYPE_CHECKING:
    from projections.books.month import MonthBooks


class RevenueFormat(StrEnum):
    """How a month is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    BEANCOUNT = "beancount"


class By(StrEnum):
    """What a table or a CSV has a line for, beside the currency."""

    TEAM = "team"
    FEATURE = "feature"


def revenue(
    month: Annotated[str, typer.Argument(metavar="MONTH", help="A month of CREDITWELL_BOOKS_ZONE, such as 2026-10.")],
    *,
    format_: Annotated[
        RevenueFormat, typer.Option("--format", help="A table for people, or what programs read.")
    ] = RevenueFormat.TABLE,
    by: Annotated[By | None, typer.Option(help="With table and csv: a line for each of them.")] = None,
    ageing: Annotated[
        bool, typer.Option("--ageing", help="Deferred money by age and by the time since the team's last use.")
    ] = False,
) -> None:
    """Where the cents of each payment are at the end of a month: earned, owed, refunded, disputed, or tax.

    It asks the log alone, so a past month is the same for ever. Exit code 1: the accounts do not balance.
    docs/revenue.md has the rules.

    Example: creditwell revenue 2026-10 --format beancount
    """
    from projections.books.month import month_of
    from services.books.folding import fold_month, size_of_log

    settings = load_settings()
    try:
        chosen = month_of(month, settings.books_zone)
    except ValueError:
        exit_used_wrongly(f"{month!r} is no month: write 2026-10.")
    if chosen.starts_at > (now := system_clock()):
        exit_used_wrongly(f"{month} has not begun.")
    if ageing and (by is not None or format_ is RevenueFormat.BEANCOUNT):
        exit_used_wrongly("--ageing goes with --format table, json or csv, and without --by.")

    async def work(connection: Connection) -> "MonthBooks":
        with progress("booking", await size_of_log(connection)) as tell:
            return await fold_month(connection, chosen, tell)

    books = with_database(work)
    if ageing:
        _write_ageing(books, format_)
    else:
        _write(books, format_, by, is_open=chosen.ends_at > now)
    _end(books)


def _write(books: "MonthBooks", format_: RevenueFormat, by: By | None, *, is_open: bool) -> None:
    from projections.books.journal import journal
    from projections.books.tables import csv_of, document

    match format_:
        case RevenueFormat.JSON:
            print_json(document(books, open_=is_open))
        case RevenueFormat.CSV:
            sys.stdout.write(csv_of(books, by))
        case RevenueFormat.BEANCOUNT:
            sys.stdout.write(journal(books))
        case RevenueFormat.TABLE:
            _show(books, by)
            print("The month is not over: these figures are those of now." if is_open else "", end="\n" * is_open)


def _show(books: "MonthBooks", by: By | None) -> None:
    from projections.books.tables import FIGURES, by_feature, by_team, figures_of, late_use

    title = f"Revenue {books.month.name}, {books.month.zone}"
    if by is By.FEATURE:
        features = [
            (feature, format_money(cents, currency)) for (currency, feature), cents in by_feature(books).items()
        ]
        print_table(title, ("feature", "recognised"), features, numbers=["recognised"])
        return
    if by is By.TEAM:
        columns = ("team", "deferred", "received", "recognised", "revenue", "left")
        names = ("opening", "received", "recognised", "revenue", "closing")
        teams = [
            (team_id, *(format_money(figures[name], currency) for name in names))
            for (currency, team_id), figures in by_team(books).items()
        ]
        print_table(title, columns, teams, numbers=columns[1:])
        return
    currencies = {currency: figures_of(balances) for currency, balances in books.by_currency().items()}
    rows = [
        (label, *(format_money(one[name], of) for of, one in currencies.items())) for name, label in FIGURES.items()
    ]
    print_table(title, ("", *(currency.upper() for currency in currencies)), rows, numbers=map(str.upper, currencies))
    if late := late_use(books):
        shown = [(name, format_money(cents, currency)) for (currency, name), cents in late.items()]
        print_table("Recognised now, for work of", ("month", "recognised"), shown, numbers=["recognised"])


def _write_ageing(books: "MonthBooks", format_: RevenueFormat) -> None:
    from projections.books.tables import ageing, ageing_csv, ageing_document

    match format_:
        case RevenueFormat.JSON:
            print_json(ageing_document(books))
        case RevenueFormat.CSV:
            sys.stdout.write(ageing_csv(books))
        case _:
            rows = [
                (old, unused, lots, format_money(cents, currency))
                for (currency, old, unused), (cents, lots) in ageing(books).items()
            ]
            columns = ("paid", "last use of the team", "payments", "deferred")
            print_table(f"Deferred at the end of {books.month.name}", columns, rows, numbers=columns[2:])


def _end(books: "MonthBooks") -> None:
    from projections.books.tables import is_right

    for sentence in books.wrong:
        print(f"creditwell: {sentence}", file=sys.stderr)
    if not is_right(books):
        fail(FOUND_WRONG, "the accounts do not balance; run `creditwell replay --audit`")
