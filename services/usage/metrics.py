"""What a recorder counts, and its alarm about refusals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.runtime.health import Health
from services.usage.refusals import RefusedRecord

REFUSED_MINUTE_SECONDS = 60
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
REFUSED_ALARM_MIN = 20  # fewer records say nothing about a share

log = structlog.get_logger("recorder")


class RecorderMetrics:
    """What dashboards and alerts ask of a recorder."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "creditwell_usage_records", "Usage read from Kafka, by what became of it", ["outcome"], registry=registry
        )
        self.refused = Counter(
            "creditwell_usage_refused", "Usage that was refused, by reason", ["reason"], registry=registry
        )
        self.dropped = dropped_attributes(registry)
        self.traces = Counter(
            "creditwell_usage_traces", "Traces that came with usage: kept beside the log, or dropped as malformed",
            ["outcome"], registry=registry,
        )  # fmt: skip
        self.refused_share = Gauge(
            "creditwell_usage_refused_share", "Share of refused usage, judged each minute", registry=registry
        )
        self.append_seconds = Histogram(
            "creditwell_append_seconds", "How long a batch of usage took to be written, before its COMMIT",
            registry=registry, buckets=SECONDS,
        )  # fmt: skip
        self.commit_seconds = Histogram(
            "creditwell_commit_seconds",
            "How long the COMMIT of a batch of usage took",
            registry=registry,
            buckets=SECONDS,
        )


def dropped_attributes(registry: CollectorRegistry) -> Counter:
    """Counted by whoever records work: the recorder, and the API for captures."""
    return Counter(
        "creditwell_usage_attributes_dropped",
        "Attributes of usage that were not stored: nobody listed the name, or the value is no short code",
        ["why"],
        registry=registry,
    )


@dataclass(slots=True)
class RefusedShare:
    """How much was refused in the running minute: more than half is said loudly, and the recorder goes on."""

    share: Gauge
    since: float = field(default_factory=monotonic)
    all: int = 0
    refused: int = 0

    def count(self, all_: int, refused: Sequence[RefusedRecord]) -> None:
        """Add a batch; judge when the minute is over, or at once when it is that bad."""
        self.all += all_
        self.refused += len(refused)
        alarming = self.all >= REFUSED_ALARM_MIN and self.refused * 2 > self.all
        if not alarming and monotonic() - self.since < REFUSED_MINUTE_SECONDS:
            return
        self.share.set(self.refused / self.all if self.all else 0)
        if alarming and refused:
            log.error(
                "more than half of the usage that arrives is refused", refused=self.refused, of=self.all,
                last_reason=refused[-1].reason, do="run `creditwell refused list`",
            )  # fmt: skip
        self.since, self.all, self.refused = monotonic(), 0, 0


def tell_of_transaction(health: Health, name: str, offset: int | None, end: int) -> None:
    """A transaction is open at this offset (None: nothing waits for one)."""
    if offset is None:
        health.held(name, None)
        return
    why = (
        f"a Kafka transaction is open at offset {offset} and hides {end - offset} records: its producer must "
        "commit or abort it, or an operator with `kafka-transactions.sh`"
    )
    if name not in health.held_up:
        log.warning("held up", work=name, why=why)
    health.held(name, why)
