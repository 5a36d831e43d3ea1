"""Facts about money: cards, top-ups, refunds, disputes."""

from typing import Literal

from pydantic import AwareDatetime

from ..credits import UnsignedMicroCredits
from .names import Cents, Currency, Fact, Name, Text


class PaymentMethodChanged(Fact, type="payment_method.changed.v1"):
    """The card that top-ups charge was set or removed."""

    customer_id: Name
    payment_method_id: Name | None = None
    brand: Name | None = None
    last4: Name | None = None
    fingerprint: Name | None = None
    changed_by: Name | None = None


class PurchaseRequested(Fact, type="purchase.requested.v1"):
    """An admin goes to Stripe's page to buy a pack. What is paid there is measured by this, and brings these credits.

    What is paid, less tax that comes on top, and the discount are together the list price. `found_payment`: another
    life of the log sold it, and this payment at Stripe is what is left of that.
    """

    purchase_id: Name
    pack: Name
    credits: UnsignedMicroCredits
    list_price_cents: Cents
    discount_cents: Cents | None = None
    currency: Currency
    taxed: bool
    keeps_card: bool
    requested_by: Name | None = None
    found_payment: Name | None = None

    @property
    def price_cents(self) -> int:
        """What is asked for, before tax that comes on top."""
        return self.list_price_cents - (self.discount_cents or 0)


class TopUpFact(Fact):
    """An automatic top-up: its settings, its attempts, its pauses."""


class TopUpConfigured(TopUpFact, type="top_up.configured.v1"):
    """An admin set how top-ups work; `credits` adds a fixed amount, `restore_to` fills up."""

    enabled: bool
    threshold_credits: UnsignedMicroCredits
    credits: UnsignedMicroCredits | None = None
    restore_to_credits: UnsignedMicroCredits | None = None
    monthly_cap_cents: Cents | None = None
    currency: Currency
    max_per_month: int | None = None
    cool_down_seconds: int = 300
    configured_by: Name | None = None


class TopUpRequested(TopUpFact, type="top_up.requested.v1"):
    """A top-up was decided: the amounts are frozen and the caps reserved; nothing is charged yet.

    `found_payment`: another life of the log decided it, and this payment at Stripe is what is left of that.
    """

    attempt_id: Name
    ran_low_id: str
    attempt: int
    credits: UnsignedMicroCredits
    charge_cents: Cents
    currency: Currency
    customer_id: Name
    payment_method_id: Name
    found_payment: Name | None = None


class TopUpIntentCreated(TopUpFact, type="top_up.intent_created.v1"):
    """Stripe holds an unconfirmed payment intent for the attempt; it, and no other, will be confirmed."""

    attempt_id: Name
    payment_intent_id: Name


class TopUpFailed(TopUpFact, type="top_up.failed.v1"):
    """An attempt ended without money; its intent can never be paid.

    `payment_found`: a payment that the log had lost came first, and has its credits now. `payment_differs`: there is
    one that a person has to settle. `refused`: Stripe will not take this charge with any card. `gave_up`: it was
    never decided; should the money come all the same, it is credited.
    """

    attempt_id: Name
    reason: Literal[
        "declined_retry_later", "declined_needs_card", "declined_needs_authentication", "cancelled", "payment_found",
        "payment_differs", "refused", "gave_up",
    ]  # fmt: skip
    decline_code: Name | None = None
    message: Text | None = None
    payment_intent_id: Name | None = None
    next_try_at: AwareDatetime | None = None


class TopUpActionRequired(TopUpFact, type="top_up.action_required.v1"):
    """The bank wants the admin to confirm the payment; the same intent waits."""

    attempt_id: Name
    payment_intent_id: Name
    action_url: str | None = None


class TopUpSkipped(TopUpFact, type="top_up.skipped.v1"):
    """A decision not to charge, with its reason: nothing stops in silence."""

    ran_low_id: str
    decision: str
    reason: Literal[
        "disabled", "in_flight", "cooling_down", "cap_money", "cap_count", "max_charge", "suspended", "no_payment_method", "plan",
    ]  # fmt: skip
    detail: Text | None = None
    next_decision_at: AwareDatetime | None = None


class TopUpIntentCancelled(TopUpFact, type="top_up.intent_cancelled.v1"):
    """An intent that will not be used was cancelled at Stripe."""

    attempt_id: Name
    payment_intent_id: Name


class TopUpSuspended(TopUpFact, type="top_up.suspended.v1"):
    """Top-ups pause, after three declines, one for good, a dispute, or a payment that can't be proven.

    `cause` is for programs, `reason` for people. A pause ends when the card changes or somebody pays. One for a dispute
    ends when it is won, too; one for a `payment` that has brought no credits, when an adjustment refers to it, or when
    the settings are saved again.
    """

    cause: Literal["declines", "dead_card", "dispute", "payment"]
    reason: Text
    declines: int
    fingerprint: Name | None = None
    payment_intent_id: Name | None = None


class TopUpResumed(TopUpFact, type="top_up.resumed.v1"):
    """Top-ups go on."""

    reason: Text


class ReversalFact(Fact):
    """Money of a payment went back, or is disputed."""


class ChargeRefunded(ReversalFact, type="charge.refunded.v1"):
    """Stripe gave money back; `refunded_cents` is cumulative, `clawed_credits` is what this step takes.

    A refund that failed afterwards lowers `refunded_cents`, and this step gives credits back.
    """

    payment_intent_id: Name
    lot: int
    refunded_cents: Cents
    currency: Currency
    clawed_credits: UnsignedMicroCredits
    charge_cents: Cents | None = None
    reinstated_credits: UnsignedMicroCredits | None = None
    reinstated_lots: tuple[int, ...] | None = None


class ChargeDisputed(ReversalFact, type="charge.disputed.v1"):
    """A charge is disputed: the credits of its lot are frozen."""

    payment_intent_id: Name
    dispute_id: Name
    lot: int
    disputed_cents: Cents
    currency: Currency
    frozen_credits: UnsignedMicroCredits
    charge_cents: Cents | None = None
    reason: Text | None = None
    reinstated_credits: UnsignedMicroCredits | None = None
    reinstated_lots: tuple[int, ...] | None = None


class DisputeClosed(ReversalFact, type="dispute.closed.v1"):
    """A dispute ended: won reinstates the credits, lost takes them for good."""

    payment_intent_id: Name
    dispute_id: Name
    lot: int
    outcome: Literal["won", "lost"]
    reinstated_credits: UnsignedMicroCredits
    disputed_cents: Cents | None = None
    currency: Currency | None = None
    charge_cents: Cents | None = None


AnyTopUpFact = (
    TopUpConfigured
    | TopUpRequested
    | TopUpIntentCreated
    | TopUpFailed
    | TopUpActionRequired
    | TopUpSkipped
    | TopUpIntentCancelled
    | TopUpSuspended
    | TopUpResumed
)
AnyReversalFact = ChargeRefunded | ChargeDisputed | DisputeClosed
