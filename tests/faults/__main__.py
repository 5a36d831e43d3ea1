"""`make faults`: a storm of seeded injections over one long-lived Creditwell, counted after each; then money.

    python -m tests.faults                                200 injections, then all of the others but --simulate
    python -m tests.faults --seed 4711 --count 1          that injection again, as it was
    python -m tests.faults --only crash,freeze_at         these kinds alone
    python -m tests.faults --hours 2 --keep-going --rotate 200 --out runs.jsonl --resume runs.jsonl
                                                          by the clock, also after one that broke; a new Creditwell for each
                                                          200; each a line of a file, which the same command goes on with
    python -m tests.faults --money                        2,000 runs of the money matrix (tests/faults/money.py), then 1,000
                                                          teams that run low at once (tests/faults/rush.py)
    python -m tests.faults --money --seed 39 --count 1    that run again
    python -m tests.faults --steps                        10,000 deaths at each step of each work (tests/faults/steps);
                                                          with --out FILE --resume FILE it goes on where it was
    python -m tests.faults --day                          24 hours in minutes, with faults in each (tests/faults/day.py)
    python -m tests.faults --promoted                     20 standbys that were behind, promoted (tests/faults/promoted.py)
    python -m tests.faults --went-back                    20 stores that went back and were resumed (tests/faults/went_back.py)
    python -m tests.faults --restored                     9 backups restored to a moment of the past (tests/faults/servers/restored.py)
    python -m tests.faults --brokers                      three brokers, killed in turn (tests/faults/servers/brokers.py)
    python -m tests.faults --full-disk                    a broker whose disk is full (tests/faults/servers/full_disk.py)
    python -m tests.faults --grown                        topics that get more partitions (tests/faults/servers/grown.py)
    python -m tests.faults --upgrade                      to the next build and back under load (tests/faults/upgrade.py)
    python -m tests.faults --holds                        1,000 blocks of services that are killed (tests/faults/holds.py)
    python -m tests.faults --alerts                       each alert fires by a real fault (tests/faults/alerts), alone; needs Go
    python -m tests.faults --bounds                       times that are promised (tests/faults/bounds.py), alone
    python -m tests.faults --decoders                     10,000 events, read by both decoders (tests/support/decoders.py)
    python -m tests.faults --simulate                     60 days of 10,000 teams with top-ups, without a socket

Exit code 1 when anything broke; the last lines name the seed and what it was.
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from rich.console import Console

from deploy.local.say import speaker
from deploy.local.stack import Stack, start_stack
from services.money.stripe_client.pace import PER_SECOND
from tests.faults import bounds, day, matrix
from tests.faults.alerts.play import FAULTS, alerts
from tests.faults.holds import kill_amid_holds
from tests.faults.injections import INJECTIONS
from tests.faults.moving_clock import again_by_a_clock, our_clock
from tests.faults.promoted import promotions
from tests.faults.rush import rush
from tests.faults.servers import brokers, full_disk, grown, restored
from tests.faults.steps import matrix as steps
from tests.faults.storm import Plan, read_outcomes, report, storm
from tests.faults.upgrade import upgrade
from tests.faults.went_back import resumptions
from tests.support.decoders import check_decoders
from tests.support.top_up_simulator import simulate

INJECTIONS_USUAL, MONEY_USUAL, TEAMS_USUAL, CROWD = 200, 2_000, 10_000, 1_000
STEPS_USUAL = 10_000
EVENTS_USUAL, PROMOTED_USUAL, BLOCKS_USUAL, RESTORED_USUAL = 10_000, 20, 1_000, 9


def arguments() -> argparse.Namespace:
    """What was asked for; `kinds` has the kinds of injections, all unless some are named."""
    parser = argparse.ArgumentParser(
        prog="make faults ARGS=…", description="Kill, freeze and restart everything under load."
    )
    parser.add_argument("--seed", type=int, help="of the first injection; drawn when not given")
    parser.add_argument("--count", type=int, help="how many injections, runs or teams")
    parser.add_argument("--hours", type=float, help="injections until this time is over, instead of a number of them")
    parser.add_argument("--keep-going", action="store_true", help="after an injection that broke: in a new Creditwell")
    parser.add_argument("--rotate", type=int, help="injections before a new Creditwell takes over; else one plays all")
    parser.add_argument("--out", type=Path, help="add a line of JSON for each injection to this file")
    parser.add_argument("--resume", type=Path, help="go on after the last injection of this file, if it is there")
    parser.add_argument("--money", action="store_true", help="the money matrix alone")
    parser.add_argument("--steps", action="store_true", help="deaths at each step of each work, alone")
    parser.add_argument("--day", action="store_true", help="a day that goes by in minutes, alone; needs Linux and cc")
    parser.add_argument("--promoted", action="store_true", help="standbys that were behind and are promoted, alone")
    parser.add_argument("--went-back", action="store_true", help="stores that went back and are resumed, alone")
    parser.add_argument("--restored", action="store_true", help="backups restored to a moment of the past, alone")
    parser.add_argument("--brokers", action="store_true", help="three brokers that are killed in turn, alone")
    parser.add_argument("--full-disk", action="store_true", help="a broker whose disk is full, alone; takes root")
    parser.add_argument("--grown", action="store_true", help="topics that get more partitions under load, alone")
    parser.add_argument("--upgrade", action="store_true", help="to the next build and back under load, alone")
    parser.add_argument("--holds", action="store_true", help="blocks of services that are killed, alone")
    parser.add_argument("--alerts", action="store_true", help="each alert is made to fire, alone")
    parser.add_argument("--bounds", action="store_true", help="times that are promised, measured and judged, alone")
    parser.add_argument("--decoders", action="store_true", help="usage, read by both of its decoders, alone")
    parser.add_argument("--simulate", action="store_true", help="two months of many teams with top-ups, alone")
    parser.add_argument(
        "--only", default="", help=f"kinds, or alerts with --alerts, separated by commas: {', '.join(INJECTIONS)}"
    )
    given = parser.parse_args()
    given.storm = given.hours or given.keep_going or given.rotate or given.out or given.resume
    there_are = list(FAULTS if given.alerts else INJECTIONS)
    given.kinds = [name for name in given.only.split(",") if name] or there_are
    if unknown := sorted(set(given.kinds) - set(there_are)):
        parser.error(f"no such kind: {', '.join(unknown)}; there are {', '.join(there_are)}")
    return given


def main() -> int:
    """The exit code."""
    given = arguments()
    seed = given.seed if given.seed is not None else int(time.time()) % 1_000_000
    logging.disable(logging.CRITICAL)  # of the libraries in this process: that brokers go away is the point
    console = Console(soft_wrap=True, highlight=False)
    if given.simulate:
        return simulated(range(seed, seed + (given.count or TEAMS_USUAL)), console)
    if given.decoders:
        return decoded(given.count or EVENTS_USUAL, console)
    if given.day:
        return lived(seed, given.count or day.PER_HOUR_USUAL, console)
    if given.promoted:
        return promoted(range(seed, seed + (given.count or PROMOTED_USUAL)), console)
    if given.full_disk:
        return full_disk.full_disk(console)
    if given.grown:
        return growth(seed, console)
    on_servers: dict[str, Callable[[Stack], int]] = {
        "went_back": lambda stack: went_back(stack, range(seed, seed + (given.count or PROMOTED_USUAL)), console),
        "restored": lambda stack: restores(stack, range(seed, seed + (given.count or RESTORED_USUAL)), console),
        "brokers": lambda stack: brokers.brokers(stack, seed, console),
        "alerts": lambda stack: alerts(stack, given.kinds, console, healthy=not given.only),
        "steps": lambda stack: deaths(stack, steps_of(given, seed), console),
        "holds": lambda stack: holds(stack, seed, given.count or BLOCKS_USUAL, console),
    }
    for name, run in on_servers.items():
        if getattr(given, name):
            with start_stack(say=speaker(), name="faults", native=True) as stack:
                return run(stack)
    alone = given.money or given.bounds or given.upgrade or given.only or given.count is not None or given.storm
    code = 0 if alone else decoded(EVENTS_USUAL, console)
    with start_stack(say=speaker(), name="faults", native=True) as stack:
        if not (given.money or given.bounds or given.upgrade):
            code = report(asyncio.run(storm(stack, plan_of(given, seed), console)), console)
        if given.money or not alone:
            seeds = range(seed, seed + (given.count if given.money and given.count else MONEY_USUAL))
            code |= matrix.report(asyncio.run(money(stack, seeds, console)), console)
        if given.count is None and not (given.only or given.bounds or given.upgrade or given.storm):
            code |= asyncio.run(crowd(stack, console))
        if not alone:
            code |= promoted(range(seed, seed + PROMOTED_USUAL), console)
            code |= went_back(stack, range(seed, seed + PROMOTED_USUAL), console)
            code |= restores(stack, range(seed, seed + RESTORED_USUAL), console)
            code |= holds(stack, seed, BLOCKS_USUAL, console)
            code |= deaths(stack, steps_of(given, seed), console)
            code |= brokers.brokers(stack, seed, console)
        if given.upgrade or not alone:
            code |= bool(asyncio.run(upgrade(stack, seed, console)))
        if given.bounds or not alone:
            code |= bounds.report(asyncio.run(bounds.measure(stack)), console)
    if alone:
        return code
    return code | growth(seed, console) | full_disk.full_disk(console) | lived(seed, day.PER_HOUR_USUAL, console)


def plan_of(given: argparse.Namespace, seed: int) -> Plan:
    """The storm that was asked for."""
    earlier = read_outcomes(given.resume) if given.resume is not None and given.resume.exists() else []
    count = None if given.hours is not None and given.count is None else given.count or INJECTIONS_USUAL
    return Plan(
        first=seed if given.seed is not None or not earlier else earlier[-1].seed + 1, kinds=given.kinds, count=count,
        seconds=None if given.hours is None else given.hours * 3_600, keep_going=given.keep_going, rotate=given.rotate,
        out=given.out, earlier=earlier,
    )  # fmt: skip


async def money(stack: Stack, seeds: Sequence[int], console: Console) -> matrix.Tally:
    """The money matrix, in a database of its own."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )  # that much fails is the point
    return await matrix.play_many(stack, await matrix.empty_database(stack.database), seeds, console)


