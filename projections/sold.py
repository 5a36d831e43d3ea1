"""Does what a payment brought follow from what was asked for? In words, where it does not. Pure.

What was asked for is frozen in a fact, before anybody pays. So a price that changes later changes nothing about it.
"""

from collections.abc import Iterator

from schemas.credits import format_credits
from schemas.facts import CreditsPurchased, CreditsToppedUp, PurchaseRequested, TopUpRequested


def purchase_differs(fact: CreditsPurchased, sold: PurchaseRequested) -> Iterator[str]:
    """Credits and pack are those that were sold; tax and discount aside, the money is the list price."""
    if (fact.credits, fact.pack) != (sold.credits, sold.pack):
        yield f"{sold.pack} with {format_credits(sold.credits)} credits was sold, not {format_credits(fact.credits)}"
    tax = (fact.tax_cents or 0) if sold.taxed else 0
    if fact.currency != sold.currency or fact.charge_cents - sold.price_cents not in (0, tax):
        yield f"{sold.price_cents} {sold.currency} were asked for, {fact.charge_cents} {fact.currency} were paid"


def top_up_differs(fact: CreditsToppedUp, requested: TopUpRequested) -> Iterator[str]:
    """Credits and money are those that were decided, here or in the life of the log in which the payment was made."""
    if fact.found_payment:
        return
    if fact.credits != requested.credits:
        yield f"{format_credits(requested.credits)} credits were decided, not {format_credits(fact.credits)}"
    if (fact.charge_cents, fact.currency) != (requested.charge_cents, requested.currency):
        yield f"{requested.charge_cents} {requested.currency} were decided, {fact.charge_cents} {fact.currency} were paid"
