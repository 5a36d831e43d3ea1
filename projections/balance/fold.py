"""The balance of a team: lots, burn order, overdraft, late usage, cycles. The one fold that everything derives from.

`evolve` takes a team's state one fact further and says what the fact did, as entries. Live projection, replay, audit,
as-of reads and tests all run it. Its rules (design: credits 6-8, 11, 12):

- A balance is the sum of its entries. Each entry's `credits` is `included + additional`, and `balance_after` is the one
  before it plus `credits`: so statements tie out.
- Burn order is total: included, then what ends soonest, then oldest first, then by lot. A lot pays only for usage
  inside its interval. What these lots can't pay, never-ending credits pay, also for a time before they came. What is
  left is debt: `additional` goes negative, and the page says so. Never-ending credits that come pay it first.
- A correction that names a lot burns that one first. Without a name it burns like usage.
- A lot's end is an entry of its own, booked by the first fact after it. Until its cycle is sealed, late usage still
  burns what was left; that gives back as much of the expiry. After the seal, it counts in the open cycle, marked late,
  and so does what happened before the first cycle. Whatever its type, an entry whose own time is sealed is late; only
  refills and expiries keep their cycle.
- Holds set aside an amount, not lots (`holds`).
- What goes back of a payment takes its own lots first (`reversals`).

No clock, no randomness, no input or output. The state belongs to the caller and is changed in place: 50,000 facts a
second leave no time for copies. After an exception it is void.
"""

from collections.abc import Mapping
from typing import assert_never

from projections.balance.amending import burn_instead, show_return
from projections.balance.holds import set_aside, settle_hold
from projections.balance.lots import (
    burn,
    end_lots,
    enter,
    enter_expiry,
    gain,
    restore,
    settle_lots,
    what_fits,
)
from projections.balance.reversals import reverse
from projections.balance.state import (
    ALWAYS,
    NEVER,
    ActivityKind,
    BalanceEntry,
    Lot,
    LotKind,
    LotPayment,
    TeamBalance,
    TopUpSettings,
)
from schemas.facts import (
    AMENDMENTS,
    AdminFact,
    AnyAdminFact,
    AnyCreditsFact,
    AnyCrossingFact,
    AnyCycleFact,
    AnyFact,
    AnyTopUpFact,
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    CreditsAdjusted,
    CreditsExpired,
    CreditsFact,
    CreditsGranted,
    CreditsPurchased,
    CreditsRefilled,
    CreditsToppedUp,
    CrossingFact,
    CycleFact,
    HoldFact,
    PaymentMethodChanged,
    PeriodSealed,
    PlanAssigned,
    PurchaseRequested,
    ReversalFact,
    Stored,
    TopUpConfigured,
    TopUpFact,
    TopUpFailed,
    TopUpSkipped,
    UsageRecorded,
    UsageVoided,
)  # fmt: skip

# Which fold this is. A history that comes to something else under the next build, by the smallest entry, is another
# number: its projector fills tables of its own, beside those of the build before. Once a statement was made, no entry
# of a sealed cycle may change: what must be folded otherwise from then on is a new member of its fact.
FOLD = 3


def evolve(
    team: TeamBalance,
    stored: Stored,
    fact: AnyFact,
    paid: tuple[LotPayment, ...] = (),
    settled: Mapping[int, Lot] | None = None,
) -> list[BalanceEntry]:
    """Take `team` one fact further.

    Where the fact takes back or replaces a usage (`earlier_usage`), `paid` says which lots paid that one, and `settled`
    has those among them that are not in `team.lots` any more.

    Returns:
        The entries, in order; empty for a fact that changes no balance and shows nothing.
    """
    recorded_at = stored.recorded_at
    entries: list[BalanceEntry] = []
    team.position, team.as_of = stored.position, recorded_at
    team.true_from = max(team.true_from, stored.occurred_at)
    if team.next_end <= recorded_at:
        end_lots(team, recorded_at, entries)
    match fact:
        case UsageRecorded():
            _use(team, stored, fact, entries, paid, settled or {})
        case UsageVoided():
            _take_back(team, stored, fact, entries, paid, settled or {})
        case CreditsFact():
            _change_credits(team, stored, fact, entries)
        case HoldFact():
            set_aside(team, stored, fact, entries)
        case ReversalFact():
            reverse(team, stored, fact, entries)
        case _:
            _move_no_credits(team, stored, fact, entries)
    if team.out and _credits_came(stored, fact, entries, paid) and team.available(recorded_at) > 0:
        team.out = False
    return entries


