"""`creditwell simulate …`: what would have been, had something else been decided."""

import sys
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.credits import format_credits
from services.cli.rate_cards import read_card
from services.cli.showing import FOUND_WRONG, AsJson, parse_duration, print_json, print_table, progress, with_database
from services.runtime.clock import system_clock
from services.runtime.errors import Refused
from services.runtime.settings_loading import catalog_of, exit_used_wrongly, load_settings
from services.store.connect import Connection

if TYPE_CHECKING:
    from projections.repricing import Charged, Repriced
    from schemas.catalog import Catalog
    from schemas.pricing import CompiledCard

SHOWN_MAX = 10
FEATURES = ("feature", "recorded", "simulated", "difference")
TEAMS = ("team", "recorded", "simulated", "difference", "balance", "balance then", "top-ups", "top-ups then")

app = typer.Typer(help="What would have been, had something else been decided.", no_args_is_help=True)


@app.callback()
def simulate() -> None:
    """What would have been, had something else been decided."""


@app.command("rate-card")
def rate_card(
    file: Annotated[Path, typer.Argument(metavar="NEW.toml", help="The card: its own file, or a catalog with one.")],
    *,
    last: Annotated[str, typer.Option(help="Price again the usage of this long: 90d, 12h.")] = "90d",
    team: Annotated[str | None, typer.Option(help="This team alone.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="A line for each team and feature instead of tables.")] = False,
    as_json: AsJson = False,
) -> None:
    """What every team would have paid by another rate card, and what top-ups would have charged; nothing is changed.

    It reads the log from its beginning, by the same folds that run for real. In balances, what was bought stays as it
    was. Top-ups are decided anew, by each team's own settings and a bank that takes each charge. Usage that the card
    has no price for keeps its own and is named; then the exit code is 1.

    Example: creditwell simulate rate-card card.toml --last 90d --team team_42
    """
    from schemas.pricing import CompiledCard

    length = parse_duration(last, "--last")
    assert length is not None
    card = CompiledCard(read_card(file))
    catalog = catalog_of(load_settings())
    teams = with_database(partial(_reprice, card=card, catalog=catalog, length=length, team_id=team))
    unpriced = sum((one.unpriced for one in teams), Counter[str]())
    if as_csv:
        _write_csv(teams)
    elif as_json:
        _write_json(teams, unpriced)
    else:
        _show(teams, unpriced)
    raise typer.Exit(FOUND_WRONG if unpriced else 0)


async def _reprice(
    connection: Connection, *, card: "CompiledCard", catalog: "Catalog", length: timedelta, team_id: str | None
) -> "list[Repriced]":
    from services.credits.repricing import reprice

    total = 1 if team_id is not None else await connection.fetchval("SELECT count(*) FROM teams")
    repriced: list[Repriced] = []
    now = system_clock()
    try:
        with progress("folding", total, of="teams") as tell:
            async for one in reprice(connection, card, catalog, since=now - length, until=now, team_id=team_id):
                repriced.append(one)
                tell(1)
    except Refused as refused:
        exit_used_wrongly(f"{refused.detail}.")
    return repriced


def charged_by(teams: "list[Repriced]") -> "tuple[Charged, Charged]":
    """The top-ups of all teams together: those of the log, and those of the other card."""
    from projections.repricing import Charged

    recorded, simulated = Charged(), Charged()
    for one in teams:
        recorded.include(one.charged_recorded)
        simulated.include(one.charged_simulated)
    return recorded, simulated


def by_feature(teams: "list[Repriced]") -> list[tuple[str, int, int]]:
    """Feature, credits recorded and credits simulated of all teams together; what changes most first."""
    recorded = sum((one.recorded for one in teams), Counter[str]())
    simulated = sum((one.simulated for one in teams), Counter[str]())
    rows = [(feature, recorded[feature], simulated[feature]) for feature in {*recorded, *simulated}]
    return sorted(rows, key=lambda row: (-abs(row[2] - row[1]), row[0]))


def most_changed(teams: "list[Repriced]") -> "list[Repriced]":
    """The teams for which it makes most of a difference."""
    return sorted((one for one in teams if one.change), key=lambda one: (-abs(one.change), one.team_id))[:SHOWN_MAX]


def _compared(recorded: int, simulated: int) -> dict[str, Any]:
    return {
        "recorded": format_credits(recorded), "simulated": format_credits(simulated),
        "difference": format_credits(simulated - recorded),
    }  # fmt: skip


def _charges(one: "Charged") -> dict[str, Any]:
    return {"count": one.count, "minor_units": dict(sorted(one.cents.items()))}


def _team(one: "Repriced") -> dict[str, Any]:
    return {
        "team": one.team_id, **_compared(one.recorded.total(), one.simulated.total()),
        "balance_recorded": format_credits(one.balance_recorded), "balance_simulated": format_credits(one.balance_simulated),
        "top_ups_recorded": _charges(one.charged_recorded), "top_ups_simulated": _charges(one.charged_simulated),
    }  # fmt: skip


def _money(one: "Charged") -> str:
    from schemas.money import format_money

    return ", ".join(format_money(cents, currency) for currency, cents in sorted(one.cents.items())) or "nothing"


def _write_json(teams: "list[Repriced]", unpriced: Counter[str]) -> None:
    recorded, simulated = (
        sum(one.recorded.total() for one in teams),
        sum(one.simulated.total() for one in teams),
    )
    print_json({
        "ok": not unpriced, "teams": len(teams), **_compared(recorded, simulated),
        "features": [{"feature": feature, **_compared(*credits)} for feature, *credits in by_feature(teams)],
        "top_ups": dict(zip(("recorded", "simulated"), map(_charges, charged_by(teams)), strict=True)),
        "most_changed": [_team(one) for one in most_changed(teams)], "unpriced": dict(unpriced),
    })  # fmt: skip


def _write_csv(teams: "list[Repriced]") -> None:
    from projections.books.tables import write_csv

    rows = (
        [one.team_id, feature, *map(str, _compared(*credits).values())]
        for one in teams
        for feature, *credits in sorted(by_feature([one]))
    )
    sys.stdout.write(write_csv(["team", *FEATURES], rows))


def _show(teams: "list[Repriced]", unpriced: Counter[str]) -> None:
    features = [(feature, *_compared(*credits).values()) for feature, *credits in by_feature(teams)]
    print_table("Credits by feature", FEATURES, features, numbers=FEATURES[1:])
    changed = [
        (*list(_team(one).values())[:-2], one.charged_recorded.count, one.charged_simulated.count)
        for one in most_changed(teams)
    ]
    print_table("Teams that change most", TEAMS, changed, numbers=TEAMS[1:])
    more = sum(one.change > 0 for one in teams)
    less = sum(one.change < 0 for one in teams)
    print(f"{more:,} of {len(teams):,} teams would have paid more, {less:,} less")
    for kind, charged in zip(("were charged", "would have been"), charged_by(teams), strict=True):
        print(f"{charged.count:,} top-ups {kind}: {_money(charged)}")
    for detail, uses in unpriced.most_common(SHOWN_MAX):
        print(f"no price for {uses:,} uses, which keep theirs: {detail}")
