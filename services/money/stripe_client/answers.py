"""What Stripe answers, in our words: an intent, a card, a decline, a Checkout, a dispute, an event, a balance move.

Frozen values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from projections.reversals import Course

IntentState = Literal[
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "requires_capture",
    "processing",
    "succeeded",
    "cancelled",
]
Remedy = Literal["retry_later", "needs_card", "needs_authentication"]

# Stripe's list of decline codes, those after which the same card will not do. All others may pass at another time.
CARD_IS_NO_GOOD: Final = frozenset(
    """
    card_not_supported currency_not_supported expired_card fraudulent highest_risk incorrect_cvc incorrect_number
    incorrect_zip invalid_account invalid_cvc invalid_expiry_month invalid_expiry_year invalid_number lost_card
    merchant_blacklist new_account_information_available no_such_card pickup_card restricted_card
    revocation_of_all_authorizations revocation_of_authorization security_violation stolen_card stop_payment_order
    testmode_decline
    """.split()  # noqa: SIM905 - words read better than a column of strings
)
OWNER_MUST_CONFIRM: Final = frozenset(
    """
    authentication_not_handled authentication_required payment_intent_action_required
    payment_intent_authentication_failure requires_action_not_handled
    """.split()  # noqa: SIM905 - as above
)

# `prevented`: settled in the payer's favour before it became formal. An appeal is against a dispute that was lost, and
# the money stays away meanwhile. An inquiry only asks, and a refund is counted as one.
COURSES: Final[Mapping[str, Course]] = {
    "needs_response": "open", "under_review": "open", "lost": "lost", "prevented": "lost", "won": "won",
    "appeal_needs_response": "open", "appeal_under_review": "open",
}  # fmt: skip
TAKES_NOTHING: Final = frozenset(
    {"warning_needs_response", "warning_under_review", "warning_closed", "charge_refunded"}
)


@dataclass(frozen=True, slots=True)
class StripeCard:
    """A card on file. The fingerprint is the card number's: the same card saved twice has two ids and one of these."""

    payment_method_id: str
    brand: str
    last4: str
    fingerprint: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Decline:
    """Why the bank said no, in Stripe's words."""

    code: str
    decline_code: str | None
    message: str
    advice_code: str | None = None

    @property
    def remedy(self) -> Remedy:
        """What would help: time, another card, or the owner's own confirmation."""
        reasons = {self.code, self.decline_code}
        if reasons & OWNER_MUST_CONFIRM:
            return "needs_authentication"
        if self.advice_code in {"do_not_try_again", "confirm_card_data"} or reasons & CARD_IS_NO_GOOD:
            return "needs_card"
        return "retry_later"


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be paid, and how far that has come. Only `succeeded` is money; `processing` is not yet.

    `paid_at` is when the bank gave the money, where the charge came with the intent. `tax_cents` is the part of the
    amount that is tax, where whoever made the intent said so.
    """

    id: str
    state: IntentState
    amount_cents: int
    currency: str
    customer_id: str | None
    payment_method_id: str | None
    card: StripeCard | None
    decline: Decline | None
    charge_id: str | None
    receipt_url: str | None
    refunded_cents: int
    disputed: bool
    action_url: str | None
    metadata: Mapping[str, str]
    created_at: datetime
    paid_at: datetime | None = None
    tax_cents: int | None = None

    @property
    def payable(self) -> bool:
        """Money may still move by it: an attempt must not end while this holds."""
        return self.state not in {"succeeded", "cancelled"}

    @property
    def given_back(self) -> bool:
        """All of the money went back: nobody owes anybody anything."""
        return self.refunded_cents >= self.amount_cents


@dataclass(frozen=True, slots=True)
class Dispute:
    """The bank takes a charge back and asks us why it should not. Amounts are minor units."""

    id: str
    charge_id: str
    amount_cents: int
    currency: str
    status: str
    reason: str
    created_at: datetime

    @property
    def course(self) -> Course | None:
        """How it stands; None for an inquiry (`warning_…`), which only asks, and for what nobody here understands."""
        return COURSES.get(self.status)

    @property
    def is_known(self) -> bool:
        """False for a status that Stripe has invented since."""
        return self.status in COURSES or self.status in TAKES_NOTHING


@dataclass(frozen=True, slots=True)
class BalanceMove:
    """What one transaction did to our balance at Stripe: a charge, a refund, a dispute, a fee, a payout.

    `gross_cents`, `fee_cents` and `net_cents` are minor units of `currency`, in which the account settles; `paid_cents`
    is the gross in `paid_currency`, that of the payment. Negative where money leaves. `category` is Stripe's reporting
    category. `payment_intent_id` is None for what is about no payment. `is_itemised`: a payout, and Stripe can list
    what it held. It can't while it still counts, nor for one that was made by hand.
    """

    id: str
    category: str
    created_at: datetime
    currency: str
    gross_cents: int
    fee_cents: int
    net_cents: int
    source_id: str | None
    payment_intent_id: str | None
    paid_currency: str
    paid_cents: int
    is_itemised: bool = False


@dataclass(frozen=True, slots=True)
class Checkout:
    """A page of Stripe's on which a person pays for a pack, or saves a card. Unpaid it grants nothing.

    `subtotal_cents` is what we asked for. Tax may lie in it or come on top of it: `amount_cents` is the whole.
    """

    id: str
    mode: Literal["payment", "setup"]
    state: Literal["open", "complete", "expired"]
    paid: bool
    url: str | None
    amount_cents: int | None
    subtotal_cents: int | None
    tax_cents: int
    currency: str | None
    customer_id: str | None
    intent: Intent | None
    card: StripeCard | None
    metadata: Mapping[str, str]
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """What Stripe says has happened, and to what. No amounts: whoever acts on it fetches the object as it is now."""

    id: str
    type: str
    live: bool
    created_at: datetime
    object_kind: str
    object_id: str
    intent_id: str | None
    charge_id: str | None
    customer_id: str | None
    metadata: Mapping[str, str]
