"""Is this process alive, ready, and getting on with its work?

Stuck is detected by progress: work waits and nothing has moved for 30 s, while Kafka and the database answer. Then
`/healthz` says 503, so that the process is started anew. Where the world is away, waiting is right, and only `/readyz`
says 503. Where one kind of work waits for somebody else (a transaction that was left open), it is held up: said with
its reason, and nobody's standstill.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

STUCK_SECONDS = 30
PARTITION = re.compile(r"(.+)-\d+", re.ASCII)  # usage-17: partition 17 of usage
HALTED_MAX = 100  # named in one answer; `creditwell halted list` has all of them


@dataclass(slots=True)
class WorkProgress:
    """One kind of work of a process: how much waits, and since when nothing moved."""

    lag: int = 0
    moved_at: float = 0.0
    behind_since: float = 0.0


@dataclass(frozen=True, slots=True)
class HeldUp:
    """Why a kind of work can't go on, and since when."""

    why: str
    since: float


@dataclass(slots=True)
class Health:
    """What a process tells of itself. Its metrics go into `registry`; no team in any label."""

    process: str
    now: Callable[[], float] = time.monotonic
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    work: dict[str, WorkProgress] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    held_up: dict[str, HeldUp] = field(default_factory=dict)
    halted: dict[tuple[str, str], str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what was seen at the start, and is worth knowing
    back_at: float = 0.0
    is_ready: bool = False

    def beat(self, name: str) -> None:
        """Something moved: a batch was stored, folded, published."""
        self._work(name).moved_at = self.now()

    def lag(self, name: str, waiting: int) -> None:
        """How much of this work waits."""
        work = self._work(name)
        if waiting and not work.lag:
            work.behind_since = self.now()
        work.lag = waiting

    def gone(self, name: str) -> None:
        """This work is somebody else's now: how much of it waits is theirs to say."""
        self.work.pop(name, None)
        self.held_up.pop(name, None)

    def held(self, name: str, why: str | None) -> None:
        """This work waits for somebody else, and a new start of the process would mend nothing; None: it goes on."""
        if why is not None:
            before = self.held_up.get(name)
            self.held_up[name] = HeldUp(why, self.now() if before is None else before.since)
        elif self.held_up.pop(name, None) is not None:
            self._work(name).moved_at = self.now()

    def halt(self, work: str, name: str, why: str) -> None:
        """This work goes wrong for one team (or shard, or event), and goes on for all others."""
        self.halted[work, name] = why

    def go_on(self, work: str, name: str) -> None:
        """It went well."""
        self.halted.pop((work, name), None)

    def ready(self, is_ready: bool = True) -> None:  # noqa: FBT001, FBT002 - reads as a sentence: health.ready(False)
        """From now on (or no more) it can do its work."""
        self.is_ready = is_ready

    def away(self, what: str, why: object = "") -> None:
        """Kafka, the database or Stripe does not answer: to wait is right, and nobody is stuck meanwhile."""
        self.absent[what] = str(why)

    def back(self, what: str) -> None:
        """It answers again."""
        if self.absent.pop(what, None) is not None:
            self.back_at = self.now()

    def stuck(self) -> list[str]:
        """The work that waits and has not moved for too long, though everything that it needs is there."""
        if self.absent:
            return []
        too_long_ago = self.now() - STUCK_SECONDS
        return [
            name
            for name, work in self.work.items()
            if work.lag
            and name not in self.held_up
            and max(work.moved_at, work.behind_since, self.back_at) < too_long_ago
        ]

    def worst(self) -> dict[str, tuple[str, WorkProgress]]:
        """For each kind of work, what of it is furthest behind, by name: of a topic one of its partitions."""
        kinds: dict[str, tuple[str, WorkProgress]] = {}
        for name, work in self.work.items():
            kind = kind_of(name)
            if kind not in kinds or _how_far_behind(work) > _how_far_behind(kinds[kind][1]):
                kinds[kind] = name, work
        return kinds

    def _work(self, name: str) -> WorkProgress:
        return self.work.setdefault(name, WorkProgress(moved_at=self.now()))


def kind_of(name: str) -> str:
    """The kind of some work: that of all partitions of a topic is one, and one series of metrics."""
    partition = PARTITION.fullmatch(name)
    return name if partition is None else partition[1]


def _how_far_behind(work: WorkProgress) -> tuple[int, float]:
    return work.lag, -work.moved_at if work.lag else work.moved_at


def health_routes(health: Health) -> list[Route]:
    """`/healthz` and `/readyz`, for whichever application serves them."""

    async def healthz(_: Request) -> Response:
        stuck = health.stuck()
        work = {
            kind: {"lag": work.lag, "seconds_since_progress": round(health.now() - work.moved_at, 1), "worst": name}
            for kind, (name, work) in health.worst().items()
        }
        held_up = {name: held.why for name, held in health.held_up.items()}
        halted = [
            {"work": work, "name": name, "why": why} for (work, name), why in islice(health.halted.items(), HALTED_MAX)
        ]
        body = {
            "status": "stuck" if stuck else "alive", "process": health.process, "stuck": stuck, "work": work,
            "held_up": held_up, "halted": halted, "notes": health.notes,
        }  # fmt: skip
        return JSONResponse(body, 503 if stuck else 200)

    async def readyz(_: Request) -> Response:
        ready = health.is_ready and not health.absent
        body = {"status": "ready" if ready else "not ready", "process": health.process, "away": health.absent}
        return JSONResponse(body, 200 if ready else 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def health_app(health: Health) -> Starlette:
    """What a process serves on its health port."""
    health.registry.register(_Gauges(health))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=health.registry)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(health.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[*health_routes(health), Route("/metrics", metrics)])


class _Gauges(Collector):
    """Lag, progress and readiness, worked out when they are asked for."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        health, now = self._health, self._health.now()
        lag = GaugeMetricFamily(
            "creditwell_lag",
            "How much of this work waits; of a topic, in its worst partition.",
            labels=["process", "work"],
        )
        idle = GaugeMetricFamily(
            "creditwell_progress_age_seconds", "Since when nothing of this work moved.", labels=["process", "work"]
        )
        for kind, (_, work) in health.worst().items():
            lag.add_metric([health.process, kind], work.lag)
            idle.add_metric([health.process, kind], now - work.moved_at)
        ready = GaugeMetricFamily("creditwell_ready", "1 while the process can do its work.", labels=["process"])
        ready.add_metric([health.process], int(health.is_ready and not health.absent))
        stuck = GaugeMetricFamily("creditwell_stuck", "How many kinds of work are stuck.", labels=["process"])
        stuck.add_metric([health.process], len(health.stuck()))
        held_up = GaugeMetricFamily(
            "creditwell_held_up_seconds",
            "For how long this work has waited for somebody else.",
            labels=["process", "work"],
        )
        since: dict[str, float] = {}
        for name, held in health.held_up.items():
            since[kind_of(name)] = min(held.since, since.get(kind_of(name), now))
        for kind, at in since.items():
            held_up.add_metric([health.process, kind], now - at)
        halted = GaugeMetricFamily(
            "creditwell_halted", "How often this work is halted for one alone; see `creditwell halted list`.",
            labels=["process", "work"],
        )  # fmt: skip
        for name, count in Counter(work for work, _ in health.halted).items():
            halted.add_metric([health.process, name], count)
        yield from (lag, idle, ready, stuck, held_up, halted)
