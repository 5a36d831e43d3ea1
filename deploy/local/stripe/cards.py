"""The well-known test cards, and what the bank says of each.

Names, numbers and behaviour are those of Stripe's testing page. Cards that decline at once can't be attached to a
customer there, nor here; `pm_card_chargeCustomerFail` can, and declines afterwards. Where a script wants another answer
from a card on file (lost, expired since, still processing), it orders one through `/_control/outcomes`.
"""

from dataclasses import dataclass
from typing import Final, Literal

Authentication = Literal["never", "always", "unless_set_up", "on_session"]


@dataclass(frozen=True)
class BankDecline:
    """The bank's reason, in Stripe's words."""

    code: str
    decline_code: str | None
    message: str
    advice_code: str | None = None


@dataclass(frozen=True)
class TestCard:
    """A card number with one fixed fate."""

    number: str
    label: str
    brand: str = "visa"
    attach: BankDecline | None = None
    charge: BankDecline | None = None
    authentication: Authentication = "never"
    dispute: str | None = None

    __test__ = False  # its name begins as a test's does

    @property
    def last4(self) -> str:
        """All that anybody is ever shown of a number."""
        return self.number[-4:]


CardVerdict = Literal["succeeded", "processing", "requires_action"] | BankDecline

GENERIC = BankDecline("card_declined", "generic_decline", "Your card was declined.", "try_again_later")
AUTHENTICATION_REQUIRED = BankDecline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
AUTHENTICATION_FAILED = BankDecline(
    "payment_intent_authentication_failure",
    None,
    "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new PaymentMethod "
    "to attempt to fulfill this PaymentIntent again.",
)
DECLINES: Final = {
    "generic_decline": GENERIC,
    "authentication_required": AUTHENTICATION_REQUIRED,
    "payment_intent_action_required": BankDecline(
        "payment_intent_action_required", None, "This payment requires additional action before it can be completed."
    ),
    "insufficient_funds": BankDecline(
        "card_declined", "insufficient_funds", "Your card has insufficient funds.", "try_again_later"
    ),
    "lost_card": BankDecline("card_declined", "lost_card", "Your card was declined.", "do_not_try_again"),
    "stolen_card": BankDecline("card_declined", "stolen_card", "Your card was declined.", "do_not_try_again"),
    "fraudulent": BankDecline("card_declined", "fraudulent", "Your card was declined."),
    "card_velocity_exceeded": BankDecline(
        "card_declined",
        "card_velocity_exceeded",
        "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    ),
    "expired_card": BankDecline("expired_card", None, "Your card has expired."),
    "incorrect_cvc": BankDecline("incorrect_cvc", None, "Your card's security code is incorrect."),
    "processing_error": BankDecline(
        "processing_error", None, "An error occurred while processing your card. Try again in a little bit."
    ),
}


def _refused(number: str, label: str, decline_code: str) -> TestCard:
    return TestCard(number, label, attach=DECLINES[decline_code], charge=DECLINES[decline_code])


CARDS: Final = {
    "pm_card_visa": TestCard("4242424242424242", "succeeds"),
    "pm_card_visa_debit": TestCard("4000056655665556", "succeeds"),
    "pm_card_mastercard": TestCard("5555555555554444", "succeeds", brand="mastercard"),
    "pm_card_amex": TestCard("378282246310005", "succeeds", brand="amex"),
    "pm_card_discover": TestCard("6011111111111117", "succeeds", brand="discover"),
    "pm_card_visa_chargeDeclined": _refused("4000000000000002", "is declined", "generic_decline"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": _refused(
        "4000000000009995", "has insufficient funds", "insufficient_funds"
    ),
    "pm_card_visa_chargeDeclinedLostCard": _refused("4000000000009987", "was lost", "lost_card"),
    "pm_card_visa_chargeDeclinedStolenCard": _refused("4000000000009979", "was stolen", "stolen_card"),
    "pm_card_chargeDeclinedExpiredCard": _refused("4000000000000069", "has expired", "expired_card"),
    "pm_card_chargeDeclinedIncorrectCvc": _refused("4000000000000127", "has another code", "incorrect_cvc"),
    "pm_card_chargeDeclinedProcessingError": _refused("4000000000000119", "meets an error", "processing_error"),
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": _refused(
        "4000000000006975", "was used too often", "card_velocity_exceeded"
    ),
    "pm_card_radarBlock": _refused("4100000000000019", "is blocked as fraud", "fraudulent"),
    "pm_card_chargeCustomerFail": TestCard("4000000000000341", "is declined once it is on file", charge=GENERIC),
    "pm_card_authenticationRequired": TestCard(
        "4000002760003184", "asks for 3D Secure every time", authentication="always"
    ),
    "pm_card_authenticationRequiredOnSetup": TestCard(
        "4000002500003155",
        "asks for 3D Secure until it is on file",
        authentication="unless_set_up",
    ),
    "pm_card_authenticationRequiredSetupForOffSession": TestCard(
        "4000003800000446",
        "asks for 3D Secure when its owner is there",
        authentication="on_session",
    ),
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": TestCard(
        "4000008260003178",
        "asks for 3D Secure, then has insufficient funds",
        charge=DECLINES["insufficient_funds"],
        authentication="always",
    ),
    "pm_card_threeDSecure2Required": TestCard("4000000000003220", "asks for 3D Secure 2", authentication="always"),
    "pm_card_threeDSecureRequiredChargeDeclined": TestCard(
        "4000008400001629",
        "asks for 3D Secure, then is declined",
        charge=GENERIC,
        authentication="always",
    ),
    "pm_card_createDispute": TestCard("4000000000000259", "is disputed as fraud", dispute="fraudulent"),
    "pm_card_createDisputeProductNotReceived": TestCard(
        "4000000000002685",
        "is disputed as not received",
        dispute="product_not_received",
    ),
    "pm_card_createDisputeInquiry": TestCard("4000000000001976", "leads to an inquiry", dispute="inquiry"),
}

OTHER_NAMES: Final = {
    "pm_card_chargeDeclined": "pm_card_visa_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "pm_card_chargeDeclinedLostCard": "pm_card_visa_chargeDeclinedLostCard",
    "pm_card_chargeDeclinedStolenCard": "pm_card_visa_chargeDeclinedStolenCard",
    "pm_card_visa_chargeDeclinedExpiredCard": "pm_card_chargeDeclinedExpiredCard",
    "pm_card_threeDSecureRequired": "pm_card_threeDSecure2Required",
}
BY_NUMBER: Final = {card.number: card for card in CARDS.values()}


def card_named(name: str) -> TestCard | None:
    """A test card by its payment method's name, an older name included."""
    return CARDS.get(OTHER_NAMES.get(name, name))


def verdict(card: TestCard, *, set_up: bool, off_session: bool, authenticated: bool) -> CardVerdict:
    """What becomes of one charge; the owner of the card can be asked for 3D Secure only when not `off_session`."""
    verdicts = {
        "never": False,
        "always": True,
        "unless_set_up": not (off_session and set_up),
        "on_session": not off_session,
    }[card.authentication]
    if verdicts and not authenticated:
        return AUTHENTICATION_REQUIRED if off_session else "requires_action"
    return card.charge or "succeeded"


def ordered(outcome: str) -> CardVerdict:
    """The verdict that a script orders by name: `succeeded`, `processing`, `requires_action` or a decline code."""
    match outcome:
        case "succeeded" | "processing" | "requires_action":
            return outcome
        case _:
            return DECLINES.get(outcome) or BankDecline("card_declined", outcome, "Your card was declined.")
