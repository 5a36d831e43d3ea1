"""The balance of a team: lots, burn order, overdraft, late usage, cycles. The one fold that everything derives from.

`evolve` takes a team's state one fact further and says what the fact did, as entries. Live projection, replay, audit, as-of
reads and tests all run it. Its rules (design: credits 6-8, 11, 12):

- A balance is the sum of its entries. Each entry's `credits` is `included + additional`, and `balance_after` is the one
  before it plus `credits`: so statements tie out.
- Burn order is total: included, then what ends soonest, then oldest first, then by lot. A lot pays only for usage inside its
  interval. What no lot pays is debt: `additional` goes negative, and the page says so.
- A lot's end is an entry of its own, booked by the first fact after it. Until its cycle is sealed, late usage still burns
  what was left; that gives back as much of the expiry. After the seal, it counts in the open cycle, marked late, and so does
  what happened before the first cycle.
- Holds set aside an amount, not lots.

No clock, no randomness, no input or output. The state belongs to the caller and is changed in place: 50,000 facts a second
leave no time for copies. After an exception it is void.
"""

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple, assert_never

from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    ChargeDisputed,
    ChargeRefunded,
    CreditsAdjusted,
    CreditsExpired,
    CreditsGranted,
    CreditsPurchased,
    CreditsRefilled,
    CreditsToppedUp,
    DisputeClosed,
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
    RateCardPublished,
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

# Plain times rather than infinities, which PostgreSQL, JSON and Python each spell in their own way.
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
ALWAYS = datetime(1900, 1, 1, tzinfo=UTC)

# Four trillion credits, in debt or not: a team that gets there is counting in the wrong unit. The balance stays there and the fold goes on,
# where a sum that no column holds would stop it for every team of the shard.
BALANCE_MAX = 4 * 10**12 * MICRO

DEBT = 0  # stands for "no lot" where a lot's number is expected; positions begin with 1


class LotKind(StrEnum):
    """Where a lot comes from; all but `included` are additional to the customer."""

    INCLUDED = "included"
    PURCHASED = "purchased"
    TOPPED_UP = "topped_up"
    PROMOTIONAL = "promotional"
    ADJUSTED = "adjusted"
    REINSTATED = "reinstated"


class Kind(StrEnum):
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
    """Credits gained at one time; its number is the position of the fact that brought it."""

    lot: int
    kind: LotKind
    gained: int
    remaining: int
    starts_at: datetime
    ends_at: datetime = NEVER
    ended: bool = False

    def __lt__(self, other: "Lot") -> bool:
        return self._burns < other._burns

    @property
    def _burns(self) -> tuple[bool, datetime, datetime, int]:
        return self.kind is not LotKind.INCLUDED, self.ends_at, self.starts_at, self.lot


class Hold(NamedTuple):
    """Credits set aside for work that runs."""

    credits: int
    expires_at: datetime


@dataclass(slots=True)
class Stretch:
    """The facts since the last snapshot, as far as the next one speaks of them (`projections/balance/snapshots.py`)."""

    after: int = 0
    facts: int = 0
    late_before: datetime = ALWAYS
    next_late_before: datetime = ALWAYS
    late: list[tuple[int, datetime]] = field(default_factory=list)


class Paid(NamedTuple):
    """What one lot (or, as lot 0, debt) paid of a usage."""

    lot: int
    credits: int


class Entry(NamedTuple):
    """What one fact did to a balance: a row of the activity. A fact has several where a lot ended or split."""

    position: int
    part: int
    kind: Kind
    recorded_at: datetime
    occurred_at: datetime
    member_id: str | None
    feature: str | None
    included: int
    additional: int
    balance_after: int
    paid: tuple[Paid, ...] = ()
    late: bool = False

    @property
    def credits(self) -> int:
        """The change of the total."""
        return self.included + self.additional


class Burned(NamedTuple):
    """Who paid for something, and how much of it lots that had ended already paid: their expiry shrinks by that."""

    paid: tuple[Paid, ...]
    included: int
    additional: int
    back_included: int = 0
    back_additional: int = 0


@dataclass(slots=True)
class TopUpSettings:
    """What an admin chose, as far as a balance must know it."""

    enabled: bool = False
    threshold: int = 0


