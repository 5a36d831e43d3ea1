"""`creditwell …`: every process and every question that finance and operators ask, on one command line.

    exit code 0   fine
              1   something is wrong, and was named
              2   used wrongly: arguments or settings
              3   could not be done now: the database or Kafka does not answer

Each command has `--json`: one JSON document on standard output, everything else on standard error. Modules are imported by the
command that needs them, so that `--help` is quick and a process loads only what it runs.
"""

import asyncio
import importlib
import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from services.settings import Settings, WrongSettings, exit_used_wrongly, load_settings

FOUND_WRONG, UNAVAILABLE = 1, 3
PROCESSES = ("recorder", "projector", "relay", "topup", "refill", "signer", "api")

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]

app = typer.Typer(
    name="creditwell",
    help="Meters the use of AI features in credits.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would show local variables, and so secrets
    add_completion=False,
)


@app.command()
def serve(
    process: Annotated[str, typer.Argument(metavar="PROCESS", help=f"One of: {', '.join((*PROCESSES, 'all'))}.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Log lines as JSON, also on a terminal.")] = False,
    stop_at_eof: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run a process until it is asked to stop (SIGTERM or Ctrl-C); `all` runs every one as a child."""
    from services.running import run_process

    if process not in (*PROCESSES, "all"):
        exit_used_wrongly(f"there is no process {process!r}: write one of {', '.join((*PROCESSES, 'all'))}.")
    settings = load_settings(**({"log_format": "json"} if as_json else {}))
    if process == "all":
        from services.supervisor import supervise

        main: Any = partial(supervise, PROCESSES)
    else:
        main = importlib.import_module(f"services.{process}").serve
    raise typer.Exit(run_process(process, main, settings, stop_at_eof=stop_at_eof))


@app.command()
def migrate(*, as_json: AsJson = False) -> None:
    """Bring the store's tables up to date; may run at any time and any number of times."""
    from services.store.migrate import migrate as apply_missing

    applied = asyncio.run(with_database(load_settings(), apply_missing))
    if as_json:
        print_json({"applied": applied})
    else:
        print(f"applied {', '.join(applied)}" if applied else "nothing to apply")


async def with_database(settings: Settings, work: Callable[[Any], Awaitable[T]], *, read_only: bool = False) -> T:
    """Run `work` on one connection without the time limits of a service; ends the process where the database is away."""
    import asyncpg

    from services.errors import Refused
    from services.store.connect import AWAY

    url = settings.needed("database")
    try:
        connection = await asyncpg.connect(
            url,
            server_settings={
                "application_name": "creditwell-cli",
                "timezone": "UTC",
                "default_transaction_read_only": "on" if read_only else "off",
            },
        )
        try:
            return await work(connection)
        finally:
            await connection.close()
    except Refused as refused:
        fail(FOUND_WRONG, str(refused))
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        exit_used_wrongly(f"CREDITWELL_DATABASE is wrong: {error}.")
    except AWAY as error:
        fail(UNAVAILABLE, f"the database does not answer: {error}")


def fail(code: int, sentence: str) -> NoReturn:
    """Say what is wrong and end."""
    print(f"creditwell: {sentence}", file=sys.stderr)
    raise typer.Exit(code)


def print_json(document: object) -> None:
    """The one document of `--json`."""
    print(json.dumps(document, ensure_ascii=False, default=str))


def main() -> None:
    """The command `creditwell`."""
    try:
        app()
    except WrongSettings as wrong:
        exit_used_wrongly(*wrong.sentences)


if __name__ == "__main__":
    main()
