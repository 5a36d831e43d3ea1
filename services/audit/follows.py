"""Do facts follow from facts? One team's log, fact by fact, as the audit sees it: what is wrong, in words. Pure.

    usage      priced anew by the card that it names; taken back once at most, and as it was recorded
    holds      ended once, never after their end, never for longer than a day
    plans      anchor and zone stay; each refill is that of the newest plan, of the next cycle of the calendar
    payments   see `follows_money`
    people     see `follows_people`

What people decide (grants, adjustments, settings) follows from nothing; but who may decide it is judged, and the lot
that a correction burns is one that came before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from projections.balance.lots import may_bring_lot
from schemas.credits import MicroCredits, format_credits
from schemas.cycles import cycle, cycle_at
from schemas.facts import (
    AMENDMENTS,
    OURS,
    AnyFact,
    CreditsAdjusted,
    CreditsRefilled,
    HoldCaptured,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    HoldReleased,
    PlanAssigned,
    Stored,
    UsageRecorded,
    UsageVoided,
)
from schemas.pricing import NotPriced, RateCards
from schemas.rates import shown
from services.audit.follows_money import MoneyAudit
from services.audit.follows_people import PeopleAudit
from services.credits.approvals import CORRECTIONS, REQUESTS

LASTS_MAX = timedelta(hours=24)
CLOCKS_DIFFER = timedelta(minutes=5)  # a recorder's and the database's
CORRECTED = (CORRECTIONS, REQUESTS)  # sources of usage that a person corrected, alone or by two
Problems = Iterator[str]


@dataclass(slots=True)
class AuditedHold:
    """A hold by its facts."""

    credits: MicroCredits
    placed_at: datetime
    expires_at: datetime
    state: str = "open"


@dataclass(slots=True)
class TeamAudit:
    """What must be remembered of a team.

    `voided` are the positions of usages that are taken back somewhere in the log.
    """

    team_id: str
    cards: RateCards | None
    voided: frozenset[int]
    plan: PlanAssigned | None = None
    plan_id: str = ""
    assigned_at: datetime | None = None
    cycle: int | None = None
    refilled: MicroCredits = 0
    usages: dict[int, tuple[Stored, UsageRecorded | HoldCaptured]] = field(default_factory=dict)
    taken_back: set[int] = field(default_factory=set)
    amending: UsageVoided | None = None
    lots: set[int] = field(default_factory=set)
    holds: dict[str, AuditedHold] = field(default_factory=dict)
    people: PeopleAudit = field(default_factory=PeopleAudit)
    money: MoneyAudit = field(init=False)

    def __post_init__(self) -> None:
        self.money = MoneyAudit(self.team_id)

    def take(self, stored: Stored, fact: AnyFact) -> list[str]:
        """What is wrong with this fact, given those before it."""
        amending, self.amending = self.amending, None
        if stored.position in self.voided and isinstance(fact, UsageRecorded | HoldCaptured):
            self.usages[stored.position] = (stored, fact)
        problems = [*self._amends(stored, fact, amending), *self._judge(stored, fact)]
        problems += self.people.judge(stored, fact, amending, is_half=self.amending is not None)
        if isinstance(fact, CreditsAdjusted) and fact.burns_lot is not None and fact.burns_lot not in self.lots:
            problems.append(f"no credits came at {fact.burns_lot} before this, and it burns them first")
        if may_bring_lot(fact):
            self.lots.add(stored.position)
        if not self._is_source(stored, fact, amending):
            problems.append(f"{stored.source!r} is no source of a {stored.type}")
        return problems

    def _is_source(self, stored: Stored, fact: AnyFact, amending: UsageVoided | None) -> bool:
        """Usage is a service's; ours are amendments, and what a person corrected."""
        match fact:
            case UsageVoided() if stored.source == AMENDMENTS:
                return True
            case UsageVoided(corrected_by=person):
                return stored.source in CORRECTED if person is not None else not stored.source.startswith(OURS)
            case UsageRecorded():
                by_person = amending is not None and amending.corrected_by is not None
                return stored.source in CORRECTED if by_person else not stored.source.startswith(OURS)
            case _:
                return stored.source.startswith(OURS)

    def _amends(self, stored: Stored, fact: AnyFact, amending: UsageVoided | None) -> Problems:
        """A usage that corrects another one stands right behind what took that one back, and nothing else does."""
        if isinstance(fact, UsageVoided) and stored.source == AMENDMENTS:
            self.amending = fact
        corrects = (fact.corrects, fact.corrects_id) if isinstance(fact, UsageRecorded) else (None, None)
        taken_back = (None, None) if amending is None else (amending.usage_position, amending.usage_id)
        if corrects != taken_back:
            yield f"it corrects the usage at {corrects[0]}, and the one at {taken_back[0]} was taken back for it"
        elif amending is not None:
            by_person, pair = amending.corrected_by is not None, self.usages.get(amending.usage_position)
            source = stored.source if by_person else amending.usage_source
            if (stored.source, stored.occurred_at) != (source, amending.usage_occurred_at) or (
                pair
                and isinstance(fact, UsageRecorded)
                and _all_but_how_much(fact) != _all_but_how_much(pair[1], held=not by_person)
            ):
                yield f"it changes more than the quantity of the usage at {amending.usage_position}"

    def _judge(self, stored: Stored, fact: AnyFact) -> Problems:  # noqa: PLR0911 - a case for each kind of fact
        match fact:
            case UsageRecorded():
                return self._usage(stored, fact)
            case UsageVoided():
                return self._void(stored, fact)
            case HoldPlaced():
                return self._place(stored, fact)
            case HoldExtended() | HoldCaptured() | HoldReleased() | HoldExpired():
                return self._hold(stored, fact)
            case PlanAssigned():
                return self._plan(stored, fact)
            case CreditsRefilled():
                return self._refill(stored, fact)
            case _:
                return self.money.judge(stored, fact)

    def _usage(self, stored: Stored, fact: UsageRecorded) -> Problems:
        first = self.usages.get(fact.corrects or 0)
        recorded_at = stored.recorded_at if first is None or stored.source not in CORRECTED else first[0].recorded_at
        before = None if first is None else first[1].rate_card  # what is corrected keeps its card
        yield from self._priced(fact, min(stored.occurred_at, recorded_at), recorded_at, before)
        if fact.hold_id is None or (hold := self.holds.get(fact.hold_id)) is None:
            return
        if hold.state == "settled":
            yield f"hold {fact.hold_id} was settled before"
        elif hold.state == "open" and hold.expires_at > stored.recorded_at:
            hold.state = "settled"

    def _priced(
        self, fact: UsageRecorded | HoldCaptured, at: datetime, recorded_at: datetime, before: int | None = None
    ) -> Problems:
        """The price by the card that is named, and whether that card was in force; nothing for what was not priced."""
        version, feature, quantity, quantities = fact.rate_card, fact.feature, fact.quantity, fact.quantities
        if version is None or feature is None:
            return
        if (quantity is None) == (quantities is None):
            yield "it has neither a quantity nor several, or both"
            return
        used = quantity or shown(quantities or {})
        card = self.cards.version(version) if self.cards is not None else None
        if self.cards is None or card is None:
            yield f"nobody published rate card {version}"
            return
        try:
            right = card.price_used(feature, quantity, quantities, fact.attributes)
            # What happens about now was priced by a clock that may be a little behind the database's.
            sooner = min(at, recorded_at - CLOCKS_DIFFER)
            in_force = {self.cards.in_force(at).version, self._earlier(sooner), before}
        except (NotPriced, ValueError) as no:
            yield f"{used} of {feature} has no price: {no}"
            return
        if right != fact.credits:
            says = format_credits(fact.credits)
            yield f"{used} of {feature} costs {format_credits(right)} by rate card {version}, not {says}"
        if version not in in_force:
            yield f"rate card {version} was not in force then"

    def _earlier(self, at: datetime) -> int | None:
        """The card in force a little before; None before the first."""
        assert self.cards is not None
        return self.cards.in_force(at).version if at >= self.cards.begins[0] else None

    def _void(self, stored: Stored, fact: UsageVoided) -> Problems:
        if fact.usage_position in self.taken_back:
            yield f"the usage at {fact.usage_position} was taken back before"
        self.taken_back.add(fact.usage_position)
        pair = self.usages.get(fact.usage_position)
        if pair is None:
            yield f"there is no usage at {fact.usage_position} before this"
            return
        usage, recorded = pair
        says = (fact.usage_source, fact.usage_id, fact.usage_occurred_at, fact.credits, fact.feature, fact.member_id)
        if says != (usage.source, usage.id, usage.occurred_at, recorded.credits, recorded.feature, recorded.member_id):
            yield f"it takes back something else than was recorded at {fact.usage_position}"
        if stored.source == AMENDMENTS and stored.occurred_at != usage.occurred_at:
            yield f"it has not the time of the usage at {fact.usage_position}, which is amended"
        if stored.source not in (usage.source, AMENDMENTS) and fact.corrected_by is None:
            yield f"{stored.source!r} takes back what {usage.source!r} reported"

    def _place(self, stored: Stored, fact: HoldPlaced) -> Problems:
        now = stored.recorded_at
        if fact.hold_id in self.holds:
            yield f"hold {fact.hold_id} was placed before"
        if not now < fact.expires_at <= now + LASTS_MAX:
            yield f"hold {fact.hold_id} lasts longer than a day, or has ended already"
        self.holds[fact.hold_id] = AuditedHold(fact.credits, now, fact.expires_at)

    def _hold(self, stored: Stored, fact: HoldExtended | HoldCaptured | HoldReleased | HoldExpired) -> Problems:
        hold, now = self.holds.get(fact.hold_id), stored.recorded_at
        if hold is None:
            yield f"nobody placed hold {fact.hold_id}"
            return
        over = hold.expires_at <= now
        if hold.state != "open" or over != isinstance(fact, HoldExpired):
            yield f"hold {fact.hold_id} is {hold.state if hold.state != 'open' or not over else 'over'} at this moment"
            return
        match fact:
            case HoldExtended():
                if not hold.expires_at <= fact.expires_at <= hold.placed_at + LASTS_MAX:
                    yield f"hold {fact.hold_id} is extended beyond a day, or made shorter"
                hold.expires_at = fact.expires_at
            case HoldCaptured():
                yield from self._capture(stored, fact, hold)
            case HoldReleased():
                hold.state = "released"
            case HoldExpired():
                hold.state = "expired"

    def _capture(self, stored: Stored, fact: HoldCaptured, hold: AuditedHold) -> Problems:
        if fact.remaining_credits is None:
            hold.state = "settled"
        elif fact.remaining_credits != max(0, hold.credits - fact.credits):
            yield f"hold {fact.hold_id} has {format_credits(max(0, hold.credits - fact.credits))} left after this"
        hold.credits = fact.remaining_credits or 0
        yield from self._priced(fact, stored.recorded_at, stored.recorded_at)

    def _plan(self, stored: Stored, fact: PlanAssigned) -> Problems:
        if self.plan is not None and (fact.anchor, fact.zone) != (self.plan.anchor, self.plan.zone):
            yield f"anchor and zone were {self.plan.anchor.isoformat()} in {self.plan.zone} for ever"
        self.plan, self.plan_id = fact, stored.id
        self.assigned_at = self.assigned_at or stored.occurred_at

    def _refill(self, stored: Stored, fact: CreditsRefilled) -> Problems:
        plan, assigned_at = self.plan, self.assigned_at
        if plan is None or assigned_at is None:
            yield "the team had no plan"
            return
        first = cycle_at(plan.anchor, plan.zone, assigned_at)
        due = first if self.cycle is None else self.cycle if fact.upgrade else self.cycle + 1
        self.refilled = self.refilled if fact.upgrade else 0
        right = plan.allowance_credits - self.refilled
        calendar = cycle(plan.anchor, plan.zone, fact.cycle)
        starts_at = stored.occurred_at if fact.upgrade else calendar.starts_at
        if fact.cycle != due:
            yield f"cycle {fact.cycle} is refilled where {due} is due"
        if fact.plan_assigned_id != self.plan_id or fact.plan != plan.plan:
            yield f"the newest plan is {self.plan_id} ({plan.plan}), not {fact.plan_assigned_id} ({fact.plan})"
        if fact.credits != right:
            yield f"the plan gives {format_credits(right)} credits, not {format_credits(fact.credits)}"
        if (fact.starts_at, fact.ends_at) != (starts_at, calendar.ends_at) or fact.starts_at > stored.recorded_at:
            yield f"cycle {fact.cycle} is another stretch of the calendar, or has not begun"
        self.cycle, self.refilled = max(fact.cycle, self.cycle or fact.cycle), self.refilled + fact.credits


def _all_but_how_much(usage: UsageRecorded | HoldCaptured, *, held: bool = True) -> tuple[object, ...]:
    """What a correction keeps. Where a person corrects what settled a hold, the hold has ended: `held` is false."""
    return usage.feature, usage.member_id, usage.attributes, usage.hold_id if held else None
