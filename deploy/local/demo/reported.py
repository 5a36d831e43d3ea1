"""What was reported to Creditwell, written down by those who reported it.

These are the demo's own books. Its log is checked against them.
"""

from collections import Counter
from dataclasses import dataclass, field

from services.store.identities import Identity


@dataclass
class ReportedWork:
    """Everything that was reported, with what must become of it."""

    usages: dict[Identity, int] = field(default_factory=dict)  # micro-credits of each that must be accepted
    voids: dict[Identity, Identity] = field(default_factory=dict)  # each void, and the usage that it takes back
    refusals: Counter[str] = field(default_factory=Counter)  # by the reason that must be given
    duplicates: int = 0
    conflicts: int = 0
    late: int = 0  # of the usages, those that were reported long after the work

    @property
    def records(self) -> int:
        """How many records that makes in Kafka."""
        return len(self.usages) + len(self.voids) + self.refusals.total() + self.duplicates + self.conflicts
