"""A storm: one injection after the other over a Creditwell under load, counted after each; for minutes or for a day."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from statistics import median
from urllib.parse import urlsplit

import asyncpg
import psutil
from rich.console import Console
from rich.table import Table

from deploy.local.stack import Stack
from tests.faults.injections import INJECTIONS
from tests.faults.matrix import empty_database
from tests.faults.scene import Scene, a_scene

THOROUGH_EVERY = 20  # a replay of everything, compared with the live projections
BEGIN_FACTS = 100
# What may grow in an hour, in MB and in open files, of the largest process of a kind. Less is what an allocator does.
GROWTH_MAX = {"memory_mb": 40.0, "descriptors": 20.0}
GROWTH_POINTS_MIN = 30  # fewer say nothing of a slope
GROWTH_APART_HOURS = 1 / 6  # what is nearer tells how a process warms up


@dataclass(frozen=True)
class Outcome:
    """What became of one injection; `at` is in seconds since 1970, `scene` counts the Creditwells of a storm."""

    seed: int
    name: str
    seconds: float
    said: str
    problems: tuple[str, ...]
    at: float = 0.0
    scene: int = 0
    memory_mb: dict[str, float] = field(default_factory=dict)  # by process, after it was healed
    descriptors: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What a storm is to be.

    Attributes:
        first: the seed of the first injection; each next one is one more.
        kinds: of injections.
        count: how many there are, those of `earlier` among them; None for no end but the time.
        seconds: after which no more begins.
        keep_going: go on in a new Creditwell after one that broke.
        rotate: so many in one Creditwell, and then a new one.
        out: a file that gets a line for each.
        earlier: what was played before, by a run that is gone on with.
    """

    first: int
    kinds: Sequence[str]
    count: int | None
    seconds: float | None = None
    keep_going: bool = False
    rotate: int | None = None
    out: Path | None = None
    earlier: Sequence[Outcome] = ()

    def seeds(self) -> Iterator[int]:
        """What is left to be played."""
        if self.count is None:
            return count(self.first)
        return iter(range(self.first, self.first + max(0, self.count - len(self.earlier))))


def read_outcomes(file: Path) -> list[Outcome]:
    """What an earlier run has written; a line that a killed run has left half is passed over."""
    outcomes = []
    for line in file.read_text("utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            told = json.loads(line)
            outcomes.append(Outcome(**{**told, "problems": tuple(told["problems"])}))
    return outcomes


async def storm(stack: Stack, plan: Plan, console: Console) -> list[Outcome]:
    """Play what was planned; a broken scene ends it, unless it is to keep going."""
    outcomes, began, seeds = list(plan.earlier), time.monotonic(), plan.seeds()
    if outcomes:
        console.print(f"{len(outcomes)} injections were played before, up to seed {outcomes[-1].seed}")
    scenes = max((outcome.scene for outcome in outcomes), default=0)
    database, more = stack.database, True
    while more and (seed := next(seeds, None)) is not None:
        scenes += 1
        async with a_scene(stack, database, seed=seed) as scene:
            await scene.more_facts(BEGIN_FACTS)
            for played in count(1):
                last = (
                    played == plan.rotate
                    or (plan.count is not None and len(outcomes) + 1 >= plan.count)
                    or (plan.seconds is not None and time.monotonic() - began >= plan.seconds)
                )
                outcome = await play(
                    scene, seed, plan.kinds, thorough=last or played % THOROUGH_EVERY == 0, number=scenes
                )
                outcomes.append(outcome)
                _note(outcome, plan, console, len(outcomes), time.monotonic() - began)
                more = not outcome.problems or plan.keep_going
                if last or outcome.problems or (seed := next(seeds, None)) is None:
                    break
        if plan.seconds is not None and time.monotonic() - began >= plan.seconds:
            break
        if more:
            database = await _another(stack, database)
    return outcomes


async def _another(stack: Stack, database: str) -> str:
    """A new database; that of the scene before is gone, unless the server came with it."""
    new = await empty_database(stack.database)
    if database != stack.database:
        server = await asyncpg.connect(stack.database)
        await server.execute(f"DROP DATABASE {urlsplit(database).path.lstrip('/')} WITH (FORCE)")
        await server.close()
    return new


async def play(scene: Scene, seed: int, only: Sequence[str], *, thorough: bool, number: int) -> Outcome:
    """One injection, everything that it breaks healed, and what the oracles say afterwards."""
    random = Random(seed)
    (name,) = random.choices(list(only), [INJECTIONS[kind][1] for kind in only])
    began = time.monotonic()
    scene.said.clear()
    try:
        await INJECTIONS[name][0](scene, random)
        await scene.heal()
        problems = await scene.problems(thorough=thorough)
    except Exception as error:  # an injection that can't be played has found something, too
        problems = [f"{type(error).__name__}: {error}"]
    memory, descriptors = _resources(scene)
    return Outcome(
        seed, name, round(time.monotonic() - began, 1), "; ".join(scene.said), tuple(problems), round(time.time(), 1), number,
        memory, descriptors,
    )  # fmt: skip


def _resources(scene: Scene) -> tuple[dict[str, float], dict[str, float]]:
    """MB of memory and open files of each process that lives."""
    memory: dict[str, float] = {}
    descriptors: dict[str, float] = {}
    for name in scene.always:
        with suppress(psutil.Error, KeyError):
            process = psutil.Process(scene.processes[name].pid)
            memory[name], descriptors[name] = round(process.memory_info().rss / 1e6, 1), float(process.num_fds())
    return memory, descriptors


def _note(outcome: Outcome, plan: Plan, console: Console, played: int, seconds: float) -> None:
    """Tell it on the screen and in the file."""
    if plan.out is not None:
        with plan.out.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(outcome)) + "\n")
    rate = (played - len(plan.earlier)) / seconds * 60
    left = "" if plan.count is None else f", {(plan.count - played) / rate:.0f} min left"
    verdict = "[green]ok[/]" if not outcome.problems else "[red]BROKEN[/]"
    console.print(
        f"{played:4}/{plan.count or '∞'}  seed {outcome.seed}  {outcome.name:12} {outcome.seconds:5.1f} s  {verdict}  "
        f"{outcome.said}  [dim]({rate:.1f} a minute{left})[/]"
    )
    for problem in outcome.problems[:20]:
        console.print(f"        {problem}", markup=False)


