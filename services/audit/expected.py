"""What every derived table must hold, made from the log alone: the rows of one shard, fact by fact. Pure.

`balance`, `lots`, `activity` and `usage` are folded in `services/audit/replays/`; here are the tables that move in the
transaction which appends: teams, holds, limits, erased members, voids, attempts, pages, the saved fold of top-ups.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from projections.top_ups.fold import evolve as evolve_top_ups
from projections.top_ups.state import TopUps
from schemas.credits import MicroCredits
from schemas.cycles import cycle_at, cycle_start
from schemas.facts import (
    AnyFact,
    CreditsPurchased,
    CreditsRefilled,
    CreditsToppedUp,
    HoldCaptured,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    HoldReleased,
    MemberErased,
    MemberLimited,
    PaymentMethodChanged,
    PeriodSealed,
    PlanAssigned,
    PurchaseRequested,
    Stored,
    TopUpFailed,
    TopUpIntentCreated,
    TopUpRequested,
    UsageRecorded,
    UsageVoided,
)

TableRow = tuple[object, ...]
Key = tuple[str, object]  # team, and what else names a row


@dataclass(slots=True)
class TeamRow:
    """A row of `teams`."""

    plan: PlanAssigned
    plan_id: str
    anchor: datetime
    zone: str
    cycle: int
    ends_at: datetime
    sealed: int

    def row(self, team_id: str) -> TableRow:
        """As the table has it."""
        return (
            team_id, self.plan.plan, self.plan_id, self.anchor, self.zone, self.plan.allowance_credits, self.cycle,
            self.ends_at, self.sealed,
        )  # fmt: skip


@dataclass(slots=True)
class HoldRow:
    """A row of `holds`; what was set aside is compared while the hold is open."""

    member_id: str | None
    credits: MicroCredits
    placed_at: datetime
    expires_at: datetime
    state: str = "open"


@dataclass(slots=True)
class Expected:
    """The rows of one shard. `saved_at` are the positions at which folds of top-ups were saved, by team."""

    saved_at: Mapping[str, int]
    teams: dict[str, TeamRow] = field(default_factory=dict)
    holds: dict[Key, HoldRow] = field(default_factory=dict)
    limits: dict[Key, TableRow] = field(default_factory=dict)
    numbers: dict[Key, int] = field(default_factory=dict)
    erased: dict[Key, tuple[int, int | None]] = field(default_factory=dict)
    voids: dict[Key, int] = field(default_factory=dict)
    attempts: dict[Key, tuple[str | None, bool]] = field(default_factory=dict)
    purchases: dict[Key, PurchaseRequested] = field(default_factory=dict)
    paid: set[Key] = field(default_factory=set)
    cards: dict[str, PaymentMethodChanged] = field(default_factory=dict)
    top_ups: dict[str, TopUps] = field(default_factory=dict)

    def take(self, stored: Stored, fact: AnyFact) -> None:  # noqa: C901, PLR0912 - a case for each kind of fact
        """One fact further."""
        team_id = stored.team_id
        if not stored.type.startswith(("usage.", "hold.")):
            self._fold_top_ups(stored, fact)
        match fact:
            case UsageRecorded(hold_id=hold_id) if hold_id is not None:
                hold = self.holds.get((team_id, hold_id))
                if hold is not None and hold.state == "open" and hold.expires_at > stored.recorded_at:
                    hold.state = "settled"
            case UsageVoided():
                self.voids.setdefault((team_id, fact.usage_position), stored.position)
            case HoldPlaced() | HoldExtended() | HoldCaptured() | HoldReleased() | HoldExpired():
                self._hold(stored, fact)
            case PlanAssigned() | CreditsRefilled() | PeriodSealed():
                self._turn(stored, fact)
            case MemberLimited():
                key = (team_id, fact.member_id)
                number = self.numbers[key] = self.numbers.get(key, 0) + 1
                self.limits[key] = (
                    *key, number, stored.position, fact.daily_credits, fact.monthly_credits, fact.hard,
                )  # fmt: skip
            case MemberErased():
                self._erase(stored, fact)
            case PaymentMethodChanged():
                self.cards[team_id] = fact
            case PurchaseRequested():
                self.purchases[team_id, fact.purchase_id] = fact
            case CreditsPurchased():
                self.paid.add((team_id, fact.purchase_id))
            case TopUpRequested() | TopUpIntentCreated() | TopUpFailed() | CreditsToppedUp():
                self._attempt(team_id, fact)
            case _:
                pass  # it moves no such row

    def _erase(self, stored: Stored, fact: MemberErased) -> None:
        key = (stored.team_id, fact.member_id)
        if fact.wholly:
            self.limits.pop(key, None)
        wholly_at = stored.position if fact.wholly else self.erased.get(key, (0, None))[1]
        self.erased[key] = (stored.position, wholly_at)

    def _fold_top_ups(self, stored: Stored, fact: AnyFact) -> None:
        if stored.position <= self.saved_at.get(stored.team_id, 0):
            state = self.top_ups.get(stored.team_id) or TopUps(team_id=stored.team_id)
            self.top_ups[stored.team_id] = evolve_top_ups(state, stored, fact)

    def _hold(
        self, stored: Stored, fact: HoldPlaced | HoldExtended | HoldCaptured | HoldReleased | HoldExpired
    ) -> None:
        key = (stored.team_id, fact.hold_id)
        if isinstance(fact, HoldPlaced):
            self.holds[key] = HoldRow(fact.member_id, fact.credits, stored.recorded_at, fact.expires_at)
            return
        hold = self.holds.get(key)
        if hold is None or hold.state != "open":
            return
        match fact:
            case HoldExtended():
                hold.expires_at = fact.expires_at
            case HoldCaptured(remaining_credits=None):
                hold.state = "settled"
            case HoldCaptured(remaining_credits=remaining):
                hold.credits = remaining or 0
            case HoldReleased():
                hold.state = "released"
            case HoldExpired():
                hold.state = "expired"

    def _turn(self, stored: Stored, fact: PlanAssigned | CreditsRefilled | PeriodSealed) -> None:
        team = self.teams.get(stored.team_id)
        match fact:
            case PlanAssigned() if team is None:
                before_first = cycle_at(fact.anchor, fact.zone, stored.occurred_at) - 1
                self.teams[stored.team_id] = TeamRow(
                    fact, stored.id, fact.anchor, fact.zone, before_first,
                    cycle_start(fact.anchor, fact.zone, before_first + 1), before_first,
                )  # fmt: skip
            case PlanAssigned() if team is not None:
                team.plan, team.plan_id = fact, stored.id
            case CreditsRefilled() if team is not None and not fact.upgrade:
                team.cycle, team.ends_at = fact.cycle, fact.ends_at
            case PeriodSealed() if team is not None:
                team.sealed = max(team.sealed, fact.cycle)
            case _:
                pass  # of a team without a plan, which is what the audit says

    def _attempt(self, team_id: str, fact: TopUpRequested | TopUpIntentCreated | TopUpFailed | CreditsToppedUp) -> None:
        key = (team_id, fact.attempt_id)
        if isinstance(fact, TopUpRequested):
            self.attempts[key] = (None, True)
        elif key in self.attempts:
            intent_id, _ = self.attempts[key]
            created = isinstance(fact, TopUpIntentCreated)
            self.attempts[key] = (fact.payment_intent_id if created else intent_id, created)

    def team_rows(self) -> Iterable[TableRow]:
        """Rows of `teams`."""
        return (team.row(team_id) for team_id, team in self.teams.items())

    def hold_rows(self) -> Iterable[TableRow]:
        """Rows of `holds`; credits of those that have ended are left out."""
        for (team_id, hold_id), hold in self.holds.items():
            credits = hold.credits if hold.state == "open" else None
            yield team_id, hold_id, hold.member_id, credits, hold.placed_at, hold.expires_at, hold.state

    def void_rows(self) -> Iterable[TableRow]:
        """Rows of `voided_usages`."""
        return ((*key, position) for key, position in self.voids.items())

    def erased_rows(self) -> Iterable[TableRow]:
        """Rows of `erased_members`."""
        return ((*key, *erased) for key, erased in self.erased.items())

    def attempt_rows(self) -> Iterable[TableRow]:
        """Rows of `top_up_attempts`."""
        return ((*key, intent_id, is_open) for key, (intent_id, is_open) in self.attempts.items())

    def purchase_rows(self) -> Iterable[TableRow]:
        """Rows of `checkouts` that sell something."""
        for (team_id, purchase_id), sold in self.purchases.items():
            if sold.found_payment is not None:  # of another life of the log, whose page this one never had
                continue
            credited = (team_id, purchase_id) in self.paid
            yield (
                team_id, purchase_id, sold.pack, sold.credits, sold.price_cents, sold.currency, sold.taxed,
                sold.keeps_card, credited,
            )  # fmt: skip

    def card_rows(self) -> Iterable[TableRow]:
        """Rows of `stripe_customers` that name a card."""
        for team_id, card in self.cards.items():
            if card.payment_method_id is not None:
                yield team_id, card.customer_id, card.payment_method_id

    def top_up_rows(self) -> Iterable[TableRow]:
        """Rows of `top_ups`: the fold as it was where it was saved."""
        for team_id, position in self.saved_at.items():
            state = self.top_ups.get(team_id) or TopUps(team_id=team_id)
            due_at = state.point.at if state.point is not None else None
            yield team_id, position, state.but(position=position).model_dump_json(), state.enabled, due_at
