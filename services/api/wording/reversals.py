"""What the customer reads about money that went back.

How much, what that took of the credits, and what was spent already.
"""

from projections.balance.state import DEBT, BalanceEntry
from schemas.credits import format_credits
from schemas.facts import ChargeDisputed, ChargeRefunded, DisputeClosed
from schemas.money import format_money

Reversal = ChargeRefunded | ChargeDisputed | DisputeClosed


def describe_reversal(fact: Reversal) -> str:
    """What happened, in a few words."""
    match fact:
        case ChargeRefunded():
            return "Refund did not go through" if fact.reinstated_credits else "Refund"
        case ChargeDisputed():
            return "Payment disputed"
        case DisputeClosed():
            return f"Dispute {fact.outcome}"


def detail_of_reversal(entry: BalanceEntry, fact: Reversal) -> str:
    """How much money, and what became of the credits that it had brought."""
    match fact:
        case ChargeRefunded():
            whole = f" of {format_money(fact.charge_cents, fact.currency)}" if fact.charge_cents is not None else ""
            return f"{format_money(fact.refunded_cents, fact.currency)}{whole} refunded so far{_spent(entry, fact)}"
        case ChargeDisputed():
            disputed = f"{format_money(fact.disputed_cents, fact.currency)} disputed with the bank"
            return f"{disputed}: the credits are frozen until it decides{_spent(entry, fact)}"
        case DisputeClosed(outcome="lost"):
            return "The bank decided against the payment: its credits are gone for good"
        case DisputeClosed():
            return "The credits are back" if fact.reinstated_credits else "There was nothing to give back"


def _spent(entry: BalanceEntry, fact: ChargeRefunded | ChargeDisputed) -> str:
    """What of the payment's credits was spent already, and who stands for it now."""
    own = {fact.lot, *(fact.reinstated_lots or ()), entry.position}
    others = sum(paid.credits for paid in entry.paid if paid.lot not in own | {DEBT})
    owed = sum(paid.credits for paid in entry.paid if paid.lot == DEBT)
    match bool(others), bool(owed):
        case False, False:
            return ""
        case False, True:
            who = " and count below zero"
        case True, False:
            who = " and were taken of other credits"
        case _:
            who = f": {format_credits(others)} were taken of other credits, {format_credits(owed)} count below zero"
    return f"; {format_credits(others + owed)} of the credits were spent already{who}"
