"""The teams of a local Creditwell, with their people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.catalog import load_catalog
from services.credits.directory import DirectoryMember, name_team, put_member
from services.credits.plans import assign_plan
from services.runtime.clock import system_clock
from services.store.connect import Connection


@dataclass(frozen=True)
class TeamPlan:
    """A team that exists from the beginning, with its people."""

    id: str
    name: str
    plan: str
    members: tuple[DirectoryMember, ...]
    zone: str = "UTC"
    anchor: datetime | None = None  # ten days ago, unless told


TEAMS = (
    TeamPlan(
        "team_northlight", "Northlight Studio", "pro",
        (DirectoryMember("mem_ada", "Ada Lindqvist", "admin"), DirectoryMember("mem_ben", "Ben Okafor", "member"),
         DirectoryMember("mem_chiara", "Chiara Russo", "member")),
        zone="Europe/Berlin",
    ),
    TeamPlan(
        "team_papercut", "Papercut Films", "pro",
        (DirectoryMember("mem_dana", "Dana Whitfield", "admin"), DirectoryMember("mem_emil", "Emil Sørensen", "member")),
        zone="America/New_York",
    ),
    TeamPlan(
        "team_solo", "Solo Sam", "free",
        (DirectoryMember("mem_sam", "Sam Carter", "admin"), DirectoryMember("mem_tess", "Tess Carter", "member")),
    ),
)  # fmt: skip


async def add_teams(owner: Connection, teams: Sequence[TeamPlan]) -> None:
    """Plans, and who is who. They are in the middle of a cycle, so that the usage of yesterday finds credits, too."""
    catalog, ten_days_ago = load_catalog(), system_clock() - timedelta(days=10)
    for team in teams:
        async with owner.transaction():
            await assign_plan(owner, catalog, team.id, team.plan, anchor=team.anchor or ten_days_ago, zone=team.zone)
            await name_team(owner, team.id, team.name)
            for member in team.members:
                await put_member(owner, team.id, member)
