"""Random histories of several teams, stored fact by fact: everything that a balance can meet, in an order that a seed decides."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    CreditsAdjusted,
    CreditsGranted,
    CreditsPurchased,
    CreditsToppedUp,
    HoldCaptured,
    HoldExtended,
    HoldPlaced,
    HoldReleased,
    NewFact,
    PeriodSealed,
    PlanAssigned,
    TopUpConfigured,
    TopUpSkipped,
    UsageRecorded,
)
from services.store.connect import Connection
from tests.support.facts import new, now, planned, store, usage, void

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati")


@dataclass
class Usage:
    """A usage that can be taken back."""

    team_id: str
    id: str
    position: int
    at: datetime
    credits: int


@dataclass
class Histories:
    """Goes on telling; what it needs to know of what it told so far."""

    random: Random
    teams: list[str]
    told: int = 0
    usages: list[Usage] = field(default_factory=list)
    holds: list[tuple[str, str]] = field(default_factory=list)

    async def begin(self, connection: Connection) -> None:
        """Every team has had a plan for some months."""
        for team_id in self.teams:
            anchor = now() - timedelta(days=self.random.uniform(0, 100))
            await store(connection, *planned(team_id, credits=20, anchor=anchor, zone=self.random.choice(ZONES)))

    async def go_on(self, connection: Connection, count: int) -> None:
        """Tell so many more facts, several of them in one transaction now and then."""
        left = count
        while left > 0:
            some = [self._next() for _ in range(min(left, self.random.choice((1, 1, 2, 30))))]
            left -= len(some)
            appended = await store(connection, *some)
            for fact, place in zip(some, appended.places, strict=True):
                if isinstance(fact.fact, UsageRecorded):
                    credits = fact.fact.credits // MICRO
                    self.usages.append(Usage(fact.team_id, fact.id, place.position, fact.occurred_at, credits))

    def _next(self) -> NewFact:
        self.told += 1
        team_id, fact_id = self.random.choice(self.teams), f"fact-{self.told}"
        draw = self.random.random()
        if draw < 0.6:
            back = self.random.choice((0, 0, 0, 0.01, 3, 40, 90))
            credits = self.random.randint(1, 9)
            return usage(
                team_id, fact_id, credits, at=now() - timedelta(days=back), tier="low" if credits < 5 else "high"
            )
        if draw < 0.68 and self.usages:
            taken = self.usages.pop(self.random.randrange(len(self.usages)))
            return void(
                taken.team_id, fact_id, of=taken.id, position=taken.position, at=taken.at, credits=taken.credits
            )
        if draw < 0.8:
            return new(team_id, fact_id, self._gain(fact_id))
        if draw < 0.92:
            return self._hold(team_id, fact_id)
        return new(team_id, fact_id, self._rare())

    def _gain(self, name: str) -> AnyFact:
        credits = self.random.randint(1, 30) * MICRO
        ends = self.random.choice((None, timedelta(seconds=0.2), timedelta(days=9), -timedelta(days=1)))
        return self.random.choice((
            CreditsGranted(credits=credits, reason="test", expires_at=None if ends is None else now() + ends),
            CreditsPurchased(credits=credits, pack="mini", payment_intent_id=f"pi_{name}", charge_cents=1, currency="usd"),
            CreditsToppedUp(credits=credits, attempt_id=name, payment_intent_id=f"pi_{name}", charge_cents=1, currency="usd"),
            CreditsAdjusted(credits=self.random.choice((-1, 1)) * credits, reason="test"),
        ))  # fmt: skip

    def _hold(self, team_id: str, name: str) -> NewFact:
        if not self.holds or self.random.random() < 0.4:
            self.holds.append((team_id, name))
            ends = now() + timedelta(seconds=self.random.choice((0.1, 3600)))
            return new(team_id, name, HoldPlaced(hold_id=name, credits=5 * MICRO, expires_at=ends))
        owner, hold_id = self.holds.pop(self.random.randrange(len(self.holds)))
        match self.random.randrange(4):
            case 0:
                return new(owner, name, HoldCaptured(hold_id=hold_id, credits=3 * MICRO, feature="ai_video.generate"))
            case 1:
                return new(owner, name, HoldReleased(hold_id=hold_id))
            case 2:
                self.holds.append((owner, hold_id))
                return new(owner, name, HoldExtended(hold_id=hold_id, expires_at=now() + timedelta(hours=2)))
            case _:
                return usage(owner, name, 2, hold_id=hold_id)

    def _rare(self) -> AnyFact:
        end = now() - timedelta(days=self.random.uniform(0, 100))
        return self.random.choice((
            PeriodSealed(plan_assigned_id="plan", cycle=0, starts_at=end - timedelta(days=30), ends_at=end),
            TopUpConfigured(enabled=self.random.random() < 0.5, threshold_credits=10 * MICRO, credits=5 * MICRO, currency="usd"),
            TopUpSkipped(ran_low_id="test", decision="test", reason="disabled"),
            PlanAssigned(plan="other", anchor=now(), zone="UTC", allowance_credits=7 * MICRO, notice_threshold_credits=3 * MICRO),
        ))  # fmt: skip
