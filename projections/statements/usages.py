"""A team's usages side by side, as a statement takes them at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from projections.balance.plain import Usages
from schemas.credits import MicroCredits
from schemas.facts import DECODE, Stored, UsageRecorded

_decode: Callable[[bytes], UsageRecorded] = DECODE[UsageRecorded.type]


@dataclass(slots=True)
class TeamUsages:
    """Usages with nothing of the team between them, column by column."""

    facts: Sequence[UsageRecorded]
    positions: Sequence[int]
    recorded: Sequence[datetime]
    occurred: Sequence[datetime]
    credits: Sequence[MicroCredits]

    @classmethod
    def of(cls, stored_facts: Sequence[Stored]) -> "TeamUsages":
        """Raises ValueError: a body is not what was written."""
        facts = [_decode(stored.body) for stored in stored_facts]
        return cls(
            facts, [stored.position for stored in stored_facts], [stored.recorded_at for stored in stored_facts],
            [stored.occurred_at for stored in stored_facts], [fact.credits for fact in facts],
        )  # fmt: skip

    def cut(self, start: int, stop: int) -> "TeamUsages":
        """Some of them: itself where it is all."""
        if start == 0 and stop >= len(self.facts):
            return self
        return TeamUsages(
            self.facts[start:stop], self.positions[start:stop], self.recorded[start:stop], self.occurred[start:stop],
            self.credits[start:stop],
        )  # fmt: skip

    def plain_usages(self) -> Usages | None:
        """As `use_plainly` takes them; None where one names a hold or corrects another."""
        if any(fact.hold_id is not None or fact.corrects is not None for fact in self.facts):
            return None
        return Usages(self.credits, min(self.occurred), max(self.occurred), self.positions[-1], self.recorded[-1])

    def between(self, begin: datetime, end: datetime) -> "TeamUsages":
        """Those of work that was done from `begin` on and before `end`: itself where it is all."""
        chosen = [number for number, at in enumerate(self.occurred) if begin <= at < end]
        if len(chosen) == len(self.facts):
            return self
        return TeamUsages(
            [self.facts[number] for number in chosen], [self.positions[number] for number in chosen],
            [self.recorded[number] for number in chosen], [self.occurred[number] for number in chosen],
            [self.credits[number] for number in chosen],
        )  # fmt: skip
