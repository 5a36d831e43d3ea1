"""Commands that run or prepare something: processes, migrations, keys and tokens of development, demo and bench."""

import asyncio
import importlib
from functools import partial
from typing import Annotated, Any

import typer

from services.cli.showing import AsJson, print_json, with_database
from services.runtime.processes import PROCESSES
from services.runtime.settings_loading import exit_used_wrongly, load_settings

EVERY = (*PROCESSES, "all")


def serve(
    process: Annotated[str, typer.Argument(metavar="PROCESS", help=f"One of: {', '.join(EVERY)}.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Log lines as JSON, also on a terminal.")] = False,
    stop_at_eof: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run a process until it is asked to stop (SIGTERM or Ctrl-C); `all` runs every one as a child.

    Example: creditwell serve recorder
    """
    from services.runtime.running import run_process

    if process not in EVERY:
        exit_used_wrongly(f"there is no process {process!r}: write one of {', '.join(EVERY)}.")
    settings = load_settings(**({"log_format": "json"} if as_json else {}))
    main: Any
    if process == "all":
        from services.runtime.supervisor import supervise

        main = partial(supervise, tuple(PROCESSES))
    else:
        main = PROCESSES[process].main()
    raise typer.Exit(run_process(process, main, settings, stop_at_eof=stop_at_eof))


def migrate(*, as_json: AsJson = False) -> None:
    """Bring the store up to date and seed its first rate card. It may run at any time, any number of times.

    Example: creditwell migrate
    """
    from schemas.catalog import CatalogInvalid, load_catalog
    from services.credits.rate_cards import seed_catalog
    from services.read_models.versions import ensure_projections, show_to_people
    from services.store.connect import Connection
    from services.store.migrate import migrate as apply_missing

    settings = load_settings()
    try:
        catalog = load_catalog(settings.catalog)
    except CatalogInvalid as invalid:
        exit_used_wrongly(*(f"the catalog is wrong: {problem}" for problem in invalid.problems))

    async def bring_up_to_date(connection: Connection) -> dict[str, object]:
        applied = await apply_missing(connection)
        projections = await ensure_projections(connection, catalog.usage.count_by)
        async with connection.transaction():
            seeded = await seed_catalog(connection, catalog)
        await show_to_people(connection)
        return {"applied": applied, "projections": projections, "seeded_rate_card": seeded}

    done = with_database(bring_up_to_date)
    if as_json:
        print_json(done)
        return
    print(f"applied {', '.join(applied)}" if (applied := done["applied"]) else "nothing to apply")  # type: ignore[arg-type]
    if done["seeded_rate_card"]:
        print("published rate card 1 from the catalog")
    if not done["projections"]:
        print(
            "the projections of this build are made by its projector, beside those that are live; on every core by "
            "`creditwell rebuild all`"
        )


def token(
    *,
    team: Annotated[str, typer.Option(help="The team's id; * for every team (service, finance, operator).")],
    member: Annotated[str, typer.Option(help="The member's id: the token's `sub`.")],
    role: Annotated[str, typer.Option(help="member, admin, service, finance or operator.")] = "member",
    source: Annotated[
        list[str] | None, typer.Option(help="A source that a service may report usage as; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Mint a token for development (CREDITWELL_INSECURE_DEV=1).

    Example: creditwell token --team team_42 --member mem_7 --role admin
    """
    from services.api.tokens import BadToken, mint, tokens_of
    from services.runtime.errors import Refused

    settings = load_settings()
    try:
        minted = mint(settings, team=team, member=member, role=role, sources=source or ())
    except Refused as refused:
        exit_used_wrongly(f"{refused}.")
    except ValueError:
        exit_used_wrongly(f"there is no role {role!r}: write member, admin, service, finance or operator.")
    try:
        asyncio.run(tokens_of(settings).verify(minted))
    except BadToken as bad:
        exit_used_wrongly(f"nobody would be let in by it: {bad}.")
    print_json({"token": minted}) if as_json else print(minted)


def signing_key(*, as_json: AsJson = False) -> None:
    """Make a key for the signer: its private half for CREDITWELL_SIGNING_KEY, its public one for those who verify.

    The public half is what auditors keep (CREDITWELL_PUBLIC_KEY, `verify --public-key`).

    Example: creditwell signing-key --json
    """
    from services.audit.checkpoints import new_key_pair

    secret, public = new_key_pair()
    if as_json:
        print_json({"signing_key": secret, "public_key": public})
    else:
        print(f"CREDITWELL_SIGNING_KEY={secret}")
        print(f"CREDITWELL_PUBLIC_KEY={public}")


def demo(
    *,
    seconds: Annotated[int | None, typer.Option(help="Stop after so many seconds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a demo: a video product with several teams on a real Kafka and PostgreSQL, until Ctrl-C.

    Example: creditwell demo --seconds 60
    """
    main = _of_the_source_tree("deploy.local.demo", "make demo")
    raise typer.Exit(main(seconds=seconds, as_json=as_json))


def bench(context: typer.Context) -> None:
    """Measure on this machine; arguments as `python -m tests.bench` takes them.

    Example: creditwell bench --rounds 1 --only copy,record
    """
    main = _of_the_source_tree("tests.bench.__main__", "make bench")
    raise typer.Exit(main(context.args))


def _of_the_source_tree(module: str, verb: str) -> Any:
    try:
        return importlib.import_module(module).main
    except ModuleNotFoundError as missing:
        if missing.name is None or not module.startswith(missing.name):
            raise
        exit_used_wrongly(f"this needs the source tree: run `{verb}` there.")
