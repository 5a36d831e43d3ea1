"""What settings of top-ups would have charged: a team's own log, walked once more with other settings.

The folds and the decision are those that run for real: the balance, its crossings, what is due, what is charged. From
the window's start the log's own top-ups and everything that came of them are left out, and each decision to charge is
followed by its credits at once, by a card that works. So a simulation is exact about amounts, caps and cool-downs, and
knows no bank that is slow.

Settings that were in force all the while have charged what the log says they have; nothing is guessed about them.

Pure: no clock, no store.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from projections.balance.amending import earlier_usage
from projections.balance.crossings import crossings
from projections.balance.fold import evolve as evolve_balance
from projections.balance.lots import end_lots
from projections.balance.state import ALWAYS, LotPayment, TeamBalance
from projections.top_ups.decisions import decide
from projections.top_ups.fold import evolve as evolve_top_ups
from projections.top_ups.state import ChargedCard, TopUps
from schemas.catalog import Catalog
from schemas.credits import MicroCredits
from schemas.facts import (
    AnyFact,
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    ChargeDisputed,
    ChargeRefunded,
    CreditsToppedUp,
    DisputeClosed,
    HoldCaptured,
    PaymentMethodChanged,
    Stored,
    TopUpActionRequired,
    TopUpConfigured,
    TopUpFailed,
    TopUpIntentCancelled,
    TopUpIntentCreated,
    TopUpRequested,
    TopUpResumed,
    TopUpSkipped,
    TopUpSuspended,
    UsageRecorded,
    UsageVoided,
)

# What came of top-ups that were made for real.
CAME_OF_IT = (
    BalanceRanLow, BalanceRecovered, BalanceRanOut, CreditsToppedUp, TopUpActionRequired, TopUpFailed,
    TopUpIntentCancelled, TopUpIntentCreated, TopUpRequested, TopUpResumed, TopUpSkipped, TopUpSuspended,
)  # fmt: skip
CHOSEN = (PaymentMethodChanged, TopUpConfigured)
SIMULATED = 2**62  # positions of facts that never were: beyond every real one
CARD = ChargedCard(customer_id="simulated", payment_method_id="simulated", fingerprint="simulated")


class SimulatedTopUp(NamedTuple):
    """Money that would have been taken, and the credits for it."""

    at: datetime
    credits: MicroCredits
    charge_cents: int


def simulate(
    facts: Sequence[Stored], settings: TopUpConfigured, *, since: datetime, until: datetime, catalog: Catalog
) -> list[SimulatedTopUp]:
    """The charges between two instants, given all of a team's facts in their order."""
    if not facts:
        return []
    history = [(stored, stored.fact()) for stored in facts if stored.recorded_at <= until]
    if _always_in_force(history, settings, since):
        return [
            SimulatedTopUp(stored.recorded_at, fact.credits, fact.charge_cents)
            for stored, fact in history
            if isinstance(fact, CreditsToppedUp) and stored.recorded_at >= since
        ]
    voided = frozenset(fact.usage_position for _, fact in history if isinstance(fact, UsageVoided))
    walk = TopUpWalk(facts[0].team_id, facts[0].shard, voided, catalog, since)
    before = [one for one in history if one[0].recorded_at < since]
    for stored, fact in before:
        walk.take(stored, fact)
    walk.begin(settings)
    for stored, fact in history[len(before) :]:
        if not isinstance(fact, CHOSEN):
            walk.go_on(stored, fact)
    return walk.end(until)


def _always_in_force(history: Iterable[tuple[Stored, AnyFact]], settings: TopUpConfigured, since: datetime) -> bool:
    """True if these very settings were the team's during the whole window."""
    latest: TopUpConfigured | None = None
    for stored, fact in history:
        if isinstance(fact, TopUpConfigured):
            if stored.recorded_at >= since and latest is None:
                return False
            latest = fact.model_copy(update={"configured_by": settings.configured_by})
            if stored.recorded_at >= since and latest != settings:
                return False
        elif stored.recorded_at >= since and latest != settings:
            return False
    return latest == settings


