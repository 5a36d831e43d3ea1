"""Telling a team's history in a few words, for tests of the folds."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.lots import end_lots
from projections.balance.state import ActivityKind, BalanceEntry, Lot, LotPayment, TeamBalance
from schemas.credits import MICRO
from schemas.facts import (
    AMENDMENTS,
    AnyFact,
    CreditsGranted,
    CreditsPurchased,
    CreditsRefilled,
    HoldCaptured,
    PeriodSealed,
    Stored,
    UsageRecorded,
    UsageVoided,
)

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
MONTH = timedelta(days=30)


def at(minutes: float) -> datetime:
    """So many minutes after noon of the first day."""
    return NOON + timedelta(minutes=minutes)


@dataclass(slots=True)
class History:
    """One team's facts, folded as they are told; remembers what a void needs."""

    team: TeamBalance = field(default_factory=lambda: TeamBalance("team_42"))
    stored: list[Stored] = field(default_factory=list)
    entries: list[BalanceEntry] = field(default_factory=list)
    lots: dict[int, Lot] = field(default_factory=dict)
    paid: dict[int, tuple[LotPayment, ...]] = field(default_factory=dict)

    def then(
        self, fact: AnyFact, *, recorded: datetime, occurred: datetime | None = None, source: str = "test"
    ) -> list[BalanceEntry]:
        """Record a fact; what it did to the balance."""
        position = len(self.stored) + 1
        stored = Stored(
            7, position, recorded, occurred or recorded, "team_42", source, str(position), fact.type, fact.body()
        )
        self.stored.append(stored)
        earlier = earlier_usage(fact)
        paid = () if earlier is None else self.paid[earlier]
        entries = evolve(self.team, stored, fact, paid, self.lots)
        self.lots.update(self.team.changed)
        self.paid.update((entry.position, entry.paid) for entry in entries if entry.kind is ActivityKind.USAGE)
        self.entries += entries
        return entries

    def used(self, credits: int, *, recorded: datetime, occurred: datetime | None = None) -> list[BalanceEntry]:
        """A usage of whole credits."""
        fact = UsageRecorded(feature="ai_video.generate", quantity="1", credits=credits * MICRO, rate_card=1)
        return self.then(fact, recorded=recorded, occurred=occurred)

    def voided(
        self, position: int, *, recorded: datetime, occurred: datetime | None = None, source: str = "test"
    ) -> list[BalanceEntry]:
        """A usage, or a capture, is taken back."""
        usage = self.stored[position - 1]
        fact = usage.fact()
        assert isinstance(fact, UsageRecorded | HoldCaptured)
        return self.then(
            UsageVoided(
                usage_source=usage.source, usage_id=usage.id, usage_position=position,
                usage_occurred_at=usage.occurred_at, credits=fact.credits, feature=fact.feature, reason="the job failed",
            ),
            recorded=recorded, occurred=occurred, source=source,
        )  # fmt: skip

    def amended(self, position: int, credits: int, *, recorded: datetime) -> list[BalanceEntry]:
        """A usage is taken back and recorded anew, at its own time."""
        usage = self.stored[position - 1]
        back = self.voided(position, recorded=recorded, occurred=usage.occurred_at, source=AMENDMENTS)
        fact = UsageRecorded(
            feature="ai_video.generate", quantity="1", credits=credits * MICRO, rate_card=1, corrects=position,
            corrects_id=usage.id, reason="counted wrongly",
        )  # fmt: skip
        return back + self.then(fact, recorded=recorded, occurred=usage.occurred_at)

    def refilled(
        self, credits: int, *, starts: datetime, ends: datetime, recorded: datetime | None = None
    ) -> list[BalanceEntry]:
        """Included credits for a cycle."""
        fact = CreditsRefilled(
            credits=credits * MICRO, plan="pro", plan_assigned_id="plan", cycle=0, starts_at=starts, ends_at=ends
        )
        return self.then(fact, recorded=recorded or starts, occurred=starts)

    def purchased(self, credits: int, *, recorded: datetime, occurred: datetime | None = None) -> list[BalanceEntry]:
        """A pack."""
        fact = CreditsPurchased(
            credits=credits * MICRO,
            pack="mini",
            payment_intent_id=f"pi_{len(self.stored)}",
            charge_cents=1,
            currency="usd",
        )
        return self.then(fact, recorded=recorded, occurred=occurred)

    def granted(
        self, credits: int, *, recorded: datetime, expires: datetime | None = None, occurred: datetime | None = None
    ) -> list[BalanceEntry]:
        """A gift."""
        fact = CreditsGranted(credits=credits * MICRO, reason="welcome", expires_at=expires)
        return self.then(fact, recorded=recorded, occurred=occurred)

    def sealed(self, *, ends: datetime, recorded: datetime) -> list[BalanceEntry]:
        """A cycle is final."""
        return self.then(
            PeriodSealed(plan_assigned_id="plan", cycle=0, starts_at=ends - MONTH, ends_at=ends), recorded=recorded
        )

    def balance(self, now: datetime | None = None) -> tuple[float, float]:
        """Whole credits, included and additional."""
        if now is not None:
            end_lots(self.team, now, [])
        return self.team.included / MICRO, self.team.additional / MICRO