def _use(
    team: TeamBalance,
    stored: Stored,
    fact: UsageRecorded,
    entries: list[BalanceEntry],
    paid: tuple[LotPayment, ...],
    settled: Mapping[int, Lot],
) -> None:
    """Burn for work that was done; nearly every fact is this one."""
    recorded_at, occurred_at = stored.recorded_at, stored.occurred_at
    at = recorded_at if occurred_at < team.sealed_until else occurred_at
    if fact.corrects is None:
        burned = burn(team, fact.credits, at)
    else:
        burned = burn_instead(team, stored, fact.credits, at, paid, settled)
    if fact.hold_id is not None:
        settle_hold(team, fact.hold_id, recorded_at)
    enter(
        team, stored, entries, ActivityKind.USAGE, -burned.included, -burned.additional, fact.member_id, fact.feature, burned.paid,
    )  # fmt: skip
    if burned.back_included or burned.back_additional:
        enter_expiry(team, entries, recorded_at, occurred_at, burned.back_included, burned.back_additional)


def _take_back(
    team: TeamBalance,
    stored: Stored,
    fact: UsageVoided,
    entries: list[BalanceEntry],
    paid: tuple[LotPayment, ...],
    settled: Mapping[int, Lot],
) -> None:
    """Return the credits of a usage to the lots that paid it, and to those that paid what it owed."""
    if stored.source == AMENDMENTS:
        show_return(team, stored, fact, entries, paid, settled)
        return
    fitting = what_fits(team, paid)
    included, returned = restore(team, stored, fitting, settled, stored.recorded_at)
    additional = sum(part.credits for part in fitting) - included
    enter(
        team, stored, entries, ActivityKind.USAGE_VOIDED, included, additional, fact.member_id, fact.feature, returned,
    )  # fmt: skip


def _change_credits(team: TeamBalance, stored: Stored, fact: AnyCreditsFact, entries: list[BalanceEntry]) -> None:
    """Credits that come are a lot of their own; what a correction takes is burned."""
    match fact:
        case CreditsRefilled(credits=credits):
            _refill(team, stored, fact, entries)
        case CreditsPurchased(credits=credits):
            gained, paid = gain(team, stored, LotKind.PURCHASED, credits, stored.occurred_at)
            enter(team, stored, entries, ActivityKind.PURCHASE, 0, gained, fact.member_id, paid=paid)
        case CreditsToppedUp(credits=credits):
            gained, paid = gain(team, stored, LotKind.TOPPED_UP, credits, stored.occurred_at)
            enter(team, stored, entries, ActivityKind.TOP_UP, 0, gained, paid=paid)
        case CreditsGranted(credits=credits):
            ends_at = fact.expires_at or NEVER
            gained, paid = gain(team, stored, LotKind.PROMOTIONAL, credits, stored.occurred_at, ends_at)
            enter(team, stored, entries, ActivityKind.GRANT, 0, gained, paid=paid)
        case CreditsAdjusted(credits=credits) if credits >= 0:
            gained, paid = gain(team, stored, LotKind.ADJUSTED, credits, stored.occurred_at)
            enter(team, stored, entries, ActivityKind.ADJUSTMENT, 0, gained, paid=paid)
        case CreditsAdjusted(credits=credits):
            burned = burn(team, -credits, stored.recorded_at, () if fact.burns_lot is None else (fact.burns_lot,))
            enter(
                team, stored, entries, ActivityKind.ADJUSTMENT, -burned.included, -burned.additional, paid=burned.paid
            )
        case CreditsExpired():
            pass  # the end of the lot was booked by its time, before this fact
        case _:
            assert_never(fact)


