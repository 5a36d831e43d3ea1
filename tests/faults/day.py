"""A day: its hours go by within minutes, under load, and each of them has faults.

    python -m tests.faults --day [--count 3]    so many injections in each of the 24 hours

All clocks are moved to the next hour at once while an injection does its harm: those of PostgreSQL, Kafka, the stand-in
for Stripe, ours and the one that stamps usage. So leases are over, idempotency keys are forgotten at the end, cycles of
some teams end and the year does, too. What is waited for takes as long as it takes. Healed and counted after each
injection; in the end each team whose cycle ended has one refill, the log is verified, and nothing has grown.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from rich.console import Console

from deploy.local.stack import Stack
from services.audit.verify import verify
from tests.faults.growth import Meter
from tests.faults.injections import INJECTIONS
from tests.faults.moving_clock import MovingClock
from tests.faults.scene import ALWAYS, TEAMS, TOPPED_UP, Scene, a_scene
from tests.faults.storm import BEGIN_FACTS, Outcome, play

HOURS = 24
PER_HOUR_USUAL = 2
THOROUGH_HOURS = 6
MOVED_WITHIN_SECONDS = 3.0
MORE = ("refill-1", "signer-1")
# Those whose cycle ends in the first hours of the year.
RENEWED = [team for team in TEAMS if team not in TOPPED_UP]

REFILLS = """
    SELECT team_id, count(*) FROM facts WHERE type = 'credits.refilled.v1' AND team_id = ANY($1) GROUP BY team_id
"""


def noon(now: datetime) -> datetime:
    """Of the next New Year's Eve: the day that begins then has the end of a day, a month and a year."""
    this_year = datetime(now.year, 12, 31, 12, tzinfo=UTC)
    return this_year if now < this_year else this_year.replace(year=now.year + 1)


async def a_day(stack: Stack, clock: MovingClock, seed: int, per_hour: int, console: Console) -> list[Outcome]:
    """Live through it; what became of each injection. One that breaks ends it."""
    begin = noon(datetime.now(UTC))
    clock.is_now(begin)
    anchors = {team: begin.replace(day=1, hour=number + 1) for number, team in enumerate(RENEWED)}
    outcomes: list[Outcome] = []
    async with a_scene(stack, stack.database, seed=seed, always=(*ALWAYS, *MORE), anchors=anchors) as scene:
        await scene.more_facts(BEGIN_FACTS)
        meter = Meter(scene)
        for hour in range(1, HOURS + 1):
            for number in range(per_hour):
                moving = asyncio.create_task(_move(clock, begin, hour, Random(seed))) if number == 0 else None
                last = number == per_hour - 1 and (hour % THOROUGH_HOURS == 0)
                outcome = await play(meter, seed, list(INJECTIONS), thorough=last, number=1)
                if moving is not None:
                    await moving
                outcomes.append(outcome)
                _tell(outcome, hour, console)
                seed += 1
                if outcome.problems:
                    return outcomes
        if problems := await _at_its_end(scene, console):
            outcomes.append(Outcome(seed, "the day", 0.0, "it is over", tuple(problems)))
    return outcomes


async def _move(clock: MovingClock, begin: datetime, hour: int, random: Random) -> None:
    await asyncio.sleep(random.random() * MOVED_WITHIN_SECONDS)
    clock.is_now(begin + timedelta(hours=hour))


async def _at_its_end(scene: Scene, console: Console) -> Sequence[str]:
    refills = {row["team_id"]: row["count"] for row in await scene.connection.fetch(REFILLS, RENEWED)}
    verified = await verify(scene.connection)
    console.print(
        f"the day is over: {sum(refills.values())} cycles ended, {verified.facts} facts, {verified.checkpoints} notes"
    )
    return [
        *(f"{team} was refilled {refills.get(team, 0)} times" for team in RENEWED if refills.get(team) != 1),
        *([] if verified.checkpoints else ["the log was never signed"]),
        *map(str, verified.problems),
    ]


def _tell(outcome: Outcome, hour: int, console: Console) -> None:
    verdict = "[green]ok[/]" if not outcome.problems else "[red]BROKEN[/]"
    console.print(
        f"hour {hour:2}/{HOURS}  seed {outcome.seed}  {outcome.name:14} {outcome.seconds:5.1f} s  {verdict}  {outcome.said}"
    )
    for problem in outcome.problems[:20]:
        console.print(f"        {problem}", markup=False)
