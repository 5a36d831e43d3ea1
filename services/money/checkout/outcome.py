"""What has become of a page of Stripe's, and why: one judgement, by what we asked for and what Stripe says now."""

from services.money.checkout.purchases import request_of
from services.money.checkout.rows import CheckoutRow, CheckoutState
from services.money.stamps import says
from services.money.stripe_client import Checkout, Intent


def judge(row: CheckoutRow, checkout: Checkout) -> tuple[CheckoutState, str | None]:
    """What has become of a page, and why. Money is what an intent says that has succeeded, and nothing else."""
    if row.state in ("credited", "saved", "superseded"):
        return row.state, row.detail
    if row.mode == "setup":
        return _judge_card(row, checkout)
    intent = checkout.intent
    if intent is not None and intent.state == "succeeded":
        fault = difference(row, checkout, intent)
        return ("credited", None) if fault is None else ("differs", fault)
    if checkout.state == "expired":
        return "expired", "nobody paid in time"
    why = intent.decline.message[:500] if intent is not None and intent.decline is not None else None
    if checkout.state == "open":
        return "open", why
    return ("processing", None) if intent is not None and intent.state == "processing" else ("failed", why)


def _judge_card(row: CheckoutRow, checkout: Checkout) -> tuple[CheckoutState, str | None]:
    if not {"team_id": row.team_id, "change_id": str(row.id)}.items() <= checkout.metadata.items():
        return "failed", "the page was opened for somebody else's card"
    match checkout.state:
        case "open":
            return "open", None
        case "expired":
            return "expired", "no card was saved in time"
        case "complete":
            return ("saved", None) if checkout.card is not None else ("failed", "there is no card")


def difference(row: CheckoutRow, checkout: Checkout, intent: Intent) -> str | None:
    """What was paid other than we had asked for, if anything; tax may lie in the price or come on top of it."""
    if row.credits is None:
        return "the log does not say that this was sold"
    expected, request = f"{row.charge_cents} {row.currency}", request_of(row)
    if (checkout.subtotal_cents, checkout.currency) != (row.charge_cents, row.currency):
        return f"we had asked for {expected}, and the page for {checkout.subtotal_cents} {checkout.currency}"
    if (intent.amount_cents, intent.currency) != (checkout.amount_cents, checkout.currency):
        return f"{intent.amount_cents} {intent.currency} were paid, not {checkout.amount_cents} {checkout.currency}"
    tax = checkout.tax_cents if row.taxed else 0
    if intent.amount_cents - (row.charge_cents or 0) not in (0, tax):
        return f"we had asked for {expected}, and {intent.amount_cents} were paid with {tax} of tax"
    if not (says(checkout.metadata, request) and says(intent.metadata, request)):
        return "what stands upon the page or its payment is not what we wrote: it may be another purchase's"
    return None
