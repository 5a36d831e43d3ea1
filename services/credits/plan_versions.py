"""New versions of plans: the catalog gives other credits for a plan, and every team that has it is moved on.

A row of `teams` only says which teams there are; what each has, the log says. Each team is moved in a transaction of
its own, so thousands of them hold nobody up. What goes wrong for one is named and stops no other. Who has the catalog's
version already is left alone, so a run may be repeated at any time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.catalog import Catalog
from schemas.cycles import load_zone
from schemas.facts import UnknownFact
from services.credits.plans import has_changed, is_older, renew_plan
from services.store.connect import Connection
from services.store.cycles import Standing, standings
from services.store.halts import EVERYBODYS, WHY_LENGTH_MAX

TEAMS_MAX = 500  # of one look
APPLIED_BY = "creditwell plans apply"

COUNT = "SELECT count(*) FROM teams"
TEAMS = """
    SELECT shard, team_id FROM teams WHERE (shard, team_id) > ($1, $2) ORDER BY shard, team_id LIMIT $3
"""


class NotMoved(NamedTuple):
    """A team that could not be moved, and why."""

    team_id: str
    why: str


@dataclass(slots=True)
class PlansApplied:
    """What became of the teams.

    Moved, by plan; left as they are, with the catalog's version, a newer one, or a plan that is not sold any more; and
    failed.
    """

    moved: dict[str, int] = field(default_factory=dict)
    unchanged: int = 0
    newer: int = 0
    not_sold: int = 0
    failed: list[NotMoved] = field(default_factory=list)


async def count_teams(connection: Connection) -> int:
    """How many teams there are."""
    count: int = await connection.fetchval(COUNT)
    return count


async def apply_plans(
    connection: Connection,
    catalog: Catalog,
    *,
    dry_run: bool = False,
    on_teams: Callable[[int], None] = lambda _: None,
) -> PlansApplied:
    """Move every team to the catalog's version of its plan, from its next cycle; outside of any transaction.

    With `dry_run` nothing is appended, and `moved` are those that would be.
    """
    applied = PlansApplied()
    after = (-1, "")
    while page := await connection.fetch(TEAMS, *after, TEAMS_MAX):
        after = tuple(page[-1])
        for standing in await _standings(connection, [team_id for _, team_id in page], applied):
            with _named(standing.team_id, applied):
                await _apply(connection, catalog, standing, applied, dry_run=dry_run)
        on_teams(len(page))
    return applied


@contextmanager
def _named(team_id: str, applied: PlansApplied) -> Iterator[None]:
    try:
        yield
    except EVERYBODYS:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is one team's
        why = " ".join(f"{type(error).__name__}: {error}".split())
        applied.failed.append(NotMoved(team_id, why[:WHY_LENGTH_MAX]))


async def _standings(connection: Connection, team_ids: list[str], applied: PlansApplied) -> list[Standing]:
    """What the log says of these teams, read together; where one of them can't be read, each alone."""
    try:
        return await standings(connection, team_ids)
    except (UnknownFact, ValueError):
        pass  # whose it is will be found out
    standing_teams: list[Standing] = []
    for team_id in team_ids:
        with _named(team_id, applied):
            standing_teams += await standings(connection, [team_id])
    return standing_teams


async def _apply(
    connection: Connection, catalog: Catalog, standing: Standing, applied: PlansApplied, *, dry_run: bool
) -> None:
    """Judged without a lock first: most teams have nothing to be moved to."""
    plan = standing.plan
    sold = catalog.plans.get(plan.plan)
    if sold is None:
        applied.not_sold += 1
    elif is_older(sold, plan):
        applied.newer += 1
    elif not has_changed(plan, sold):
        applied.unchanged += 1
    else:
        load_zone(plan.zone)  # a dry run, too, names who could not be moved
        if not dry_run:
            async with connection.transaction():
                await renew_plan(connection, catalog, standing.team_id, APPLIED_BY)
        applied.moved[plan.plan] = applied.moved.get(plan.plan, 0) + 1
