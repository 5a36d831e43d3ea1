"""A standby that was behind is promoted by force, again and again: nobody is charged twice, and nobody for nothing.

Each seed is a primary with its asynchronous standby. Twelve teams run low after the standby has lost its network; the
primary's worker comes to a drawn step with each, and is gone. Then the standby is the store, which has heard nothing:
the usage comes again in other pieces, and holds shift its positions.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console

from deploy.local.servers.postgres import NativePostgres
from schemas.credits import MICRO
from schemas.facts import CreditsToppedUp, HoldPlaced, HoldReleased, TopUpRequested
from tests.faults.seeds import play_seeds
from tests.support.desk import Desk, a_desk, leases_over, new_team
from tests.support.facts import now
from tests.support.promoted import a_primary, behind, let_go_on, make_tables, promote
from tests.support.serving import connected, store
from tests.support.two_lives import Life, a_life

TEAMS = 12
DIED_AT = (None, None, "topup:created", "topup:recorded", "topup:confirmed", "topup:crediting")  # None: it did not die
AGAIN = ((300,), (150, 60, 90), (201, 99), (100, 100, 100))
LOOKS = 3


@dataclass(frozen=True)
class TeamRun:
    """How far the primary's worker was with a team, and how its usage comes again, after how many holds."""

    died_at: str | None
    again: tuple[int, ...]
    holds: int = 0


def runs_of(seed: int) -> list[TeamRun]:
    """Those of a seed, always the same."""
    random = Random(seed)
    return [TeamRun(random.choice(DIED_AT), random.choice(AGAIN), random.randrange(4)) for _ in range(TEAMS)]


async def play(primary: NativePostgres, desk: Desk, runs: Sequence[TeamRun]) -> list[str]:
    """One promotion; what was wrong in the end."""
    await make_tables(primary.url)
    async with connected(primary.url) as connection:
        teams = [await new_team(connection, desk, cool_down_seconds=300) for _ in runs]
    standby = await behind(primary)
    async with a_life(primary.url, desk) as first:
        for team, run in zip(teams, runs, strict=True):
            await first.runs_low(team)
            await (first.worker.look_at(team) if run.died_at is None else first.dies_at(team, run.died_at))
    await promote(primary, standby)
    await let_go_on(standby.url)
    async with a_life(standby.url, desk) as second:
        if any([await second.of_type(team, TopUpRequested) for team in teams]):
            return ["the standby was not behind"]
        for team, run in zip(teams, runs, strict=True):
            await _live_on(second, team, run)
        credits = [fact for team in teams for fact in await second.of_type(team, CreditsToppedUp)]
    return _against_the_books(await desk.books(), teams, credits)


async def _live_on(life: Life, team: str, run: TeamRun) -> None:
    for number in range(run.holds):
        placed = HoldPlaced(hold_id=f"{number}", credits=MICRO, expires_at=now() + timedelta(hours=1))
        await store(life.connection, team, [placed, HoldReleased(hold_id=placed.hold_id)])
    await life.is_charged(team, *run.again)
    for _ in range(LOOKS):
        await leases_over(life.connection)
        await life.worker.look_at(team)


def _against_the_books(books: dict[str, Any], teams: Sequence[str], credits: Sequence[CreditsToppedUp]) -> list[str]:
    """Each team was charged once, each charge has its credits, and nothing is left that could still be paid."""
    charges = Counter(charge["metadata"]["team_id"] for charge in books["charges"])
    paid = Counter((charge["payment_intent"], charge["amount"]) for charge in books["charges"])
    credited = Counter((fact.payment_intent_id, fact.charge_cents) for fact in credits)
    payable = [one["id"] for one in books["payment_intents"] if one["status"] not in ("succeeded", "canceled")]
    wrong = [f"{team} was charged {charges[team]} times" for team in teams if charges[team] != 1]
    if paid != credited:
        wrong.append(f"charges {dict(paid)} are not the credits {dict(credited)}")
    return [*wrong, *(f"{name} can still be paid" for name in payable)]


def promotions(seeds: Sequence[int], console: Console) -> int:
    """Play each seed on servers of its own; the exit code."""

    def on_its_own(seed: int) -> list[str]:
        with tempfile.TemporaryDirectory() as folder, a_primary(Path(folder)) as primary:
            return asyncio.run(_play_seed(primary, seed))

    return play_seeds(
        seeds, on_its_own, console, option="--promoted", what=lambda _: "a standby was promoted",
        well="nobody charged twice, nobody for nothing",
    )  # fmt: skip


async def _play_seed(primary: NativePostgres, seed: int) -> list[str]:
    async with a_desk(seed=seed) as desk:
        return await play(primary, desk, runs_of(seed))
