"""The matrix of steps: each seed is a work and a step of it at which who does it dies; then somebody does it again.

In most runs the death is an exception that nothing catches, in this process; every so many-th run it is SIGKILL, of a
process of its own (`python -m tests.faults.steps`). After each run the team has each fact once, who comes later has
nothing left to do and the same answer, and the team's projections are its log's fold. After each group of runs the
whole log is verified, with its notes and anchors, and audited. That a death happened is asserted in each run: a step
that is called otherwise breaks its runs.
"""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from deploy.local.folders import own_environment
from deploy.local.stack import Stack
from services.audit.replay import ReplayScope, replay
from services.audit.verify import verify
from services.runtime.crashpoints import arm, disarm
from services.store.read import read_team
from services.store.shards import shard_of
from tests.faults.steps.ground import Ground, a_ground
from tests.faults.steps.works import CELLS, WORKS
from tests.support.honest import project
from tests.support.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[3]
KILLED_EVERY = 100
RUNS_PER_GROUP = 100
SHOWN = 3


class Killed(BaseException):
    """The end of a process; no code of ours catches it."""


@dataclass
class Tally:
    """What was played, and what broke."""

    runs: int = 0
    killed: int = 0
    deaths: Counter[tuple[str, str]] = field(default_factory=Counter)  # by work and step
    broken: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)  # what the audit found before anybody died: pasts are laid, not lived


async def play_steps(
    stack: Stack,
    database: str,
    seeds: Sequence[int],
    console: Console | None = None,
    *,
    killed_every: int = KILLED_EVERY,
) -> Tally:
    """Play each seed; `killed_every`: so many runs in this process, and then one in a process that is killed; 0 for none."""
    tally, began, signing_key = Tally(), time.monotonic(), Ed25519PrivateKey.generate()
    async with a_ground(stack, database, signing_key) as ground:
        for start in range(0, len(seeds), RUNS_PER_GROUP):
            group = seeds[start : start + RUNS_PER_GROUP]
            for seed in group:
                tally.runs += 1
                killed = bool(killed_every) and tally.runs % killed_every == 0
                tally.killed += killed
                if wrong := await _play(ground, seed, tally, killed=killed):
                    work, step = CELLS[seed % len(CELLS)]
                    tally.broken.append(f"seed {seed}, {work}, dies at {step}: {'; '.join(wrong)}")
            if wrong := await _whole(ground, tally):
                tally.broken.append(f"after seeds {group[0]} to {group[-1]}: {'; '.join(wrong)}")
            if console is not None:
                rate = tally.runs / (time.monotonic() - began)
                console.print(
                    f"{tally.runs:6}/{len(seeds)}  seeds {seeds[0]} to {group[-1]}  {tally.deaths.total()} deaths, "
                    f"{tally.killed} by SIGKILL, {len(tally.broken)} broken  [dim]({rate:.1f} a second)[/]"
                )
    return tally


async def _play(ground: Ground, seed: int, tally: Tally, *, killed: bool) -> list[str]:
    name, step = CELLS[seed % len(CELLS)]
    work, team = WORKS[name], f"team_{seed}_{tally.runs}"
    await work.prepare(ground, team)
    of_team = ReplayScope(audit=True, team_id=team)
    tally.known.update(map(str, (await replay(ground.connection, of_team)).findings))
    died = await (_die_as_a_process if killed else _die)(ground, name, step, team)
    tally.deaths[name, step] += died
    first, second = await work.act(ground, team), await work.act(ground, team)
    await project(ground.connection)
    log = await read_team(ground.connection, shard_of(team), team, 0, 10_000)
    found = Counter(type(stored.fact()).__name__ for stored in log)
    replayed = await replay(ground.connection, of_team)
    return [
        *([] if died else ["nobody died: is the step still called so?"]),
        *([] if first == second else [f"the answers differ: {first} and {second}"]),
        *(f"{found[kind]} of {kind}, not {count}" for kind, count in work.comes_to.items() if found[kind] != count),
        *await work.check(ground, team),
        *_new((*replayed.differences, *replayed.findings), tally),
    ]


async def _die(ground: Ground, name: str, step: str, team: str) -> bool:
    """Whether anybody did."""
    deaths: list[str] = []

    def die() -> NoReturn:
        deaths.append(step)
        raise Killed

    arm(step, 1, die)
    try:
        await WORKS[name].act(ground, team)
    except (Killed, httpx2.TransportError):
        pass
    except BaseExceptionGroup as together:
        if together.split(Killed)[1] is not None:
            raise
    except AssertionError:  # the API's own last word to who waits
        if not deaths:
            raise
    finally:
        disarm()
    return bool(deaths)


async def _die_as_a_process(ground: Ground, name: str, step: str, team: str) -> bool:
    """The same by SIGKILL."""
    key = ground.key.private_bytes_raw().hex()
    arguments = (ground.database, ground.stack.kafka, str(ground.folder), key, name, team)
    records = b"\n".join(record.value or b"" for record in ground.topic)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.steps", *arguments, cwd=ROOT, stdin=asyncio.subprocess.PIPE,
        env={**own_environment(), **_path(), "CREDITWELL_CRASH_AT": f"{step}:1", "CREDITWELL_LOG_LEVEL": "error"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await process.communicate(records)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode == -signal.SIGKILL


def _path() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "")}


def _new(found: Sequence[object], tally: Tally) -> list[str]:
    return [said for said in map(str, found) if said not in tally.known][:SHOWN]


async def _whole(ground: Ground, tally: Tally) -> list[str]:
    """What is wrong with the log as a whole."""
    public = ground.key.public_key()
    verified = await verify(ground.connection, anchors=ground.folder, keys=[public])
    replayed = await replay(ground.connection, ReplayScope(audit=True))
    return _new((*verified.problems, *replayed.differences, *replayed.findings), tally)


def report(tally: Tally, console: Console) -> int:
    """What was played, by work and step, and the exit code."""
    for (work, step), deaths in sorted(tally.deaths.items()):
        console.print(f"{work:15} {step:24} {deaths:6} deaths")
    for broken in tally.broken:
        console.print(f"BROKEN {broken}", markup=False)
    if tally.broken:
        console.print("again: make faults ARGS='--steps --seed … --count 1'", markup=False)
    return 1 if tally.broken else 0