@dataclass(slots=True)
class TeamBalance:
    """A team's state after `position`. `lots` are in burn order, without those that nothing can touch any more.

    Asked for as of any instant from `true_from` on, the facts up to `position` come to this very state: all of them had occurred
    by then, and so had every end that one of them came after. `plan_position` is that of the plan in force, 0 before the first.
    """

    team_id: str
    position: int = 0
    as_of: datetime = ALWAYS
    included: int = 0
    additional: int = 0
    debt: int = 0
    lots: list[Lot] = field(default_factory=list)
    holds: dict[str, Hold] = field(default_factory=dict)
    next_end: datetime = NEVER
    plan: str = ""
    plan_position: int = 0
    zone: str = "UTC"
    allowance: int = 0
    cycle_ends_at: datetime = NEVER
    sealed_until: datetime = ALWAYS
    notice_threshold: int = 0
    top_up: TopUpSettings = field(default_factory=TopUpSettings)
    low: bool = False
    out: bool = False
    true_from: datetime = ALWAYS
    stretch: Stretch = field(default_factory=Stretch)
    changed: dict[int, Lot] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Included and additional credits."""
        return self.included + self.additional

    def held(self, at: datetime) -> int:
        """What is set aside at an instant."""
        return sum(hold.credits for hold in self.holds.values() if hold.expires_at > at)

    def available(self, at: datetime) -> int:
        """What may be promised to new work at an instant."""
        return self.total - self.held(at)

    @property
    def threshold(self) -> int:
        """Below this the balance is low: the admin's threshold, or the plan's where top-ups are off."""
        return self.top_up.threshold if self.top_up.enabled else self.notice_threshold

    def alarm(self) -> bool:
        """True while the log has yet to say that the balance ran low, ran out or recovered."""
        available, threshold = self.available(self.as_of), self.threshold
        turned = recovered(available, threshold) if self.low else available < threshold
        return turned or (available <= 0 and not self.out)


def recovered(available: int, threshold: int) -> bool:
    """A tenth above the threshold, so that a balance on the edge does not flicker."""
    return available * 10 >= threshold * 11


def evolve(  # noqa: C901, PLR0912, PLR0915 - one match over every fact, closed by assert_never
    team: TeamBalance,
    stored: Stored,
    fact: AnyFact,
    paid: tuple[Paid, ...] = (),
    settled: Mapping[int, Lot] | None = None,
) -> list[Entry]:
    """Take `team` one fact further.

    For `UsageVoided`, `paid` says which lots paid the usage, and `settled` has those among them that are not in `team.lots`
    any more.

    Returns:
        The entries, in order; empty for a fact that changes no balance and shows nothing.
    """
    recorded_at = stored.recorded_at
    entries: list[Entry] = []
    team.position, team.as_of = stored.position, recorded_at
    team.true_from = max(team.true_from, stored.occurred_at)
    if team.next_end <= recorded_at:
        end_lots(team, recorded_at, entries)
    match fact:
        case UsageRecorded():
            _use(team, stored, fact, entries)
        case UsageVoided():
            returned = _what_fits(team, paid)
            included = _restore(team, stored, returned, settled or {})
            _enter(
                team,
                stored,
                entries,
                Kind.USAGE_VOIDED,
                included,
                sum(part.credits for part in returned) - included,
                fact.member_id,
                fact.feature,
                returned,
            )
        case PlanAssigned():
            team.plan, team.zone, team.allowance = fact.plan, fact.zone, fact.allowance_credits
            team.plan_position = stored.position
            team.notice_threshold = fact.notice_threshold_credits
        case CreditsRefilled(credits=credits):
            gained = _gain(team, stored, LotKind.INCLUDED, credits, fact.starts_at, fact.ends_at)
            team.cycle_ends_at = fact.ends_at
            if team.sealed_until == ALWAYS:
                team.sealed_until = fact.starts_at  # before a team's first cycle nothing could pay
            _enter(team, stored, entries, Kind.REFILL, gained, 0)
            if fact.ends_at <= recorded_at:
                end_lots(team, recorded_at, entries)
        case CreditsPurchased(credits=credits):
            gained = _gain(team, stored, LotKind.PURCHASED, credits, stored.occurred_at)
            _enter(team, stored, entries, Kind.PURCHASE, 0, gained, fact.member_id)
        case CreditsToppedUp(credits=credits):
            gained = _gain(team, stored, LotKind.TOPPED_UP, credits, stored.occurred_at)
            _enter(team, stored, entries, Kind.TOP_UP, 0, gained)
        case CreditsGranted(credits=credits):
            gained = _gain(team, stored, LotKind.PROMOTIONAL, credits, stored.occurred_at, fact.expires_at or NEVER)
            _enter(team, stored, entries, Kind.GRANT, 0, gained)
        case CreditsAdjusted(credits=credits) if credits >= 0:
            gained = _gain(team, stored, LotKind.ADJUSTED, credits, stored.occurred_at)
            _enter(team, stored, entries, Kind.ADJUSTMENT, 0, gained)
        case CreditsAdjusted(credits=credits):
            burned = _burn(team, -credits, recorded_at)
            _enter(team, stored, entries, Kind.ADJUSTMENT, -burned.included, -burned.additional, paid=burned.paid)
        case HoldCaptured():
            burned = _burn(team, fact.credits, recorded_at)
            if fact.remaining_credits is None:
                team.holds.pop(fact.hold_id, None)
            elif fact.hold_id in team.holds:
                team.holds[fact.hold_id] = team.holds[fact.hold_id]._replace(credits=fact.remaining_credits)
            _enter(
                team,
                stored,
                entries,
                Kind.USAGE,
                -burned.included,
                -burned.additional,
                fact.member_id,
                fact.feature,
                burned.paid,
            )
        case HoldPlaced():
            team.holds[fact.hold_id] = Hold(fact.credits, fact.expires_at)
        case HoldExtended() if fact.hold_id in team.holds:
            team.holds[fact.hold_id] = team.holds[fact.hold_id]._replace(expires_at=fact.expires_at)
        case HoldReleased() | HoldExpired():
            team.holds.pop(fact.hold_id, None)
        case ChargeRefunded():
            clawed, back = fact.clawed_credits, fact.reinstated_credits or 0
            _reverse(team, stored, entries, Kind.REFUND, (fact.lot, *(fact.reinstated_lots or ())), clawed, back)
        case ChargeDisputed():
            frozen, back = fact.frozen_credits, fact.reinstated_credits or 0
            _reverse(team, stored, entries, Kind.DISPUTE, (fact.lot, *(fact.reinstated_lots or ())), frozen, back)
        case DisputeClosed():
            _reverse(team, stored, entries, Kind.DISPUTE, (), 0, fact.reinstated_credits)
        case PeriodSealed():
            team.sealed_until = max(team.sealed_until, fact.ends_at)
            _settle_lots(team)
        case TopUpConfigured():
            team.top_up = TopUpSettings(fact.enabled, fact.threshold_credits)
        case BalanceRanLow():
            team.low = True
        case BalanceRecovered():
            team.low = False
        case BalanceRanOut():
            team.out = True
        case TopUpFailed():
            _enter(team, stored, entries, Kind.TOP_UP_FAILED, 0, 0)
        case TopUpSkipped():
            _enter(team, stored, entries, Kind.TOP_UP_SKIPPED, 0, 0)
        case (
            CreditsExpired()
            | PaymentMethodChanged()
            | TopUpRequested()
            | TopUpIntentCreated()
            | TopUpActionRequired()
            | TopUpIntentCancelled()
            | TopUpSuspended()
            | TopUpResumed()
            | MemberLimited()
            | RateCardPublished()
            | MemberErased()
            | HoldExtended()
        ):
            pass
        case _:
            assert_never(fact)
    if team.out and _credits_came(fact, entries) and team.available(recorded_at) > 0:
        team.out = False
    return entries


def _use(team: TeamBalance, stored: Stored, fact: UsageRecorded, entries: list[Entry]) -> None:
    """Burn for work that was done; nearly every fact is this one."""
    recorded_at, occurred_at = stored.recorded_at, stored.occurred_at
    late = occurred_at < team.sealed_until
    burned = _burn(team, fact.credits, recorded_at if late else occurred_at)
    if fact.hold_id is not None:
        _settle_hold(team, fact.hold_id, recorded_at)
    _enter(
        team, stored, entries, Kind.USAGE, -burned.included, -burned.additional, fact.member_id, fact.feature, burned.paid,
        late=late,
    )  # fmt: skip
    if burned.back_included or burned.back_additional:
        _enter_expiry(team, entries, recorded_at, occurred_at, burned.back_included, burned.back_additional)


def _credits_came(fact: AnyFact, entries: list[Entry]) -> bool:
    """False for a hold that goes: work that is held and given up, or settled for less, would else run out each time."""
    return isinstance(fact, BalanceRecovered) or sum(entry.credits for entry in entries) > 0


def end_lots(team: TeamBalance, at: datetime, entries: list[Entry]) -> None:
    """Book the end of every lot whose interval is over, in burn order; also called by reads, for the time since the last fact."""
    for lot in team.lots:
        if lot.ended or lot.ends_at > at:
            continue
        lot.ended = True
        team.changed[lot.lot] = lot
        team.true_from = max(team.true_from, lot.ends_at)
        if lot.remaining:
            ended = (-lot.remaining, 0) if lot.kind is LotKind.INCLUDED else (0, -lot.remaining)
            _enter_expiry(team, entries, at, lot.ends_at, *ended)
    team.next_end = min((lot.ends_at for lot in team.lots if not lot.ended), default=NEVER)
    _settle_lots(team)


def _settle_hold(team: TeamBalance, hold_id: str, at: datetime) -> None:
    """Usage settles a hold that is there; where its time is over or it has ended, it is plain usage."""
    hold = team.holds.get(hold_id)
    if hold is None:
        return
    if hold.expires_at > at:
        del team.holds[hold_id]
    else:
        team.true_from = max(team.true_from, hold.expires_at)


def _gain(
    team: TeamBalance, stored: Stored, kind: LotKind, credits: int, starts_at: datetime, ends_at: datetime = NEVER
) -> int:
    """Have a lot more; how many credits it has, which is fewer than asked where the balance would pass `BALANCE_MAX`."""
    credits = max(0, min(credits, BALANCE_MAX - team.total))
    lot = Lot(stored.position, kind, credits, credits, starts_at, ends_at)
    insort(team.lots, lot)
    team.changed[lot.lot] = lot
    team.next_end = min(team.next_end, ends_at)
    team.true_from = max(team.true_from, starts_at)
    return credits


def _burn(team: TeamBalance, credits: int, at: datetime) -> Burned:
    """Take credits from the lots whose interval holds `at`, in burn order; what is left becomes debt, up to `BALANCE_MAX`."""
    for lot in team.lots:
        if lot.remaining and lot.starts_at <= at < lot.ends_at:
            if not 0 < credits < lot.remaining or lot.ended:
                break
            # Nearly always one open lot pays everything and is not empty afterwards.
            lot.remaining -= credits
            team.changed[lot.lot] = lot
            included = credits if lot.kind is LotKind.INCLUDED else 0
            return Burned((Paid(lot.lot, credits),), included, credits - included)
    left = credits
    included = back_included = back_additional = 0
    parts: list[Paid] = []
    emptied = False
    for lot in team.lots:
        if not left:
            break
        if not lot.remaining or lot.starts_at > at or lot.ends_at <= at:
            continue
        take = min(lot.remaining, left)
        left -= take
        lot.remaining -= take
        team.changed[lot.lot] = lot
        parts.append(Paid(lot.lot, take))
        if lot.kind is LotKind.INCLUDED:
            included += take
            back_included += take if lot.ended else 0
        else:
            emptied = emptied or not lot.remaining
            back_additional += take if lot.ended else 0
    if left:
        credits -= left - _owe(team, left, parts)
    if emptied:
        _settle_lots(team)
    return Burned(tuple(parts), included, credits - included, back_included, back_additional)


def _owe(team: TeamBalance, credits: int, paid: list[Paid]) -> int:
    """Owe more; how many credits, which is fewer than asked where the debt would pass `BALANCE_MAX`."""
    owed = max(0, min(credits, BALANCE_MAX - team.debt))
    if owed:
        team.debt += owed
        paid.append(Paid(DEBT, owed))
    return owed


def _what_fits(team: TeamBalance, paid: tuple[Paid, ...]) -> tuple[Paid, ...]:
    """What comes back to those who paid: everything, or fewer credits where the balance would pass `BALANCE_MAX`."""
    room = max(0, BALANCE_MAX - team.total)
    if sum(part.credits for part in paid) <= room:
        return paid
    back: list[Paid] = []
    for number, credits in paid:
        fits = min(credits, room)
        room -= fits
        if fits:
            back.append(Paid(number, fits))
    return tuple(back)


def _restore(team: TeamBalance, stored: Stored, paid: tuple[Paid, ...], settled: Mapping[int, Lot]) -> int:
    """Return a usage's credits to the lots that paid; how many of them are included now.

    Where such a lot has ended, its part returns as a lot that ends with the open cycle.
    """
    lots = {lot.lot: lot for lot in team.lots}
    included = homeless = 0
    for number, credits in paid:
        if number == DEBT:
            team.debt -= credits
            continue
        lot = lots.get(number) or settled[number]
        if lot.ended or lot.ends_at <= stored.recorded_at:
            homeless += credits
            continue
        lot.remaining += credits
        team.changed[number] = lot
        included += credits if lot.kind is LotKind.INCLUDED else 0
        if number not in lots:
            insort(team.lots, lot)
            team.next_end = min(team.next_end, lot.ends_at)
    if homeless:
        included += _gain(team, stored, LotKind.INCLUDED, homeless, stored.recorded_at, team.cycle_ends_at)
    return included


def _reverse(
    team: TeamBalance, stored: Stored, entries: list[Entry], kind: Kind, lots: tuple[int, ...], clawed: int, back: int
) -> None:
    """Take credits of a payment back, or give them back as a lot of their own.

    What is taken comes from the unspent part of the payment's own lots, and from no other; what was spent already becomes debt.
    """
    paid: list[Paid] = []
    left = clawed
    for number in lots:
        lot = next((lot for lot in team.lots if lot.lot == number), None)
        unspent = min(lot.remaining, left) if lot is not None else 0
        if lot is not None and unspent:
            left -= unspent
            lot.remaining -= unspent
            team.changed[number] = lot
            paid.append(Paid(number, unspent))
    if left:
        clawed -= left - _owe(team, left, paid)
    if back:
        back = _gain(team, stored, LotKind.REINSTATED, back, stored.occurred_at)
    _settle_lots(team)
    _enter(team, stored, entries, kind, 0, back - clawed, paid=tuple(paid))


def _settle_lots(team: TeamBalance) -> None:
    """Forget the lots that nothing can touch any more, so that a state stays small however old the team is."""
    settled = [lot for lot in team.lots if is_settled(lot, team.sealed_until)]
    team.changed.update((lot.lot, lot) for lot in settled)
    team.lots = [lot for lot in team.lots if lot not in settled]


def is_settled(lot: Lot, sealed_until: datetime) -> bool:
    """True when only a void can still change the lot."""
    if lot.ended:
        return lot.ends_at <= sealed_until
    return not lot.remaining and lot.kind is not LotKind.INCLUDED


def _enter(
    team: TeamBalance,
    stored: Stored,
    entries: list[Entry],
    kind: Kind,
    included: int,
    additional: int,
    member_id: str | None = None,
    feature: str | None = None,
    paid: tuple[Paid, ...] = (),
    *,
    late: bool = False,
) -> None:
    team.included += included
    team.additional += additional
    entries.append(
        Entry(
            stored.position,
            len(entries),
            kind,
            stored.recorded_at,
            stored.occurred_at,
            member_id,
            feature,
            included,
            additional,
            team.included + team.additional,
            paid,
            late,
        )
    )


def _enter_expiry(
    team: TeamBalance, entries: list[Entry], recorded_at: datetime, ended_at: datetime, included: int, additional: int
) -> None:
    team.included += included
    team.additional += additional
    entries.append(
        Entry(
            team.position,
            len(entries),
            Kind.EXPIRY,
            recorded_at,
            ended_at,
            None,
            None,
            included,
            additional,
            team.included + team.additional,
        )
    )
