"""What grows while a storm goes on: read after each injection, and judged by its slope at the end."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import httpx2
import psutil
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.faults.scene import Scene

# What may grow in an hour: of each process MB of memory, open files and series of its metrics (less is what an allocator
# does), kB of write-ahead log that a fact takes, and MB of each table that has no more rows for more facts.
GROWTH_MAX = {"memory_mb": 40.0, "descriptors": 20.0, "series": 60.0, "wal_kb": 5.0, "bloat_mb": 10.0}
GROWTH_POINTS_MIN = 30  # fewer say nothing of a slope
GROWTH_APART_HOURS = 1 / 6  # what is nearer tells how a process warms up

Reading = dict[str, dict[str, float]]  # by what is read and of whom
WRITTEN = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8 / 1000"
BLOAT = """
    SELECT regexp_replace(relname, '_v[0-9]+$', '') AS name, sum(pg_total_relation_size(oid))::float8 / 1e6 AS mb
    FROM pg_class
    WHERE relkind = 'r' AND relname ~ '^(shard_heads|checkpoints|readers|kafka_cursors|teams|balance_v[0-9]+)$'
    GROUP BY 1
"""


class Point(NamedTuple):
    """One number that was read."""

    what: str
    of: str
    scene: int
    hours: float
    value: float


@dataclass
class Meter:
    """Reads what a Creditwell under the storm takes."""

    scene: Scene
    written_kb: float = 0.0
    facts: int = 0

    async def read(self) -> Reading:
        """All of it, now."""
        connection = self.scene.connection
        written, facts = await connection.fetchval(WRITTEN), await self.scene.facts()
        before, had = (self.written_kb, self.facts) if self.facts else (written, facts)
        self.written_kb, self.facts = written, facts
        tables = {row["name"]: round(row["mb"], 2) for row in await connection.fetch(BLOAT)}
        wal = {"each fact": round((written - before) / (facts - had), 2)} if facts > had and written > before else {}
        return {**_of_processes(self.scene), "series": await self._series(), "wal_kb": wal, "bloat_mb": tables}

    async def _series(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name in self.scene.always:
            with suppress(httpx2.HTTPError):  # one that starts just now
                lines = (await self.scene.fleet.metrics(name)).splitlines()
                found[name] = float(sum(not line.startswith("#") for line in lines))
        return found


def _of_processes(scene: Scene) -> Reading:
    """MB of memory and open files of each process that lives."""
    memory: dict[str, float] = {}
    descriptors: dict[str, float] = {}
    for name in scene.always:
        with suppress(psutil.Error, KeyError):
            process = psutil.Process(scene.processes[name].pid)
            memory[name], descriptors[name] = round(process.memory_info().rss / 1e6, 1), float(process.num_fds())
    return {"memory_mb": memory, "descriptors": descriptors}


def growth(points: Sequence[Point], what: str) -> dict[str, float | None]:
    """How much more each takes in an hour: Theil and Sen's slope over the last two thirds of each scene.

    Processes that are killed begin anew, so a slope is of points of the same scene alone, and the median of all. None
    where there are too few.
    """
    slopes: dict[str, list[float]] = {}
    scenes: dict[tuple[int, str], list[Point]] = defaultdict(list)
    for point in points:
        if point.what == what:
            scenes[point.scene, point.of].append(point)
    for (_, of), of_scene in scenes.items():
        kept = of_scene[len(of_scene) // 3 :]
        slopes.setdefault(of, []).extend(
            (later.value - sooner.value) / (later.hours - sooner.hours)
            for number, sooner in enumerate(kept)
            for later in kept[number + 1 :]
            if later.hours - sooner.hours >= GROWTH_APART_HOURS
        )
    return {of: median(some) if len(some) >= GROWTH_POINTS_MIN else None for of, some in sorted(slopes.items())}


def report_growth(points: Sequence[Point], console: Console) -> bool:
    """A table of what grows, and whether any of it beyond its bar."""
    table, wrong = Table(title="What grows in an hour", box=SIMPLE_HEAD), False
    for heading in ("what", "of", "now", "in an hour", "at most", ""):
        table.add_column(heading, justify="left" if heading in ("what", "of", "") else "right")
    for what, most in GROWTH_MAX.items():
        for of, slope in growth(points, what).items():
            last = next(point.value for point in reversed(points) if (point.what, point.of) == (what, of))
            beyond = slope is not None and slope > most
            told = "too short" if slope is None else f"{slope:+.1f}"
            table.add_row(what, of, f"{last:g}", told, f"{most:g}", "[red]BROKEN[/]" if beyond else "")
            wrong |= beyond
    if table.row_count:
        console.print(table)
    return wrong
