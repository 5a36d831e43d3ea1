"""What flows: credits that came and went, money that was charged, counted as facts are projected.

Counted once the batch is committed, by the process that committed it, so a restart begins at zero and nothing counts
twice. It is for dashboards; the books are `creditwell replay` and the log.
"""

from collections import Counter
from dataclasses import dataclass, field

import prometheus_client
from prometheus_client import CollectorRegistry, Histogram

from projections.balance.state import ActivityKind, BalanceEntry
from schemas.credits import MICRO
from schemas.facts import AnyFact, CreditsPurchased, CreditsToppedUp

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
CHARGED = {ActivityKind.PURCHASE, ActivityKind.TOP_UP}


@dataclass(slots=True)
class Flow:
    """Of a batch: micro-credits by kind and sign, and minor units of money by kind and currency."""

    came: Counter[ActivityKind] = field(default_factory=Counter)
    went: Counter[ActivityKind] = field(default_factory=Counter)
    charged: Counter[tuple[ActivityKind, str]] = field(default_factory=Counter)

    def note(self, fact: AnyFact, entry: BalanceEntry) -> None:
        """Add what an entry of this fact changed."""
        credits = entry.included + entry.additional
        if credits < 0:
            self.went[entry.kind] -= credits
        else:
            self.came[entry.kind] += credits
        if entry.kind in CHARGED and isinstance(fact, CreditsPurchased | CreditsToppedUp):
            self.charged[entry.kind, fact.currency] += fact.charge_cents


class ProjectorMetrics:
    """What a projector tells of its work."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.facts = prometheus_client.Counter(
            "creditwell_projected_facts", "Facts folded into the live projections", registry=registry
        )
        self.fold_seconds = Histogram(
            "creditwell_fold_seconds", "How long a batch of facts took to be folded and saved",
            registry=registry, buckets=SECONDS,
        )  # fmt: skip
        self._credits = prometheus_client.Counter(
            "creditwell_credits", "Credits that came to balances and went from them, by kind of entry",
            ["kind", "direction"], registry=registry,
        )  # fmt: skip
        self._charged = prometheus_client.Counter(
            "creditwell_charged_cents", "Money of charges that credits have answered, in minor units of the currency",
            ["kind", "currency"], registry=registry,
        )  # fmt: skip

    def count(self, flow: Flow) -> None:
        """Add a batch that is committed."""
        for direction, credits in (("in", flow.came), ("out", flow.went)):
            for kind, micro in credits.items():
                self._credits.labels(kind, direction).inc(micro / MICRO)
        for (kind, currency), cents in flow.charged.items():
            self._charged.labels(kind, currency).inc(cents)
