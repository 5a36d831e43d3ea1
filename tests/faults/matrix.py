"""Many runs of the money matrix, one after the other, with a line every now and then and every seed that broke."""

import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg
from rich.console import Console
from rich.table import Table

from deploy.local.stack import Stack
from services.read_models.versions import ensure_projections
from services.store.migrate import migrate
from tests.conftest import url_of
from tests.faults.money import CELLS, KILLED_EVERY, RUNS_PER_DESK, Run, ground, play, run_of
from tests.support.two_lives import a_copy

TOLD_EVERY = 100


@dataclass
class Tally:
    """What was played, and what broke."""

    runs: list[Run] = field(default_factory=list)
    broken: list[tuple[Run, list[str]]] = field(default_factory=list)
    killed: int = 0
    deaths: Counter[str] = field(default_factory=Counter)  # by step


async def empty_database(server: str) -> str:
    """The URL of a new database on a server, with every table and nothing in it."""
    name = f"money_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    connection = await asyncpg.connect(url_of(server, name), server_settings={"timezone": "UTC"})
    try:
        await migrate(connection)
        await ensure_projections(connection)
    finally:
        await connection.close()
    return url_of(server, name)


async def play_many(
    stack: Stack,
    database: str,
    seeds: Sequence[int],
    console: Console | None = None,
    *,
    killed_every: int = KILLED_EVERY,
) -> Tally:
    """Play each seed; `killed_every`: so many runs in tasks, and then one whose worker is a process that is killed; 0 for none."""
    async with a_copy(stack, database) as earlier:  # while nobody is connected to it
        return await _play_all(stack, (database, earlier), seeds, console, killed_every)


async def _play_all(
    stack: Stack, stores: tuple[str, str], seeds: Sequence[int], console: Console | None, killed_every: int
) -> Tally:
    tally, began = Tally(), time.monotonic()
    for start in range(0, len(seeds), RUNS_PER_DESK):
        async with ground(stack, *stores, seed=seeds[start]) as scene:
            for seed in seeds[start : start + RUNS_PER_DESK]:
                run, number = run_of(seed), len(tally.runs) + 1
                killed = bool(killed_every) and number % killed_every == 0
                if found := await play(scene, run, killed=killed):
                    tally.broken.append((run, found))
                    if console is not None:
                        console.print(f"[red]BROKEN[/] {run}\n        {'; '.join(found)}")
                tally.runs.append(run)
                tally.killed += killed
                tally.deaths += scene.deaths
                scene.deaths.clear()
                if console is not None and (number % TOLD_EVERY == 0 or number == len(seeds)):
                    rate = number / (time.monotonic() - began)
                    console.print(
                        f"{number:5}/{len(seeds)}  seeds {seeds[0]} to {seed}  {len(tally.broken)} broken  "
                        f"[dim]({rate:.1f} a second, {(len(seeds) - number) / rate / 60:.1f} min left)[/]"
                    )
    return tally


def report(tally: Tally, console: Console) -> int:
    """A table of what was played, and the exit code."""
    cells = len({(run.step, run.workers, run.away, run.fault, run.goes_back) for run in tally.runs})
    table = Table(
        title=f"{len(tally.runs)} runs in {cells} of {len(CELLS)} cells, {tally.deaths.total()} deaths, "
        f"{tally.killed} runs with a process that was killed"
    )
    for heading in ("", "what", "played", "died", "broken"):
        table.add_column(heading, justify="right" if heading in {"played", "died", "broken"} else "left")
    broken = [run for run, _ in tally.broken]
    for heading in ("step", "workers", "away", "fault", "bank", "meanwhile", "goes_back"):
        played = Counter(str(getattr(run, heading)) for run in tally.runs)
        wrong = Counter(str(getattr(run, heading)) for run in broken)
        for number, (what, count) in enumerate(sorted(played.items())):
            died = str(tally.deaths[what]) if heading == "step" else ""
            table.add_row(heading if number == 0 else "", what, str(count), died, str(wrong[what]))
    console.print(table)
    for run, found in tally.broken:
        console.print(f"{run}: {found[0]}", markup=False)
        console.print(f"again: make faults ARGS='--money --seed {run.seed} --count 1'", markup=False)
    return 1 if tally.broken else 0
