"""`creditwell reconcile`: does Stripe say what the log says, payment by payment, to the cent?"""

from typing import TYPE_CHECKING, Annotated

import typer

from schemas.money import format_money
from services.cli.showing import FOUND_WRONG, AsJson, parse_instant, print_json, print_table, progress, with_database
from services.runtime.settings_loading import catalog_of, exit_used_wrongly, load_settings
from services.store.connect import Connection

if TYPE_CHECKING:
    from services.money.reconcile.breaks import Break
    from services.money.reconcile.report import Report


Since = Annotated[
    str | None, typer.Option(help="Payments, refunds and disputes from here on; everything if not given.")
]
Until = Annotated[str | None, typer.Option(help="Payments, refunds and disputes before; everything if not given.")]
Heal = Annotated[
    bool, typer.Option("--heal", help="Give the credits of payments that we had asked for and that brought none.")
]
Claw = Annotated[bool, typer.Option("--claw", help="Follow refunds and disputes that no webhook told of, too.")]


def reconcile(
    *,
    since: Since = None,
    until: Until = None,
    heal: Heal = False,
    claw: Claw = False,
    as_json: AsJson = False,
) -> None:
    """Compare Stripe with the log, both ways; exit code 1 when something is left, each with its next step.

    A payment belongs to the second in which Stripe made it; a time holds its beginning and not its end.

    Example: creditwell reconcile --until 2026-11-01
    """
    from services.money.reconcile.compare import reconcile as compare
    from services.money.reconcile.reads import count_credits
    from services.money.reconcile.report import BEGINNING, END
    from services.money.stripe_client import WrongRequest, charges_of
    from services.runtime.logs import configure_logs

    settings = load_settings()
    start, end = parse_instant(since, "--since") or BEGINNING, parse_instant(until, "--until") or END
    if end <= start:
        exit_used_wrongly("--until: it is not after --since.")
    settings.require("database", "stripe_key")
    configure_logs(settings, "reconcile")
    catalog = catalog_of(settings)

    async def work(connection: Connection) -> "Report":
        expected = await count_credits(connection, start, end)
        async with charges_of(settings) as charges:
            with progress("reconciling", expected, of="payments") as tell:
                return await compare(
                    connection, charges, since=start, until=end, heal=heal, claw=claw, catalog=catalog, on_payments=tell
                )

    try:
        report = with_database(work)
    except WrongRequest as wrong:
        exit_used_wrongly(f"Stripe refuses to answer ({wrong}): check CREDITWELL_STRIPE_KEY and CREDITWELL_STRIPE_API.")
    if as_json:
        print_json(_document(report))
    else:
        _show(report)
    raise typer.Exit(FOUND_WRONG if report.breaks else 0)


def _document(report: "Report") -> dict[str, object]:
    since, until = report.period.bounds
    return {
        "ok": not report.breaks, "since": since.isoformat() if since is not None else None,
        "until": until.isoformat() if until is not None else None, "payments": report.payments,
        "credits": report.credits, "charged": report.charged, "credited": report.credited,
        "refunded": report.refunded, "refunded_by_log": report.refunded_by_log, "disputed": report.disputed,
        "disputed_by_log": report.disputed_by_log, "left": report.by_type,
        "breaks": [_break_document(one) for one in report.breaks], "healed": [_break_document(one) for one in report.healed],
    }  # fmt: skip


def _break_document(one: "Break") -> dict[str, object]:
    return one._asdict() | {"type": one.type.value}


def _show(report: "Report") -> None:
    for title, breaks in (("Healed", report.healed), ("Stripe and the log differ", report.breaks)):
        if breaks:
            rows = [(one.type.value, _whose(one), f"{one.what}\n→ {one.next_step}") for one in breaks]
            print_table(title, columns := ("type", "payment", "what is so, and what to do"), rows, prose=columns[2:])
    for currency in sorted(report.charged | report.credited):
        for done, at_stripe, by_log in (
            ("charged", report.charged, report.credited), ("refunded", report.refunded, report.refunded_by_log),
            ("disputed", report.disputed, report.disputed_by_log),
        ):  # fmt: skip
            stripe_says, log_says = (format_money(side.get(currency, 0), currency) for side in (at_stripe, by_log))
            print(f"{done}: {stripe_says} at Stripe, {log_says} in the log")
    print(f"{report.payments:,} payments at Stripe, {report.credits:,} that brought credits by the log")
    print(f"{len(report.breaks):,} differences are left" if report.breaks else "Stripe and the log say the same")


def _whose(one: "Break") -> str:
    return one.payment_intent_id if one.team_id is None else f"{one.payment_intent_id}\n{one.team_id}"
