"""`creditwell revenue`: what was earned in a month, and what is still owed to those who paid."""

import sys
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.money import format_money
from services.cli.finance import tie_out
from services.cli.showing import FOUND_WRONG, fail, print_json, print_table, progress, with_database
from services.runtime.clock import system_clock
from services.runtime.settings_loading import exit_used_wrongly, load_settings
from services.store.connect import Connection

if TYPE_CHECKING:
    from projections.books.month import Month, MonthBooks
    from services.books.tie_out import TieOut


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
    stripe: Annotated[
        bool, typer.Option("--stripe", help="Also ask Stripe, and say where its balance of the month differs, and why.")
    ] = False,
) -> None:
    """Where the cents of each payment are at the end of a month: earned, owed, refunded, disputed, or tax.

    It asks the log alone, so a past month is the same for ever; with --stripe it asks Stripe, too. Exit code 1: the
    accounts do not balance, or Stripe's do not tie with them. docs/revenue.md has the rules.

    Example: creditwell revenue 2026-10 --stripe --format json
    """
    now = system_clock()
    chosen = month_begun(month, now)
    _check_options(format_, by, ageing=ageing, stripe=stripe)
    books, tied = _ask(chosen, stripe=stripe)
    if ageing:
        _write_ageing(books, format_)
    else:
        _write(books, tied, format_, by, is_open=chosen.ends_at > now)
    _end(books)
    if tied is not None:
        tie_out.end(tied)


def _ask(month: "Month", *, stripe: bool) -> "tuple[MonthBooks, TieOut | None]":
    """The month by the log and, if asked for, by Stripe; ends the process where one of them does not answer."""
    from services.books.folding import fold_month, size_of_log
    from services.runtime.logs import configure_logs

    settings = load_settings()
    if stripe:
        settings.require("database", "stripe_key")
        configure_logs(settings, "revenue")

    async def work(connection: Connection) -> "tuple[MonthBooks, TieOut | None]":
        with progress("booking", await size_of_log(connection)) as tell:
            books = await fold_month(connection, month, tell)
        return books, await tie_out.ask_stripe(connection, settings, books) if stripe else None

    return with_database(work)


def _check_options(format_: RevenueFormat, by: By | None, *, ageing: bool, stripe: bool) -> None:
    for name, is_given in (("--ageing", ageing), ("--stripe", stripe)):
        if is_given and (by is not None or format_ is RevenueFormat.BEANCOUNT):
            exit_used_wrongly(f"{name} goes with --format table, json or csv, and without --by.")
    if ageing and stripe:
        exit_used_wrongly("--ageing and --stripe are two questions: ask one after the other.")


def month_begun(month: str, now: datetime) -> "Month":
    """A month of the books that has begun; ends the process for any other."""
    from projections.books.month import month_of

    try:
        chosen = month_of(month, load_settings().books_zone)
    except ValueError:
        exit_used_wrongly(f"{month!r} is no month: write 2026-10.")
    if chosen.starts_at > now:
        exit_used_wrongly(f"{month} has not begun.")
    return chosen


def _write(books: "MonthBooks", tied: "TieOut | None", format_: RevenueFormat, by: By | None, *, is_open: bool) -> None:
    from projections.books.journal import journal
    from projections.books.tables import csv_of

    match format_:
        case RevenueFormat.JSON:
            print_json(_document(books, tied, is_open=is_open))
        case RevenueFormat.CSV if tied is not None:
            from services.books import tie_out_tables

            sys.stdout.write(tie_out_tables.csv_of(tied))
        case RevenueFormat.CSV:
            sys.stdout.write(csv_of(books, by))
        case RevenueFormat.BEANCOUNT:
            sys.stdout.write(journal(books))
        case RevenueFormat.TABLE:
            _show(books, by)
            print("The month is not over: these figures are those of now." if is_open else "", end="\n" * is_open)
            if tied is not None:
                tie_out.show(tied)


def _document(books: "MonthBooks", tied: "TieOut | None", *, is_open: bool) -> dict[str, Any]:
    from projections.books.tables import document

    made = document(books, open_=is_open)
    if tied is not None:
        from services.books import tie_out_tables

        made["stripe"] = tie_out_tables.document(tied)
    return made


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
