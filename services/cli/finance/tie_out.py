"""`creditwell revenue MONTH --stripe`: a month of the books against Stripe's balance."""

from collections import Counter
from typing import TYPE_CHECKING

from schemas.instants import instant
from schemas.money import format_money
from services.cli.showing import FOUND_WRONG, fail, print_table
from services.runtime.settings import Settings
from services.runtime.settings_loading import catalog_of, exit_used_wrongly
from services.store.connect import Connection

if TYPE_CHECKING:
    from projections.books.month import MonthBooks
    from services.books.tie_out import TieOut


async def ask_stripe(connection: Connection, settings: Settings, books: "MonthBooks") -> "TieOut":
    """The month on both sides; ends the process where Stripe refuses to answer."""
    from services.books.tie_out import tie_out
    from services.money.stripe_client import WrongRequest, charges_of

    async with charges_of(settings) as charges:
        try:
            return await tie_out(connection, charges, books, catalog_of(settings))
        except WrongRequest as wrong:
            exit_used_wrongly(
                f"Stripe refuses to answer ({wrong}): check CREDITWELL_STRIPE_KEY and CREDITWELL_STRIPE_API."
            )


def show(result: "TieOut") -> None:
    """Sums of both sides, Stripe's balance by category, and what differs."""
    from services.books.tie_out_tables import totals

    month = result.month.name
    sums = [
        (kind.value, currency.upper(), *(format_money(cents, currency) for cents in both))
        for currency, kind, *both in totals(result)
    ]
    sides = ("at Stripe", "in the log")
    print_table(f"Money at Stripe, {month}", ("", "currency", *sides), sums, numbers=sides)
    balance = [
        (category, f"{one.transactions:,}", *(format_money(cents, currency) for cents in (one.gross, one.fee, one.net)))
        for (currency, category), one in sorted(result.balance.items())
    ]
    numbers = ("transactions", "gross", "fee", "net")
    print_table(f"Stripe's balance, {month}", ("category", *numbers), balance, numbers=numbers)
    if result.payouts:
        _show_payouts(result)
    if result.lines:
        lines = [
            (line.type.value, line.key.payment, format_money(line.cents, line.key.currency),
             line.what if line.next_step is None else f"{line.what}\n→ {line.next_step}")
            for line in result.lines
        ]  # fmt: skip
        print_table(
            "What differs", ("type", "payment", "Stripe has more", "why"), lines, numbers=["Stripe has more"],
            prose=["why"],
        )  # fmt: skip


def _show_payouts(result: "TieOut") -> None:
    rows = []
    for move, held in result.payouts:
        counted = Counter(one.category for one in held or ())
        what = ", ".join(f"{count:,} {category}" for category, count in sorted(counted.items()))
        net = format_money(move.net_cents, move.currency)
        rows.append(
            (move.source_id or "", instant(move.created_at), net, "Stripe can't tell" if held is None else what)
        )
    print_table(f"Payouts, {result.month.name}", ("payout", "at", "net", "what it held"), rows, numbers=["net"])


def end(result: "TieOut") -> None:
    """Exit code 1 where somebody has to do something."""
    if not result.ties:
        differences = f"{len(result.breaks):,} differences are left" if result.breaks else "the sums differ; ask again"
        fail(FOUND_WRONG, f"Stripe and the books do not tie: {differences}")
