"""What a replay comes to: what was folded, and where the live projections or the facts are wrong. Pure."""

from dataclasses import dataclass, field
from typing import NamedTuple

from projections.balance.state import ActivityKind
from schemas.credits import MicroCredits
from services.audit.derived import AuditFinding

DIFFERENCES_MAX = 100  # the rest is counted


class ReplayDifference(NamedTuple):
    """Where a live projection says something else than the log."""

    team_id: str
    table: str
    row: str
    column: str
    expected: object
    live: object

    def __str__(self) -> str:
        """A sentence that names the place."""
        where = f"{self.table} of {self.team_id}{f', {self.row}' if self.row else ''}"
        return f"{where}: {self.column} should be {self.expected} and is {self.live}"


@dataclass(slots=True)
class Totals:
    """The entries of one kind, in micro-credits."""

    entries: int = 0
    included: MicroCredits = 0
    additional: MicroCredits = 0


@dataclass(slots=True)
class Replayed:
    """What was folded, and where the live projections differ. `more` counts differences that are not listed."""

    facts: int = 0
    teams: int = 0
    totals: dict[ActivityKind, Totals] = field(default_factory=dict)
    differences: list[ReplayDifference] = field(default_factory=list)
    more: int = 0
    findings: list[AuditFinding] = field(default_factory=list)
    more_findings: int = 0

    def differs(self, difference: ReplayDifference) -> None:
        """Keep the first ones."""
        if len(self.differences) < DIFFERENCES_MAX:
            expected, is_live = _plain(difference.expected), _plain(difference.live)
            self.differences.append(difference._replace(expected=expected, live=is_live))
        else:
            self.more += 1

    def finds(self, finding: AuditFinding) -> None:
        """Keep the first ones; what can't be read is met by more than one fold, and told once."""
        if finding in self.findings:
            return
        if len(self.findings) < DIFFERENCES_MAX:
            self.findings.append(finding)
        else:
            self.more_findings += 1

    def add(self, shard: "Replayed") -> None:
        """And what the next shard comes to."""
        self.facts, self.teams = self.facts + shard.facts, self.teams + shard.teams
        for kind, more in shard.totals.items():
            totals = self.totals.setdefault(kind, Totals())
            totals.entries += more.entries
            totals.included += more.included
            totals.additional += more.additional
        for difference in shard.differences:
            self.differs(difference)
        for finding in shard.findings:
            self.finds(finding)
        self.more, self.more_findings = self.more + shard.more, self.more_findings + shard.more_findings


def _plain(value: object) -> object:
    """As JSON has it: the same, whether it came from this process, from another one or from a file."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return list(map(_plain, value)) if isinstance(value, list | tuple) else str(value)
