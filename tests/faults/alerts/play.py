"""`make faults ARGS=--alerts`: each alert is made to fire once by its real fault, alone but for its companions.

A healthy Creditwell under load comes first: nothing fires in two hours of recorded time, and each query of the dashboards
has data, but for those of what has not happened yet. Then each fault in turn: it is broken, the alert fires, what the runbook says is done, and the alert is over.
Recorded time is told in `prometheus`. The API, the relay, … are real processes on a real Kafka and PostgreSQL; where an
age of hours is waited for, the fault says which row is put back by so much. Needs Go, for Prometheus' own engine.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.local.stack import Stack
from deploy.monitoring.dashboards import DASHBOARDS
from tests.faults.alerts import people, processes, proof, servers  # noqa: F401  # they fill the table
from tests.faults.alerts.prometheus import HALF_A_MINUTE, TWO_MINUTES
from tests.faults.alerts.stage import Stage, a_stage
from tests.faults.alerts.table import FAULTS, AlertFault
from tests.support.waiting import until

__all__ = ["FAULTS", "alerts"]

HEALTHY_SCRAPES, MORE_SCRAPES = 120, 3
HEALTHY, TABLE_WIDTH = "healthy", 80
OF_LOAD, LOADED = frozenset({"CreditwellApiSlow", "CreditwellDatabaseSlow"}), 2.0  # who runs or waits to, by core
TITLE = "Fired and silent after so long by the clock; in its: in Prometheus' time."
FIRES_SECONDS = OVER_SECONDS = 600.0
# Of a single broker it is always true; the runbook says to silence it there.
ON_ONE_BROKER = "CreditwellKafkaUnsure"

# Panels whose series begin when it happens for the first time.
NOT_WHILE_WELL = frozenset({
    "Asked too often", "Attributes dropped, by why", "Decisions about top-ups", "Did not answer", "Halted for one alone",
    "Spans, by what became of them", "Streams and downloads", "Usage refused, by reason", "Waits for somebody else",
})  # fmt: skip


@dataclass
class Played:
    """What was seen of an alert: seconds by the clock, and of recorded time; None where it did not come so far."""

    alert: str
    wrong: list[str] = field(default_factory=list)
    silent_before: bool = False
    fired_after: float | None = None
    recorded: float | None = None
    silent_after: float | None = None


async def play_all(stack: Stack, names: Sequence[str], console: Console, *, healthy: bool) -> list[Played]:
    """Each in its turn, up to one that can't be played: it stays broken, and who comes next would meet it."""
    played: list[Played] = []
    async with a_stage(stack) as stage:
        stage.prometheus.silent.add(ON_ONE_BROKER)
        if healthy:
            began = time.monotonic()
            played.append(Played(HEALTHY, await _healthy(stage)))
            _tell(console, played[-1], time.monotonic() - began)
        for name in names:
            began = time.monotonic()
            played.append(Played(name))
            try:
                await _play(stage, FAULTS[name], played[-1])
            except Exception as error:  # a fault that can't be played, or a line of the runbook that does not work
                died = [f"{one.name} ended with {one.code}: {one.last_lines}" for one in stage.world.processes.died]
                fire = sorted(stage.prometheus.firing)
                played[-1].wrong.append(f"{type(error).__name__}: {error}; now {fire} fire; {died}")
            _tell(console, played[-1], time.monotonic() - began)
            if played[-1].silent_after is None:
                break
    return played


def _tell(console: Console, one: Played, seconds: float) -> None:
    console.print(f"{one.alert:32} {seconds:5.0f} s  {'[red]BROKEN[/]' if one.wrong else '[green]ok[/]'}")
    for wrong in one.wrong:
        console.print(f"        {wrong}", markup=False)