def growth(outcomes: Sequence[Outcome], what: str) -> dict[str, float]:
    """By process, how much more it takes each hour: Theil and Sen's slope over the last two thirds of each scene.

    Processes that are killed begin anew, so a slope is of points of the same scene alone, and the median of all.
    """
    slopes: dict[str, list[float]] = defaultdict(list)
    points: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
    for outcome in outcomes:
        for process, value in getattr(outcome, what).items():
            points[outcome.scene, process].append((outcome.at / 3_600, value))
    for (_, process), of_scene in points.items():
        kept = of_scene[len(of_scene) // 3 :]
        slopes[process] += [
            (later - sooner) / (until - since)
            for number, (since, sooner) in enumerate(kept)
            for until, later in kept[number + 1 :]
            if until - since >= GROWTH_APART_HOURS
        ]
    return {process: median(some) for process, some in sorted(slopes.items()) if len(some) >= GROWTH_POINTS_MIN}


def report(outcomes: Sequence[Outcome], console: Console) -> int:
    """A table of the kinds, what grows, and the exit code."""
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.name].append(outcome)
    table = Table(title=f"{len(outcomes)} injections")
    for heading in ("kind", "played", "broken", "seconds (half)", "seconds (longest)"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for name, played in sorted(by_kind.items()):
        broken, seconds = sum(bool(outcome.problems) for outcome in played), [outcome.seconds for outcome in played]
        table.add_row(name, str(len(played)), str(broken), f"{median(seconds):.1f}", f"{max(seconds):.1f}")
    console.print(table)
    failed = [outcome for outcome in outcomes if outcome.problems]
    for outcome in failed:
        console.print(
            f"seed {outcome.seed} ({outcome.name}: {outcome.said}) broke: {outcome.problems[0]}", markup=False
        )
        console.print(f"again: make faults ARGS='--seed {outcome.seed} --count 1 --only {outcome.name}'", markup=False)
    grows = _report_growth(outcomes, console)
    return 1 if failed or grows else 0


def _report_growth(outcomes: Sequence[Outcome], console: Console) -> bool:
    """Say what grows, and whether any of it beyond its bar."""
    wrong = False
    for what, most in GROWTH_MAX.items():
        slopes = growth(outcomes, what)
        beyond = {process: slope for process, slope in slopes.items() if slope > most}
        if slopes:
            told = ", ".join(f"{process} {slope:+.1f}" for process, slope in slopes.items())
            console.print(f"{what} in an hour: {told}; at most {most:g}{' [red]BROKEN[/]' if beyond else ''}")
        wrong |= bool(beyond)
    return wrong
