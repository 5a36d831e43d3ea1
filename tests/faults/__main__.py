"""`make faults`: a storm of seeded injections over one long-lived Creditwell, counted after each.

    python -m tests.faults                                200 injections
    python -m tests.faults --seed 4711 --count 1          that one again, as it was
    python -m tests.faults --only crash,freeze_at         these kinds alone

Exit code 1 when anything broke; the last lines name the seed and what it was.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from rich.console import Console
from rich.table import Table

from deploy.local.say import speaker
from deploy.local.stack import Stack, start_stack
from tests.faults.injections import INJECTIONS
from tests.faults.scene import Scene, a_scene

THOROUGH_EVERY = 20  # a replay of everything, compared with the live projections


@dataclass(frozen=True)
class Outcome:
    """What became of one injection."""

    seed: int
    name: str
    seconds: float
    said: str
    problems: tuple[str, ...]


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="make faults ARGS=…", description="Kill, freeze and restart everything under load."
    )
    parser.add_argument("--seed", type=int, help="of the first injection; drawn when not given")
    parser.add_argument("--count", type=int, default=200, help="how many injections")
    parser.add_argument("--only", default="", help=f"kinds, separated by commas: {', '.join(INJECTIONS)}")
    given = parser.parse_args()
    only = [name for name in given.only.split(",") if name] or list(INJECTIONS)
    if unknown := sorted(set(only) - set(INJECTIONS)):
        parser.error(f"no such kind: {', '.join(unknown)}; there are {', '.join(INJECTIONS)}")
    seed = given.seed if given.seed is not None else int(time.time()) % 1_000_000
    logging.disable(logging.CRITICAL)  # of the libraries in this process: that brokers go away is the point
    console = Console(soft_wrap=True, highlight=False)
    with start_stack(say=speaker(), name="faults", native=True) as stack:
        outcomes = asyncio.run(storm(stack, range(seed, seed + given.count), only, console))
    return report(outcomes, console)


async def storm(stack: Stack, seeds: Sequence[int], only: Sequence[str], console: Console) -> list[Outcome]:
    """Play one injection after the other; a broken scene ends it."""
    outcomes: list[Outcome] = []
    began = time.monotonic()
    async with a_scene(stack, stack.database, seed=seeds[0]) as scene:
        await scene.more_facts(100)
        for number, seed in enumerate(seeds, 1):
            thorough = number % THOROUGH_EVERY == 0 or number == len(seeds)
            outcome = await play(scene, seed, only, thorough=thorough)
            outcomes.append(outcome)
            rate = number / (time.monotonic() - began) * 60
            left = (len(seeds) - number) / rate
            verdict = "[green]ok[/]" if not outcome.problems else "[red]BROKEN[/]"
            console.print(
                f"{number:4}/{len(seeds)}  seed {seed}  {outcome.name:12} {outcome.seconds:5.1f} s  {verdict}  "
                f"{outcome.said}  [dim]({rate:.1f} a minute, {left:.0f} min left)[/]"
            )
            if outcome.problems:
                for problem in outcome.problems[:20]:
                    console.print(f"        {problem}", markup=False)
                break
    return outcomes


async def play(scene: Scene, seed: int, only: Sequence[str], *, thorough: bool) -> Outcome:
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
    return Outcome(seed, name, time.monotonic() - began, "; ".join(scene.said), tuple(problems))


def report(outcomes: Sequence[Outcome], console: Console) -> int:
    """A table of the kinds, and the exit code."""
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.name].append(outcome)
    table = Table(title=f"{len(outcomes)} injections")
    for heading in ("kind", "played", "broken", "seconds (longest)"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for name, played in sorted(by_kind.items()):
        broken = sum(bool(outcome.problems) for outcome in played)
        table.add_row(name, str(len(played)), str(broken), f"{max(outcome.seconds for outcome in played):.1f}")
    console.print(table)
    failed = [outcome for outcome in outcomes if outcome.problems]
    for outcome in failed:
        console.print(
            f"seed {outcome.seed} ({outcome.name}: {outcome.said}) broke: {outcome.problems[0]}", markup=False
        )
        console.print(f"again: make faults ARGS='--seed {outcome.seed} --count 1 --only {outcome.name}'", markup=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
