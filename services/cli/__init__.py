"""`creditwell …`: every process, and every question that finance and operators ask, on one command line.

    exit code 0   fine
              1   something is wrong, and was named
              2   used wrongly: arguments or settings
              3   could not be done now: the database or Kafka does not answer

Each command has `--json`, or `--format json` where there are more formats: one JSON document on standard output,
everything else on standard error. Modules are imported by the command that needs them, so that `--help` is quick and a
process loads only what it runs.

    processes   what runs or prepares something
    log         replay, rebuild
    proofs      verify; single entries, proved
    exports     tables for other tools
    teams       one team: its balance, its activity, its members who are erased
    plans       what the catalog gives for them
    refused     usage that was not accepted
    notices     what the host product was told
    topics      Kafka's topics: created, checked, fixed
    trouble     teams for which some work is halted; a store that went back in time; what came of a request
    reconcile   Stripe against the log
    finance     a month of the books, tied out with Stripe; a team's sealed cycle; what waits for another person
    rate_cards  cards in files, made and checked
    simulate    what another rate card would have cost
    showing     what commands share
"""

import inspect
import os
import re
import sys
from typing import Annotated

import typer

from services import VERSION
from services.cli import (
    exports,
    log,
    notices,
    plans,
    processes,
    proofs,
    rate_cards,
    reconcile,
    refused,
    simulate,
    teams,
    topics,
)
from services.cli.finance import close, requests, revenue, statements
from services.cli.trouble import halted, resume, trail
from services.runtime.settings import WrongSettings
from services.runtime.settings_loading import exit_used_wrongly, say_used_wrongly, unknown_variables

ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    name="creditwell",
    help="Meters the use of AI features in credits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would show local variables, and so secrets
    add_completion=False,
)


def _say_version(is_asked_for: bool) -> None:  # noqa: FBT001 - as typer calls it
    if is_asked_for:
        print(f"creditwell {VERSION}")
        raise typer.Exit


@app.callback()
def creditwell(
    context: typer.Context,
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Which version this is.")
    ] = False,
) -> None:
    """Meters the use of AI features in credits."""
    if context.invoked_subcommand != "serve":  # which says it in its log
        say_used_wrongly(*(f"warning: {sentence}" for sentence in unknown_variables(os.environ)))


app.command()(processes.serve)
app.command()(processes.migrate)
app.command()(processes.token)
app.command("signing-key")(processes.signing_key)
app.command()(teams.balance)
app.command()(teams.activity)
app.command()(teams.erase)
app.command()(proofs.verify)
app.command()(proofs.prove)
app.command()(log.replay)
app.command()(log.rebuild)
app.command()(resume.resume)
app.command()(resume.fork)
app.command()(exports.archive)
app.command()(reconcile.reconcile)
app.add_typer(exports.app, name="export")
app.command()(revenue.revenue)
app.command()(statements.statement)
app.command()(close.close)
app.add_typer(requests.app, name="requests")
app.add_typer(plans.app, name="plans")
app.add_typer(rate_cards.app, name="rate-card")
app.add_typer(simulate.app, name="simulate")
app.add_typer(refused.app, name="refused")
app.add_typer(notices.app, name="notices")
app.add_typer(halted.app, name="halted")
app.command()(trail.trail)
app.add_typer(topics.app, name="topics")
app.command()(processes.demo)
app.command(context_settings=ANYTHING, add_help_option=False)(processes.bench)


def _let_flow(commands: typer.Typer) -> None:
    """A paragraph of help has the width of the terminal, and not that of our lines. Each example has its own."""
    for command in commands.registered_commands:
        command.help = re.sub(r"(?<!\n)\n(?!\n|Example: )", " ", inspect.getdoc(command.callback) or "")
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _let_flow(group.typer_instance)


_let_flow(app)


def main() -> None:
    """The command `creditwell`."""
    for argument in sys.argv[1:]:
        if any("\ud800" <= letter <= "\udfff" for letter in argument):  # bytes that are no text, as Python has them
            exit_used_wrongly(f"{argument!r:.80} is no text in UTF-8.")
    try:
        app(prog_name="creditwell")
    except WrongSettings as wrong:
        exit_used_wrongly(*wrong.sentences)
