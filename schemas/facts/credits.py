"""Facts about credits: plans, cycles, lots, and the crossings of a balance."""

from typing import Literal

from pydantic import AwareDatetime

from ..credits import SignedMicroCredits, UnsignedMicroCredits
from .names import Cents, Currency, Fact, Name, Text


class CycleFact(Fact):
    """A team's plan, or the end of a cycle of it."""


class PlanAssigned(CycleFact, type="plan.assigned.v1"):
    """A team got a plan, or another version of its plan; its first one is how the team came to exist."""

    plan: Name
    anchor: AwareDatetime
    zone: Name
    allowance_credits: UnsignedMicroCredits
    notice_threshold_credits: UnsignedMicroCredits = 0
    version: int | None = None
    assigned_by: Name | None = None


class PeriodSealed(CycleFact, type="period.sealed.v1"):
    """A cycle is final: what arrives for it from now on counts in the open cycle, marked late."""

    plan_assigned_id: str
    cycle: int
    starts_at: AwareDatetime
    ends_at: AwareDatetime


class CreditsFact(Fact):
    """Credits came, were corrected, or came to their end."""


class CreditsRefilled(CreditsFact, type="credits.refilled.v1"):
    """The included credits of a cycle, or what an upgrade adds to the running one."""

    credits: UnsignedMicroCredits
    plan: Name
    plan_assigned_id: str
    cycle: int
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    upgrade: Literal[True] | None = None


class CreditsPurchased(CreditsFact, type="credits.purchased.v1"):
    """Somebody bought a pack; the credits never expire."""

    credits: UnsignedMicroCredits
    pack: Name
    payment_intent_id: Name
    charge_cents: Cents
    tax_cents: Cents | None = None
    currency: Currency
    purchase_id: Name | None = None
    member_id: Name | None = None
    charge_id: Name | None = None
    receipt_url: str | None = None
    paid_at: AwareDatetime | None = None


class CreditsToppedUp(CreditsFact, type="credits.topped_up.v1"):
    """An automatic charge succeeded and was answered by credits; they never expire.

    `found_payment`: another life of the log had decided other amounts for the attempt, and these are what it asked for.
    """

    credits: UnsignedMicroCredits
    attempt_id: Name
    payment_intent_id: Name
    charge_cents: Cents
    tax_cents: Cents | None = None
    currency: Currency
    charge_id: Name | None = None
    receipt_url: str | None = None
    paid_at: AwareDatetime | None = None
    found_payment: Literal[True] | None = None


class CreditsGranted(CreditsFact, type="credits.granted.v1"):
    """Promotional credits were given; they may expire.

    By one person alone within `approval_above_credits` a day, or by a `request` that another one approved.
    """

    credits: UnsignedMicroCredits
    reason: Text
    expires_at: AwareDatetime | None = None
    granted_by: Name | None = None
    approval_above_credits: UnsignedMicroCredits | None = None
    request: Name | None = None
    approved_by: Name | None = None


class CreditsAdjusted(CreditsFact, type="credits.adjusted.v1"):
    """A person corrected the balance, with a reason and a reference.

    Where that reference is the place of credits that came, `burns_lot` is their lot: what is taken burns it first. One
    person alone moves `approval_above_credits` a day; more is a `request` that another one approved.
    """

    credits: SignedMicroCredits
    reason: Text
    refers_to: str | None = None
    burns_lot: int | None = None
    adjusted_by: Name | None = None
    approved_by: Name | None = None
    approval_above_credits: UnsignedMicroCredits | None = None
    request: Name | None = None


class CreditsExpired(CreditsFact, type="credits.expired.v1"):
    """A lot came to its end. What was left of it follows from the log, so the fact only names the lot."""

    lot: int
    ended_at: AwareDatetime


class CrossingFact(Fact):
    """A balance crossed its threshold, or zero."""


class BalanceRanLow(CrossingFact, type="balance.ran_low.v1"):
    """The available credits fell below the threshold: a low episode begins."""

    available_credits: SignedMicroCredits
    threshold_credits: UnsignedMicroCredits
    crossed_at_position: int
    top_up_enabled: bool


class BalanceRecovered(CrossingFact, type="balance.recovered.v1"):
    """The available credits are at least 1.1 times the threshold again: the low episode is over."""

    available_credits: SignedMicroCredits
    threshold_credits: UnsignedMicroCredits
    crossed_at_position: int


class BalanceRanOut(CrossingFact, type="balance.ran_out.v1"):
    """Nothing is left to spend."""

    available_credits: SignedMicroCredits
    crossed_at_position: int


AnyCycleFact = PlanAssigned | PeriodSealed
AnyCreditsFact = (
    CreditsRefilled | CreditsPurchased | CreditsToppedUp | CreditsGranted | CreditsAdjusted | CreditsExpired
)
AnyCrossingFact = BalanceRanLow | BalanceRecovered | BalanceRanOut
