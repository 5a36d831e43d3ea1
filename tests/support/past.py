"""A team's past, told at random over some months and laid into the log as if it had been recorded then."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from projections.balance.snapshots import CADENCE, Cadence
from schemas.credits import MICRO
from schemas.cycles import cycle_at, cycle_start
from schemas.facts import (
    AMENDMENTS,
    AnyFact,
    CreditsAdjusted,
    CreditsGranted,
    CreditsPurchased,
    HoldCaptured,
    HoldPlaced,
    HoldReleased,
    NewFact,
    PeriodSealed,
    PlanAssigned,
    Stored,
    TopUpConfigured,
    UsageRecorded,
    UsageVoided,
)
from services.read_models.balances import PROJECTOR
from services.read_models.projecting import Projecting
from services.read_models.versions import live_versions
from services.store.claims import Claims
from services.store.connect import Connection
from services.store.cycles import refill
from services.store.read import read_raw_after
from services.store.shards import shard_of
from tests.support.facts import new, usage, void
from tests.support.heads import heads_unguarded

TEAM = "team_past"
SHARD = shard_of(TEAM)
BEGIN = datetime(2025, 1, 31, 10, tzinfo=UTC)

INSERT = """
    INSERT INTO facts (shard, position, recorded_at, occurred_at, team_id, source, id, type, body, leaf)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '')