class TopUpWalk:
    """Two folds of a team's log side by side, and the charges that came of them.

    `take` each fact before the instant `since`, then `begin`; `go_on` by each one after it, and `end`.
    """

    def __init__(self, team_id: str, shard: int, voided: frozenset[int], catalog: Catalog, since: datetime) -> None:
        """`voided` are the positions of usage that is taken back somewhere in the log."""
        self.team, self.top_ups = TeamBalance(team_id), TopUps(team_id=team_id)
        self.shard, self.voided, self.catalog, self.now = shard, voided, catalog, since
        self.charges: list[SimulatedTopUp] = []
        self._paid: dict[int, tuple[LotPayment, ...]] = {}
        self._gone: set[str] = set()  # payments of top-ups that were made for real
        self._made_up = 0

    def go_on(self, stored: Stored, fact: AnyFact) -> None:
        """One fact further, and before it what time brought; real top-ups and all that came of them are left out."""
        if isinstance(fact, CreditsToppedUp):
            self._gone.add(fact.payment_intent_id)
        if isinstance(fact, CAME_OF_IT) or (
            isinstance(fact, ChargeRefunded | ChargeDisputed | DisputeClosed) and fact.payment_intent_id in self._gone
        ):
            return
        if stored.recorded_at > self.now:  # what was appended together counts together: a plan and its credits, for one
            self.settle(self.now)
            self.now = stored.recorded_at
            self.wait(self.now)
        self.take(stored, fact)

    def end(self, until: datetime) -> list[SimulatedTopUp]:
        """All charges, with those that time alone brings up to an instant."""
        self.settle(self.now)
        self.wait(until)
        return self.charges

    def take(self, stored: Stored, fact: AnyFact) -> None:
        """One fact further."""
        earlier = earlier_usage(fact)
        paid = () if earlier is None else self._paid.get(earlier, ())
        entries = evolve_balance(self.team, stored, fact, paid, self.team.changed)
        if isinstance(fact, UsageRecorded | HoldCaptured) and stored.position in self.voided:
            self._paid[stored.position] = next((entry.paid for entry in entries if entry.paid), ())
        self.top_ups = evolve_top_ups(self.top_ups, stored, fact)

    def begin(self, settings: TopUpConfigured | None = None) -> None:
        """From `since` on nothing is under way and no card declined; with `settings` these hold, with a card."""
        self.top_ups = self.top_ups.but(
            open=None, suspension=None, declines=0, card_is_dead=False, cool_until=ALWAYS,
            card=self.top_ups.card if settings is None else CARD,
        )  # fmt: skip
        if settings is not None:
            self._say(settings, self.now)

    def wait(self, until: datetime) -> None:
        """Take the decisions that time alone brings: the end of a cool-down, a new month."""
        while (point := self.top_ups.point) is not None and point.at <= until:
            if self.team.next_end <= point.at:
                end_lots(self.team, point.at, [])
            self.settle(point.at)
            if self.top_ups.point == point:
                return

    def settle(self, at: datetime) -> None:
        """Say what is due, decide, charge: until nothing more is due."""
        while self.team.plan:
            for crossed in crossings(self.team, at):
                self._say(crossed, at)
            decided = decide(self.top_ups, self.team.available(at), at, self.catalog)
            if decided is None:
                return
            self._say(decided, at)
            if isinstance(decided, TopUpRequested):
                self.charges.append(SimulatedTopUp(at, decided.credits, decided.charge_cents))
                self._say(_answer(decided), at)

    def _say(self, fact: AnyFact, at: datetime) -> None:
        self.take(self._stored(fact, at), fact)

    def _stored(self, fact: AnyFact, at: datetime) -> Stored:
        self._made_up += 1
        name = f"simulated:{self._made_up}"
        return Stored(
            self.shard, SIMULATED + self._made_up, at, at, self.team.team_id, "simulated", name, fact.type, b""
        )


def _answer(decided: TopUpRequested) -> CreditsToppedUp:
    return CreditsToppedUp(
        credits=decided.credits, attempt_id=decided.attempt_id, payment_intent_id=decided.attempt_id,
        charge_cents=decided.charge_cents, currency=decided.currency,
    )  # fmt: skip
