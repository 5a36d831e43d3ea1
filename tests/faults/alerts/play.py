"""`make faults ARGS=--alerts`: each alert is made to fire once by its real fault, alone but for its companions.

A healthy Creditwell under load comes first: nothing fires in two hours of recorded time, and each query of the dashboards
has data, but for those of what has not happened yet. Then each fault in turn: it is broken, the alert fires, what the runbook says is done, and the alert is over.
Recorded time is told in `prometheus`. The API, the relay, … are real processes on a real Kafka and PostgreSQL; where an
age of hours is waited for, the fault says which row is put back by so much. Needs Go, for Prometheus' own engine.
"""

import asyncio
import time
from collections.abc import Sequence

from rich.console import Console

from deploy.local.stack import Stack
from deploy.monitoring.dashboards import DASHBOARDS
from tests.faults.alerts import people, processes, proof  # noqa: F401  # they fill the table
from tests.faults.alerts.prometheus import HALF_A_MINUTE, TWO_MINUTES
from tests.faults.alerts.stage import Stage, a_stage
from tests.faults.alerts.table import FAULTS, NOT_SHOWN, AlertFault
from tests.support.waiting import until

__all__ = ["FAULTS", "NOT_SHOWN", "alerts"]

HEALTHY_SCRAPES, MORE_SCRAPES = 120, 3
FIRES_SECONDS = OVER_SECONDS = 600.0
# Of a single broker it is always true; the runbook says to silence it there.
ON_ONE_BROKER = "CreditwellKafkaUnsure"

# Panels whose series begin when it happens for the first time.
NOT_WHILE_WELL = frozenset({
    "Asked too often", "Attributes dropped, by why", "Decisions about top-ups", "Did not answer", "Halted for one alone",
    "Spans, by what became of them", "Streams and downloads", "Usage refused, by reason", "Waits for somebody else",
})  # fmt: skip


async def play_all(stack: Stack, names: Sequence[str], console: Console, *, healthy: bool) -> list[str]:
    """What was wrong, each in a sentence."""
    problems: list[str] = []
    async with a_stage(stack) as stage:
        stage.prometheus.silent.add(ON_ONE_BROKER)
        if healthy:
            problems += _told(console, "healthy", 0.0, await _healthy(stage))
        for name in names:
            began = time.monotonic()
            broken = True
            try:
                wrong = await _play(stage, FAULTS[name])
                broken = False
            except Exception as error:  # a fault that can't be played, or a line of the runbook that does not work
                wrong = [f"{type(error).__name__}: {error}; now {sorted(stage.prometheus.firing)} fire"]
            problems += [f"{name}: {one}" for one in _told(console, name, time.monotonic() - began, wrong)]
            if broken:  # and stays so: who comes next would meet it
                break
    return problems


def _told(console: Console, name: str, seconds: float, wrong: list[str]) -> list[str]:
    console.print(f"{name:32} {seconds:5.0f} s  {'[red]BROKEN[/]' if wrong else '[green]ok[/]'}")
    for one in wrong:
        console.print(f"        {one}", markup=False)
    return wrong


async def _healthy(stage: Stage) -> list[str]:
    prometheus = stage.prometheus
    prometheus.pace = HALF_A_MINUTE
    await prometheus.scrapes_more(HEALTHY_SCRAPES)
    prometheus.pace = TWO_MINUTES
    await prometheus.scrapes_more(HEALTHY_SCRAPES // 4)
    wrong = [f"{name} fires though all is well: {summaries}" for name, summaries in prometheus.fired.items()]
    queries = {
        f"{name}: {panel.title}: {legend}": query.replace("$__rate_interval", "5m")
        for name, dashboard in DASHBOARDS.items() for panel in dashboard.panels if panel.title not in NOT_WHILE_WELL
        for legend, query in panel.queries.items()
    }  # fmt: skip
    return wrong + [f"no data in {query}" for query, series in (await prometheus.series(queries)).items() if not series]


async def _play(stage: Stage, fault: AlertFault) -> list[str]:
    """Break, wait until it fires, follow the runbook, wait until it is over; what was not as it should be."""
    prometheus, stage.alert = stage.prometheus, fault.alert
    await _over(stage)
    prometheus.fired.clear()
    prometheus.pace = 0.0
    steps = fault.play(stage)
    await anext(steps)
    prometheus.pace = fault.pace

    async def fires() -> bool:
        return fault.alert in prometheus.firing

    await until(fires, within=FIRES_SECONDS, what=f"{fault.alert} fires")
    await prometheus.scrapes_more(MORE_SCRAPES)
    prometheus.pace = 0.0
    await anext(steps, None)
    prometheus.pace = TWO_MINUTES if fault.pace == TWO_MINUTES else HALF_A_MINUTE
    await _over(stage)
    allowed = {fault.alert, *fault.companions}
    return [f"{name} fires, too: {summaries}" for name, summaries in prometheus.fired.items() if name not in allowed]


async def _over(stage: Stage) -> None:
    async def silent() -> bool:
        return not stage.prometheus.firing

    await until(silent, within=OVER_SECONDS, what="nothing fires any more")


def alerts(stack: Stack, names: Sequence[str], console: Console, *, healthy: bool) -> int:
    """Play these; the exit code."""
    problems = asyncio.run(play_all(stack, names, console, healthy=healthy))
    console.print(f"{len(names)} alerts: {'[red]BROKEN[/]' if problems else 'each fired by its fault, and is over'}")
    return 1 if problems else 0
