"""How many credits one person has moved alone, and how long a request waits for another one. Pure.

Grants, adjustments and corrections count together, up or down alike: who takes credits from a team and gives them to
another one has moved them, too. What another person has approved counts for nobody.
"""

from datetime import timedelta
from typing import NamedTuple

from schemas.credits import MicroCredits
from schemas.facts import AnyFact, CreditsAdjusted, CreditsGranted, UsageRecorded, UsageVoided

WAITS = timedelta(days=14)


class MovedCredits(NamedTuple):
    """What a person has moved, within which limit if any, and the request for it where another one approved."""

    credits: MicroCredits
    by: str | None
    approval_above_credits: MicroCredits | None
    request: str | None
    approved_by: str | None


def moved(fact: AnyFact, taken_back: UsageVoided | None = None) -> MovedCredits | None:
    """What a fact has moved; None for one that is no person's doing.

    `taken_back` is what stands right before a usage that replaces another one: it says who corrected it.
    """
    match fact:
        case CreditsGranted():
            return MovedCredits(
                fact.credits, fact.granted_by, fact.approval_above_credits, fact.request, fact.approved_by
            )
        case CreditsAdjusted():
            return MovedCredits(
                abs(fact.credits), fact.adjusted_by, fact.approval_above_credits, fact.request, fact.approved_by
            )
        case UsageVoided():
            return _corrected(fact, 0)
        case UsageRecorded() if taken_back is not None:
            return _corrected(taken_back, fact.credits)
        case _:
            return None


def _corrected(taken_back: UsageVoided, used: MicroCredits) -> MovedCredits | None:
    """By how much the correction of a usage changed the balance."""
    by = taken_back.corrected_by
    if by is None:
        return None
    return MovedCredits(
        abs(taken_back.credits - used),
        by,
        taken_back.approval_above_credits,
        taken_back.request,
        taken_back.approved_by,
    )