async def _healthy(stage: Stage) -> list[str]:
    prometheus = stage.prometheus
    prometheus.pace = HALF_A_MINUTE
    await prometheus.scrapes_more(HEALTHY_SCRAPES)
    prometheus.pace = TWO_MINUTES
    await prometheus.scrapes_more(HEALTHY_SCRAPES // 4)
    fired = {name: texts for name, texts in prometheus.fired.items() if name not in of_the_machine()}
    wrong = [f"{name} fires though all is well: {texts}" for name, texts in fired.items()]
    queries = {
        f"{name}: {panel.title}: {legend}": query.replace("$__rate_interval", "5m")
        for name, dashboard in DASHBOARDS.items() for panel in dashboard.panels if panel.title not in NOT_WHILE_WELL
        for legend, query in panel.queries.items()
    }  # fmt: skip
    return wrong + [f"no data in {query}" for query, series in (await prometheus.series(queries)).items() if not series]


async def _play(stage: Stage, fault: AlertFault, seen: Played) -> None:
    """Break, wait until it fires, follow the runbook, wait until it is over; what was not as it should be."""
    prometheus, stage.alert = stage.prometheus, fault.alert
    await _over(stage, fault.alert)
    seen.silent_before = True
    prometheus.fired.clear()
    prometheus.pace = 0.0
    steps = fault.play(stage)
    began = prometheus.clock[-1]
    await anext(steps)
    prometheus.pace = fault.pace

    async def fires() -> bool:
        return fault.alert in prometheus.firing

    await until(fires, within=FIRES_SECONDS, what=f"{fault.alert} fires")
    seen.fired_after, seen.recorded = (then - at for then, at in zip(prometheus.clock[-1], began, strict=True))
    await prometheus.scrapes_more(MORE_SCRAPES)
    prometheus.pace = 0.0
    await anext(steps, None)
    mended = time.monotonic()
    prometheus.pace = TWO_MINUTES if fault.pace == TWO_MINUTES else HALF_A_MINUTE
    await _over(stage, fault.alert)
    seen.silent_after = time.monotonic() - mended
    allowed = {fault.alert, *fault.companions, *of_the_machine()}
    seen.wrong += [f"{name} fires, too: {texts}" for name, texts in prometheus.fired.items() if name not in allowed]


def of_the_machine() -> frozenset[str]:
    """Alerts that are true of a machine which others use as well, and no fault's doing; none on one that has room."""
    return OF_LOAD if max(os.getloadavg()[:2]) > LOADED * (os.cpu_count() or 1) else frozenset()


async def _over(stage: Stage, own: str) -> None:
    await stage.prometheus.scrapes_more(1)

    async def silent() -> bool:
        return not stage.prometheus.firing.keys() - (of_the_machine() - {own})

    await until(silent, within=OVER_SECONDS, what="nothing fires any more")


def alerts(stack: Stack, names: Sequence[str], console: Console, *, healthy: bool) -> int:
    """Play these; a table of all, and the exit code."""
    played = asyncio.run(play_all(stack, names, console, healthy=healthy))
    console.print(table_of(played))
    seen = {one.alert for one in played}
    broken = [one.alert for one in played if one.wrong]
    missing = [name for name in names if name not in seen]
    if missing:
        console.print(f"not played: {', '.join(missing)}")
    console.print(
        f"{len(names)} alerts: {f'[red]BROKEN[/] {broken}' if broken else 'each fired by its fault, and is over'}"
    )
    return 1 if broken or missing else 0


def table_of(played: Sequence[Played]) -> Table:
    """Which fault made each fire, after how long, and that it was silent before and after."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), width=TABLE_WIDTH, title=TITLE, title_justify="left")
    table.add_column("alert", no_wrap=True)
    table.add_column("fault")
    table.add_column("before", no_wrap=True)
    for heading in ("fired", "in its", "silent"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in played:
        if one.alert == HEALTHY:
            continue
        before = "silent" if one.silent_before else "[red]fires[/]"
        figures = map(_seconds, (one.fired_after, one.recorded, one.silent_after))
        table.add_row(one.alert.removeprefix("Creditwell"), Text(FAULTS[one.alert].what), before, *figures)
    return table


def _seconds(seconds: float | None) -> str:
    return "[red]never[/]" if seconds is None else f"{seconds:.0f} s"
