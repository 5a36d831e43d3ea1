"""Is this process alive, ready, and getting on with its work?

Stuck is detected by progress: work waits and nothing has moved for 30 s, while Kafka and the database answer. Then
`/healthz` says 503, so that the process is started anew. Where the world is away, waiting is right, and only `/readyz`
says 503. Where one kind of work waits for somebody else (a transaction that was left open), it is held up: said with
its reason, and nobody's standstill.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram

STUCK_SECONDS = 30
ROUND_TRIPS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3)
PARTITION = re.compile(r"(.+)-\d+", re.ASCII)  # usage-17: partition 17 of usage


@dataclass(slots=True)
class WorkProgress:
    """One kind of work of a process: how much waits, and since when nothing moved."""

    lag: int = 0
    moved_at: float = 0.0
    behind_since: float = 0.0

    def still_seconds(self, now: float) -> float:
        """For how long some of it has waited and nothing has moved; 0 where nothing waits."""
        return now - max(self.moved_at, self.behind_since) if self.lag else 0.0


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
    database_seconds: Histogram = field(init=False)
    failures: Counter = field(init=False)

    def __post_init__(self) -> None:
        self.database_seconds = Histogram(
            "creditwell_database_seconds", "How long the database takes to answer, asked once a second.",
            registry=self.registry, buckets=ROUND_TRIPS,
        )  # fmt: skip
        self.failures = Counter(
            "creditwell_away", "How often something did not answer, or was taken over, by the kind of the error.",
            ["what", "error"], registry=self.registry,
        )  # fmt: skip

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

    def away(self, what: str, why: BaseException) -> None:
        """Kafka, the database or Stripe does not answer: to wait is right, and nobody is stuck meanwhile."""
        self.absent[what] = str(why) or repr(why)
        self.failures.labels(what, type(why).__name__).inc()

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
