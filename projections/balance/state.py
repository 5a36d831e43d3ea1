"""A team's balance as a state: its lots, its holds, and the entries that a fact makes."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from schemas.credits import MICRO, MicroCredits

# Plain times rather than infinities, which PostgreSQL, JSON and Python each spell in their own way.
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
ALWAYS = datetime(1900, 1, 1, tzinfo=UTC)

# Four trillion credits, in debt or not: a team that gets there is counting in the wrong unit. The balance stays there
# and the fold goes on, where a sum that no column holds would stop it for every team of the shard.
BALANCE_MAX = 4 * 10**12 * MICRO

DEBT = 0  # stands for "no lot" where a lot's number is expected; positions begin with 1
DEBT_PAYERS_MAX = 100  # whoever paid debt before the newest ones is forgotten, so that a state stays small


class LotKind(StrEnum):
    """Where a lot comes from; all but `included` are additional to the customer."""

    INCLUDED = "included"
    PURCHASED = "purchased"
    TOPPED_UP = "topped_up"
    PROMOTIONAL = "promotional"
    ADJUSTED = "adjusted"
    REINSTATED = "reinstated"


class ActivityKind(StrEnum):
    """The type of an activity row, as the customer reads it."""

    USAGE = "usage"
    USAGE_VOIDED = "usage_voided"
    PURCHASE = "purchase"
    TOP_UP = "top_up"
    REFILL = "refill"
    GRANT = "grant"
    ADJUSTMENT = "adjustment"
    EXPIRY = "expiry"
    REFUND = "refund"
    DISPUTE = "dispute"
    TOP_UP_FAILED = "top_up_failed"
    TOP_UP_SKIPPED = "top_up_skipped"


@dataclass(slots=True, eq=False)
class Lot:
    """Credits gained at one time; its number is the position of the fact that brought it.

    A void may bring two. The second one's number is that position below zero.
    """

    lot: int
    kind: LotKind
    gained: MicroCredits
    remaining: MicroCredits
    starts_at: datetime
    ends_at: datetime = NEVER
    ended: bool = False

    def __lt__(self, other: "Lot") -> bool:
        return self._burns < other._burns

    @property
    def is_never_ending(self) -> bool:
        """Such a lot pays debt; included and ending ones never do."""
        return self.ends_at == NEVER and self.kind is not LotKind.INCLUDED

    @property
    def _burns(self) -> tuple[bool, datetime, datetime, int]:
        return self.kind is not LotKind.INCLUDED, self.ends_at, self.starts_at, self.lot


class OpenHold(NamedTuple):
    """Credits set aside for work that runs."""

    credits: MicroCredits
    expires_at: datetime


@dataclass(slots=True)
class Stretch:
    """The facts since the last snapshot, as far as the next one speaks of them (`projections/balance/snapshots.py`)."""

    after: int = 0
    facts: int = 0
    late_before: datetime = ALWAYS
    next_late_before: datetime = ALWAYS
    late: list[tuple[int, datetime]] = field(default_factory=list)


class LotPayment(NamedTuple):
    """What one lot (or, as lot 0, debt) paid of a usage."""

    lot: int
    credits: MicroCredits


class BalanceEntry(NamedTuple):
    """What one fact did to a balance: a row of the activity. A fact has several where a lot ended or split.

    Attributes:
        position: of the fact.
        part: which of the fact's entries, from 0.
        kind: as the customer reads it.
        recorded_at: when the fact was stored.
        occurred_at: when it happened.
        member_id: who did it, where that is known.
        feature: what was used.
        included: the change of the included credits.
        additional: the change of the additional credits.
        balance_after: the balance after this entry.
        paid: the lots that paid, or to which credits returned; of credits that came, what paid debt at once.
        late: its own time lies in a sealed cycle, so it counts in the open one. No refill is late, and no expiry.
    """

    position: int
    part: int
    kind: ActivityKind
    recorded_at: datetime
    occurred_at: datetime
    member_id: str | None
    feature: str | None
    included: MicroCredits
    additional: MicroCredits
    balance_after: MicroCredits
    paid: tuple[LotPayment, ...] = ()
    late: bool = False

    @property
    def credits(self) -> MicroCredits:
        """The change of the total."""
        return self.included + self.additional


class BurnResult(NamedTuple):
    """Who paid for something, and how much of it lots that had ended already paid: their expiry shrinks by that."""

    paid: tuple[LotPayment, ...]
    included: MicroCredits
    additional: MicroCredits
    back_included: MicroCredits = 0
    back_additional: MicroCredits = 0


@dataclass(slots=True)
class TopUpSettings:
    """What an admin chose, as far as a balance must know it."""

    enabled: bool = False
    threshold: MicroCredits = 0


@dataclass(slots=True)
class TeamBalance:
    """A team's state after `position`.

    Asked for as of any instant from `true_from` on, the facts up to `position` come to this very state: all of them had
    occurred by then, and so had every end that one of them came after.

    Attributes:
        team_id: whose balance it is.
        position: the last fact that was folded, 0 before the first.
        as_of: when that fact was recorded.
        included: what the lots of the open cycle add to the balance.
        additional: what all other lots add, less the debt; it may be negative.
        debt: what was used and no lot could pay; while there is some, no never-ending lot has credits.
        debt_payers: which lots have paid debt since, the newest last: to them it returns when its usage is voided.
        lots: in burn order, without those that nothing can touch any more.
        holds: open holds, by their id.
        next_end: the earliest end of a lot that has not ended.
        plan: the plan in force.
        plan_position: the position of the fact that assigned it, 0 before the first.
        zone: the time zone of the team's cycles.
        allowance: the included credits of a cycle.
        cycle_ends_at: the end of the open cycle.
        sealed_until: cycles that end here or earlier are final; what occurred before counts in the open cycle.
        notice_threshold: the plan's threshold, for teams without top-ups.
        top_up: what an admin chose.
        low: the log says that the balance ran low, and not yet that it recovered.
        out: the log says that nothing was left to spend, and no credits have come since.
        true_from: see above.
        stretch: the facts since the last snapshot.
        changed: lots that changed since they were last saved, by their number.
    """

    team_id: str
    position: int = 0
    as_of: datetime = ALWAYS
    included: MicroCredits = 0
    additional: MicroCredits = 0
    debt: MicroCredits = 0
    debt_payers: list[LotPayment] = field(default_factory=list)
    lots: list[Lot] = field(default_factory=list)
    holds: dict[str, OpenHold] = field(default_factory=dict)
    next_end: datetime = NEVER
    plan: str = ""
    plan_position: int = 0
    zone: str = "UTC"
    allowance: MicroCredits = 0
    cycle_ends_at: datetime = NEVER
    sealed_until: datetime = ALWAYS
    notice_threshold: MicroCredits = 0
    top_up: TopUpSettings = field(default_factory=TopUpSettings)
    low: bool = False
    out: bool = False
    true_from: datetime = ALWAYS
    stretch: Stretch = field(default_factory=Stretch)
    changed: dict[int, Lot] = field(default_factory=dict)

    @property
    def total(self) -> MicroCredits:
        """Included and additional credits."""
        return self.included + self.additional

    def held(self, at: datetime) -> MicroCredits:
        """What is set aside at an instant."""
        return sum(hold.credits for hold in self.holds.values() if hold.expires_at > at)

    def available(self, at: datetime) -> MicroCredits:
        """What may be promised to new work at an instant."""
        return self.total - self.held(at)

    @property
    def threshold(self) -> MicroCredits:
        """Below this the balance is low: the admin's threshold, or the plan's where top-ups are off."""
        return self.top_up.threshold if self.top_up.enabled else self.notice_threshold

    def alarm(self) -> bool:
        """True while the log has yet to say that the balance ran low, ran out or recovered."""
        available, threshold = self.available(self.as_of), self.threshold
        turned = recovered(available, threshold) if self.low else available < threshold
        return turned or (available <= 0 and not self.out)


def recovered(available: MicroCredits, threshold: MicroCredits) -> bool:
    """A tenth above the threshold, so that a balance on the edge does not flicker."""
    return available * 10 >= threshold * 11
