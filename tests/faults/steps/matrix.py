"""The matrix of steps: each seed is a work and a step of it at which who does it dies; then somebody does it again.

In most runs the death is an exception that nothing catches, in this process; every so many-th run it is SIGKILL, of a
process of its own (`python -m tests.faults.steps`). After each run the team has each fact once, who comes later has
nothing left to do and the same answer, and the team's projections are its log's fold. After each group of runs the
whole log is verified, with its notes and anchors, audited, and reconciled with Stripe. That a death happened is asserted
in each run: a step that is called otherwise breaks its runs.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from deploy.local.folders import own_environment
from deploy.local.stack import Stack
from services.audit.replay import ReplayScope, replay
from services.audit.verify import verify
from services.money.reconcile.compare import reconcile
from services.runtime.crashpoints import arm, disarm
from services.store.read import read_team
from services.store.shards import shard_of
from tests.conftest import a_database
from tests.faults.steps.ground import Ground, a_ground
from tests.faults.steps.works import CELLS, WORKS
from tests.support.honest import project
from tests.support.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[3]
KILLED_EVERY = 100
RUNS_PER_GROUND = 100
SHOWN = 3


class Killed(BaseException):
    """The end of a process; no code of ours catches it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one run; `killed`: by SIGKILL, of a process of its own."""

    seed: int
    died: bool
    killed: bool
    seconds: float
    wrong: tuple[str, ...] = ()

    @property
    def cell(self) -> tuple[str, str]:
        """Its work and step."""
        return CELLS[self.seed % len(CELLS)]


@dataclass
class Tally:
    """What was played, and what broke."""

    outcomes: list[Outcome] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)  # what the audit found before anybody died: pasts are laid, not lived

    @property
    def deaths(self) -> Counter[tuple[str, str]]:
        """By work and step."""
        return Counter(one.cell for one in self.outcomes if one.died)

    @property
    def killed(self) -> int:
        """Deaths by SIGKILL."""
        return sum(one.died and one.killed for one in self.outcomes)


@dataclass(frozen=True)
class StepsPlan:
    """What is to be played.

    Attributes:
        seeds: all of them, those that an earlier run has played among them.
        killed_every: so many runs in this process, and then one in a process that is killed; 0 for none.
        out: a file that gets a line for each run.
        earlier: what was played before, by a run that is gone on with.
    """

    seeds: Sequence[int]
    killed_every: int = KILLED_EVERY
    out: Path | None = None
    earlier: Sequence[Outcome] = ()

    def groups(self) -> Iterator[Sequence[int]]:
        """What is left to be played, by grounds."""
        left = self.seeds[len(self.earlier) :]
        return (left[start : start + RUNS_PER_GROUND] for start in range(0, len(left), RUNS_PER_GROUND))


def read_outcomes(file: Path) -> list[Outcome]:
    """What an earlier run has written; a line that a killed run has left half is passed over."""
    outcomes = []
    for line in file.read_text("utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            told = json.loads(line)
            outcomes.append(Outcome(**{**told, "wrong": tuple(told["wrong"])}))
    return outcomes


async def play_steps(stack: Stack, template: str, plan: StepsPlan, console: Console | None = None) -> Tally:
    """Play each seed, a group of them on a ground of its own: what a run costs does not grow with those before it."""
    tally, began, signing_key = Tally(list(plan.earlier)), time.monotonic(), Ed25519PrivateKey.generate()
    tally.broken += [_broken(one) for one in plan.earlier if one.wrong]
    for group in plan.groups():
        async with a_database(stack, template) as database, a_ground(stack, database, signing_key) as ground:
            for seed in group:
                outcome = await _play_one(ground, seed, tally, plan)
                tally.outcomes.append(outcome)
                if outcome.wrong:
                    tally.broken.append(_broken(outcome))
                if plan.out is not None:
                    with plan.out.open("a", encoding="utf-8") as lines:
                        lines.write(json.dumps(asdict(outcome)) + "\n")
            if wrong := await _whole(ground, tally):
                tally.broken.append(f"after seeds {group[0]} to {group[-1]}: {'; '.join(wrong)}")
        if console is not None:
            played = len(tally.outcomes)
            rate = (played - len(plan.earlier)) / (time.monotonic() - began)
            console.print(
                f"{played:6}/{len(plan.seeds)}  seeds {plan.seeds[0]} to {group[-1]}  {tally.deaths.total()} deaths, "
                f"{tally.killed} by SIGKILL, {len(tally.broken)} broken  "
                f"[dim]({rate:.1f} a second, {(len(plan.seeds) - played) / rate / 60:.0f} min left)[/]"
            )
    return tally


def _broken(outcome: Outcome) -> str:
    work, step = outcome.cell
    return f"seed {outcome.seed}, {work}, dies at {step}: {'; '.join(outcome.wrong)}"


async def _play_one(ground: Ground, seed: int, tally: Tally, plan: StepsPlan) -> Outcome:
    number, began = len(tally.outcomes) + 1, time.monotonic()
    killed = bool(plan.killed_every) and number % plan.killed_every == 0
    died, wrong = await _play(ground, seed, tally, killed=killed)
    return Outcome(seed, died, killed, round(time.monotonic() - began, 3), tuple(wrong))


async def _play(ground: Ground, seed: int, tally: Tally, *, killed: bool) -> tuple[bool, list[str]]:
    name, step = CELLS[seed % len(CELLS)]
    work, team = WORKS[name], f"team_{seed}_{len(tally.outcomes)}"
    await work.prepare(ground, team)
    of_team = ReplayScope(audit=True, team_id=team)
    tally.known.update(map(str, (await replay(ground.connection, of_team)).findings))
    died = await (_die_as_a_process if killed else _die)(ground, name, step, team)
    first, second = await work.act(ground, team), await work.act(ground, team)
    await project(ground.connection)
    log = await read_team(ground.connection, shard_of(team), team, 0, 10_000)
    found = Counter(type(stored.fact()).__name__ for stored in log)
    replayed = await replay(ground.connection, of_team)
    return died, [
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
    arguments = (ground.database, ground.stack.kafka, str(ground.folder), ground.desk.url, ground.host, key, name, team)
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
    reconciled = await reconcile(ground.connection, ground.desk.charges, settle_seconds=())
    breaks = [f"{one.type} of {one.payment_intent_id}: {one.what}" for one in reconciled.breaks]
    return _new((*verified.problems, *replayed.differences, *replayed.findings, *breaks), tally)


def report(tally: Tally, console: Console) -> int:
    """What was played, by work and step, and the exit code."""
    for (work, step), deaths in sorted(tally.deaths.items()):
        console.print(f"{work:15} {step:24} {deaths:6} deaths")
    for broken in tally.broken:
        console.print(f"BROKEN {broken}", markup=False)
    if tally.broken:
        console.print("again: make faults ARGS='--steps --seed … --count 1'", markup=False)
    return 1 if tally.broken else 0