def promoted(seeds: Sequence[int], console: Console) -> int:
    """The exit code."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return promotions(seeds, console)


def went_back(stack: Stack, seeds: Sequence[int], console: Console) -> int:
    """The exit code."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return resumptions(stack, seeds, console)


def restores(stack: Stack, seeds: Sequence[int], console: Console) -> int:
    """The exit code."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return restored.restores(stack, seeds, console)


def growth(seed: int, console: Console) -> int:
    """The exit code; on a broker of its own, for topics do not shrink again."""
    with start_stack(say=speaker(), name="faults", native=True, partitions=grown.BEFORE) as stack:
        return grown.growth(stack, seed, console)


def lived(seed: int, per_hour: int, console: Console) -> int:
    """The exit code; in a process of its own, whose clock can be moved."""
    clock = our_clock()
    if clock is None:
        return again_by_a_clock(["tests.faults", "--day", "--seed", str(seed), "--count", str(per_hour)])
    with start_stack(say=speaker(), name="faults", native=True) as stack:
        return report(asyncio.run(day.a_day(stack, clock, seed, per_hour, console)), console)


def holds(stack: Stack, seed: int, blocks: int, console: Console) -> int:
    """The exit code."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return asyncio.run(kill_amid_holds(stack, seed, blocks, console))