"""
VOIDED = "INSERT INTO voided_usages (shard, team_id, usage_position, void_position) VALUES ($1, $2, $3, $4)"
MOVE_HEAD = "UPDATE shard_heads SET next = $2 WHERE shard = $1"


@dataclass
class Past:
    """What was told so far. Time passes by seconds, days and whole months; refills come with the first fact after they are due."""

    random: Random
    now: datetime = BEGIN
    plan: PlanAssigned = field(
        default_factory=lambda: PlanAssigned(
            plan="pro", anchor=BEGIN, zone="Europe/Berlin", allowance_credits=60 * MICRO
        )
    )
    plan_id: str = "plan-0"
    cycle: int = 0
    log: list[Stored] = field(default_factory=list)
    usages: list[tuple[Stored, int]] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)

    def tell(self, count: int) -> list[Stored]:
        """So many facts, of which the first is a plan."""
        self._record(new(TEAM, self.plan_id, self.plan, at=self.now))
        self._record(refill(self.plan, self.plan_id, TEAM, 0))
        while len(self.log) < count:
            self.now += self.random.choice((timedelta(0), timedelta(seconds=1), timedelta(hours=5), timedelta(days=4)))
            self._refill()
            if self.random.random() < 0.03:
                self._outage()
            self._next(f"fact-{len(self.log)}")
        return self.log

    def then(self, name: str, fact: AnyFact, recorded: datetime, *, occurred: datetime | None = None) -> Stored:
        """One fact more, told on purpose."""
        self.now = recorded
        return self._record(new(TEAM, name, fact, at=occurred or recorded))

    def _outage(self) -> None:
        """Nobody recorded anything for a while; then comes what happened meanwhile, in order."""
        began = self.now
        self.now += timedelta(days=self.random.uniform(0.5, 40))
        self._refill()
        for step in range(12):
            at, name = began + (self.now - began) * step / 12, f"fact-{len(self.log)}"
            if self.random.random() < 0.3 and self.usages:
                self._void(name, at)
            else:
                self._use(name, at)

    def _record(self, fact: NewFact) -> Stored:
        stored = Stored(
            SHARD, len(self.log) + 1, self.now, fact.occurred_at, TEAM, fact.source, fact.id, fact.fact.type, fact.fact.body()
        )  # fmt: skip
        self.log.append(stored)
        return stored

    def _refill(self) -> None:
        for k in range(self.cycle + 1, cycle_at(self.plan.anchor, self.plan.zone, self.now) + 1):
            self._record(refill(self.plan, self.plan_id, TEAM, k))
            self.cycle = k

    def _next(self, name: str) -> None:
        draw = self.random.random()
        if draw < 0.55:
            late = self.random.choice((
                timedelta(0), timedelta(0), timedelta(seconds=2), -timedelta(minutes=4), timedelta(days=3), timedelta(days=40),
            ))  # fmt: skip
            self._use(name, max(self.now - late, BEGIN))
        elif draw < 0.62 and self.usages:
            self._void(name, self.now)
        elif draw < 0.65 and self.usages:
            self._amend(name)
        elif draw < 0.85:
            stored = self._record(new(TEAM, name, self._hold(name) if draw < 0.75 else self._gain(name), at=self.now))
            if isinstance(captured := stored.fact(), HoldCaptured):
                self.usages.append((stored, captured.credits // MICRO))  # an operator may take it back
        elif draw < 0.95:
            self._record(new(TEAM, name, self._rare(), at=self.now))
        else:
            self.plan, self.plan_id = self.plan.model_copy(update={"plan": name, "allowance_credits": 90 * MICRO}), name
            self._record(new(TEAM, name, self.plan, at=self.now))

    def _use(self, name: str, at: datetime) -> None:
        hold_id = self.random.choice(self.holds) if self.holds and self.random.random() < 0.2 else None
        credits = self.random.randint(1, 30)
        told = usage(TEAM, name, credits, at=at, hold_id=hold_id)
        self.usages.append((self._record(told), credits))

    def _void(self, name: str, at: datetime) -> None:
        taken, credits = self.usages.pop(self.random.randrange(len(self.usages)))
        told = void(TEAM, name, of=taken.id, position=taken.position, at=taken.occurred_at, credits=credits)
        if isinstance(captured := taken.fact(), HoldCaptured):
            assert isinstance(told.fact, UsageVoided)
            told = told._replace(fact=told.fact.model_copy(update={"feature": captured.feature}))
        self._record(told._replace(occurred_at=at))

    def _amend(self, name: str) -> None:
        taken, credits = self.usages.pop(self.random.randrange(len(self.usages)))
        back = void(TEAM, f"void:{name}", of=taken.id, position=taken.position, at=taken.occurred_at, credits=credits)
        self._record(back._replace(source=AMENDMENTS, occurred_at=taken.occurred_at))
        credits = self.random.choice((credits, self.random.randint(1, 30)))
        anew = usage(TEAM, name, credits, at=taken.occurred_at)
        assert isinstance(anew.fact, UsageRecorded)
        fact = msgspec.structs.replace(anew.fact, corrects=taken.position, corrects_id=taken.id, reason="test")
        self.usages.append((self._record(anew._replace(fact=fact)), credits))

    def _gain(self, name: str) -> AnyFact:
        credits, ends = max(0, self.random.randint(-10, 40)) * MICRO, self.random.choice((None, 0.001, 3, 20))
        return self.random.choice((
            CreditsGranted(credits=credits, reason="test", expires_at=ends and self.now + timedelta(days=ends)),
            CreditsPurchased(credits=credits, pack="mini", payment_intent_id=name, charge_cents=1, currency="usd"),
            CreditsAdjusted(credits=self.random.choice((-1, 1)) * credits, reason="test"),
        ))  # fmt: skip

    def _hold(self, name: str) -> AnyFact:
        if not self.holds or self.random.random() < 0.5:
            self.holds.append(name)
            ends = self.now + self.random.choice((timedelta(seconds=1), timedelta(hours=20)))
            return HoldPlaced(hold_id=name, credits=5 * MICRO, expires_at=ends)
        hold_id = self.holds.pop(self.random.randrange(len(self.holds)))
        return self.random.choice((
            HoldCaptured(hold_id=hold_id, credits=3 * MICRO, feature="ai_video.generate"), HoldReleased(hold_id=hold_id),
        ))  # fmt: skip

    def _rare(self) -> AnyFact:
        ends = cycle_start(self.plan.anchor, self.plan.zone, self.random.randint(0, self.cycle))
        threshold = self.random.randint(1, 9) * MICRO
        return self.random.choice((
            PeriodSealed(plan_assigned_id="plan-0", cycle=0, starts_at=ends - timedelta(days=30), ends_at=ends),
            TopUpConfigured(enabled=self.random.random() < 0.5, threshold_credits=threshold, credits=MICRO, currency="usd"),
        ))  # fmt: skip


async def lay(connection: Connection, log: Sequence[Stored]) -> None:
    """Put facts into the log as they stand, with the voids among them; without proofs, which nobody asks for here."""
    await connection.executemany(INSERT, log)
    voids = [(SHARD, TEAM, fact.usage_position, stored.position) for stored, fact in _voids(log)]
    await connection.executemany(VOIDED, voids)
    async with heads_unguarded(connection):
        await connection.execute(MOVE_HEAD, SHARD, log[-1].position + 1)


def _voids(log: Sequence[Stored]) -> list[tuple[Stored, UsageVoided]]:
    facts = ((stored, stored.fact()) for stored in log)
    return [(stored, fact) for stored, fact in facts if isinstance(fact, UsageVoided)]


async def project(
    connection: Connection, *, batch: int, cadence: Cadence = CADENCE, shards: Sequence[int] = (SHARD,)
) -> None:
    """Fold the shards up to their heads, so many facts at a time, and forget all states now and then."""
    projecting = Projecting(Claims(PROJECTOR, "test"), await live_versions(connection), cadence)
    await projecting.claims.make_rows(connection)
    await projecting.claims.take(connection, list(shards))
    while facts := await read_raw_after(connection, projecting.claims.positions, batch):
        await projecting.project(connection, facts)
        if max(read[-1]["position"] for read in facts.values()) % 3 == 0:
            projecting.forget()