def _refill(team: TeamBalance, stored: Stored, fact: CreditsRefilled, entries: list[BalanceEntry]) -> None:
    """The included credits of a cycle; of one that is over already, they end at once."""
    gained, _ = gain(team, stored, LotKind.INCLUDED, fact.credits, fact.starts_at, fact.ends_at)
    team.cycle_ends_at = fact.ends_at
    if team.sealed_until == ALWAYS:
        team.sealed_until = fact.starts_at  # before a team's first cycle nothing could pay
    enter(team, stored, entries, ActivityKind.REFILL, gained, 0)
    if fact.ends_at <= stored.recorded_at:
        end_lots(team, stored.recorded_at, entries)


def _move_no_credits(
    team: TeamBalance,
    stored: Stored,
    fact: AnyCycleFact | AnyCrossingFact | AnyTopUpFact | PaymentMethodChanged | PurchaseRequested | AnyAdminFact,
    entries: list[BalanceEntry],
) -> None:
    """The facts that bring and burn no credits: what they say of the team is kept, or shown."""
    match fact:
        case CycleFact():
            _turn(team, stored, fact)
        case CrossingFact():
            _cross(team, fact)
        case TopUpFact():
            _top_up(team, stored, fact, entries)
        case PaymentMethodChanged() | PurchaseRequested() | AdminFact():
            pass
        case _:
            assert_never(fact)


def _turn(team: TeamBalance, stored: Stored, fact: AnyCycleFact) -> None:
    """A plan counts from now on; a cycle that is sealed is final."""
    match fact:
        case PlanAssigned():
            team.plan, team.zone, team.allowance = fact.plan, fact.zone, fact.allowance_credits
            team.plan_position = stored.position
            team.notice_threshold = fact.notice_threshold_credits
        case PeriodSealed():
            team.sealed_until = max(team.sealed_until, fact.ends_at)
            settle_lots(team)
        case _:
            assert_never(fact)


def _cross(team: TeamBalance, fact: AnyCrossingFact) -> None:
    """What the log has said of a balance need not be said again."""
    match fact:
        case BalanceRanLow():
            team.low = True
        case BalanceRecovered():
            team.low = False
        case BalanceRanOut():
            team.out = True
        case _:
            assert_never(fact)


def _top_up(team: TeamBalance, stored: Stored, fact: AnyTopUpFact, entries: list[BalanceEntry]) -> None:
    """The threshold that an admin set; and what the activity shows of top-ups that brought nothing."""
    match fact:
        case TopUpConfigured():
            team.top_up = TopUpSettings(fact.enabled, fact.threshold_credits)
        case TopUpFailed():
            enter(team, stored, entries, ActivityKind.TOP_UP_FAILED, 0, 0)
        case TopUpSkipped():
            enter(team, stored, entries, ActivityKind.TOP_UP_SKIPPED, 0, 0)
        case _:
            pass  # its way through Stripe moves no credits


def _credits_came(stored: Stored, fact: AnyFact, entries: list[BalanceEntry], paid: tuple[LotPayment, ...]) -> bool:
    """False for a hold that goes: work that is held and given up, or settled for less, would else run out each time.

    And for an amendment that gives nothing back: what its void shows the usage behind it takes.
    """
    match fact:
        case BalanceRecovered():
            return True
        case UsageVoided() if stored.source == AMENDMENTS:
            return False
        case UsageRecorded() if fact.corrects is not None:
            return sum(part.credits for part in paid) > fact.credits
        case _:
            return sum(entry.credits for entry in entries) > 0
