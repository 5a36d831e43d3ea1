"""Once a minute each process says what it did: what its counters have gained, what waits, who is away or halted."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from services.runtime.clock import pause
from services.runtime.health import Health
from services.runtime.logs import get_log

MINUTE_SECONDS = 60.0
LABELS_MAX = 1  # a counter with more is told as one number
OURS = "creditwell_"


async def say_each_minute(health: Health, stop: asyncio.Event) -> None:
    """Until told to stop."""
    before: Mapping[str, float] = {}
    while True:
        await pause(stop, MINUTE_SECONDS)
        if stop.is_set():
            return
        now = counted(health.registry)
        get_log().info("the last minute", **gained(before, now), **standing(health))
        before = now


def counted(registry: CollectorRegistry) -> dict[str, float]:
    """How often each thing has happened: our counters, and of our histograms how much they have seen."""
    counts: dict[str, float] = defaultdict(float)
    for metric in registry.collect():
        if metric.name.startswith(OURS) and metric.type in ("counter", "histogram"):
            for sample in metric.samples:
                if sample.name.endswith(("_total", "_count")):
                    labels = sample.labels.values() if len(sample.labels) <= LABELS_MAX else ()
                    counts[".".join((metric.name.removeprefix(OURS), *labels))] += sample.value
    return counts


def gained(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """What has grown, and by how much."""
    return {name: round(more, 3) for name, value in now.items() if (more := value - before.get(name, 0.0)) > 0}


def standing(health: Health) -> dict[str, object]:
    """What waits and who is away, where there is any."""
    waiting = {kind: work.lag for kind, (_, work) in health.worst().items() if work.lag}
    halted = len(health.halted)
    stands: dict[str, object] = {
        "waiting": waiting,
        "away": list(health.absent),
        "stuck": health.stuck(),
        "halted": halted,
    }
    return {name: value for name, value in stands.items() if value}