def steps_of(given: argparse.Namespace, seed: int) -> steps.StepsPlan:
    """The deaths that were asked for."""
    earlier = steps.read_outcomes(given.resume) if given.resume is not None and given.resume.exists() else []
    first = earlier[0].seed if earlier else seed
    return steps.StepsPlan(range(first, first + (given.count or STEPS_USUAL)), out=given.out, earlier=earlier)


def deaths(stack: Stack, plan: steps.StepsPlan, console: Console) -> int:
    """The exit code."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return steps.report(asyncio.run(_deaths(stack, plan, console)), console)


async def _deaths(stack: Stack, plan: steps.StepsPlan, console: Console) -> steps.Tally:
    template = (await matrix.empty_database(stack.database)).rpartition("/")[2]
    return await steps.play_steps(stack, template, plan, console)


async def crowd(stack: Stack, console: Console) -> int:
    """The exit code."""
    database = await matrix.empty_database(stack.database)
    rushed = await rush(database, teams=CROWD, per_second=PER_SECOND)
    verdict = "; ".join(rushed.problems) or "all served"
    console.print(
        f"{CROWD} teams at once: {verdict} in {rushed.seconds:.0f} s, Stripe asked {rushed.fastest} times in a second at most"
    )
    return 1 if rushed.problems else 0


def decoded(events: int, console: Console) -> int:
    """The exit code."""
    try:
        check_decoders(events)
    except AssertionError as differ:
        console.print(f"the decoders differ: {differ}; {'; '.join(getattr(differ, '__notes__', ()))}", markup=False)
        return 1
    console.print(f"{events} events: both decoders say the same of each")
    return 0


def simulated(seeds: Sequence[int], console: Console) -> int:
    """The exit code."""
    began, wrong = time.monotonic(), 0
    for number, seed in enumerate(seeds, 1):
        team = simulate(seed)
        wrong += bool(team.wrong)
        for line in team.wrong[:3]:
            console.print(f"seed {seed}: {line}", markup=False)
        if number % 1_000 == 0 or number == len(seeds):
            rate = number / (time.monotonic() - began)
            console.print(
                f"{number:6}/{len(seeds)} teams, seeds {seeds[0]} to {seed}, {wrong} broken ({rate:.0f} a second)"
            )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
