"""`creditwell plans …`: what the catalog gives for each plan, and the teams that have another version of it."""

from typing import TYPE_CHECKING, Annotated

import typer

from schemas.credits import format_credits
from services.cli.showing import FOUND_WRONG, AsJson, print_json, print_table, progress, with_database
from services.runtime.settings_loading import catalog_of, load_settings
from services.store.connect import Connection

if TYPE_CHECKING:
    from services.credits.plan_versions import PlansApplied

SHOWN_MAX = 20
COLUMNS = ("plan", "version", "credits", "notice below", "teams moved")

app = typer.Typer(help="Plans, and the teams that have them.", no_args_is_help=True)


@app.callback()
def plans() -> None:
    """Plans of the catalog, and the teams that have them."""


@app.command("apply")
def apply(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which teams would be moved, and move none.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move every team to what the catalog gives for its plan now, from its next cycle, each by a fact.

    It may run at any time and any number of times, with the database role of `migrate`. A team that has a newer version
    of its plan than the catalog stays as it is. Exit code 1 names the teams that could not be moved.

    Example: creditwell plans apply --dry-run
    """
    from services.credits.plan_versions import apply_plans, count_teams

    catalog = catalog_of(load_settings())

    async def work(connection: Connection) -> "PlansApplied":
        with progress("applying plans", await count_teams(connection), of="teams") as tell:
            return await apply_plans(connection, catalog, dry_run=dry_run, on_teams=tell)

    applied = with_database(work)
    rows = [
        {
            "plan": name, "version": plan.version, "allowance": format_credits(plan.allowance_credits),
            "notice_threshold": format_credits(plan.notice_threshold_credits), "moved": applied.moved.get(name, 0),
        }
        for name, plan in catalog.plans.items()
    ]  # fmt: skip
    if as_json:
        print_json({
            "ok": not applied.failed, "dry_run": dry_run, "plans": rows, "moved": sum(applied.moved.values()),
            "unchanged": applied.unchanged, "newer": applied.newer, "not_sold": applied.not_sold,
            "failed": [team._asdict() for team in applied.failed],
        })  # fmt: skip
    else:
        print_table("What the catalog gives", COLUMNS, [list(row.values()) for row in rows], numbers=COLUMNS[1:])
        _show(applied, dry_run=dry_run)
    raise typer.Exit(FOUND_WRONG if applied.failed else 0)


def _show(applied: "PlansApplied", *, dry_run: bool) -> None:
    moved = sum(applied.moved.values())
    if dry_run:
        print(f"{moved:,} teams would be moved; nothing was done")
    else:
        print(f"{moved:,} teams were moved: they get the credits of their plan with their next cycle")
    print(f"{applied.unchanged:,} teams had them already")
    if applied.newer:
        print(f"{applied.newer:,} teams have a newer version of their plan than this catalog, and stay as they are")
    if applied.not_sold:
        print(f"{applied.not_sold:,} teams have a plan that is not sold any more, and keep it")
    if applied.failed:
        print_table("Could not be moved", ("team", "why"), applied.failed[:SHOWN_MAX], prose=["why"])
        rest = len(applied.failed) - SHOWN_MAX
        print(f"and {rest:,} more" if rest > 0 else "", end="\n" if rest > 0 else "")
