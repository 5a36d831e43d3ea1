"""What the stand-in's books and a team's log have to say about each other, whatever happened on the way."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from schemas.facts import (
    AnyFact,
    CreditsToppedUp,
    Stored,
    TopUpActionRequired,
    TopUpFailed,
    TopUpIntentCreated,
    TopUpRequested,
    TopUpSkipped,
    TopUpSuspended,
)


def against_the_books(books: dict[str, Any], team: str, log: Sequence[Stored], *, goes_back: bool = False) -> list[str]:
    """Charges are credits, one for one; no attempt is paid twice; nothing is left that could still be paid; steps are in order.

    In a store that went back, what its earlier life had paid for an attempt may answer the same attempt, and also once
    that has given way: where Stripe's answer to its cancel was lost, it ends as cancelled before the payment is answered.
    """
    told = [stored.fact() for stored in log]
    intents = {found["id"]: found for found in books["payment_intents"] if found["metadata"].get("team_id") == team}
    paid = Counter(
        (charge["payment_intent"], charge["amount"])
        for charge in books["charges"]
        if charge["payment_intent"] in intents
    )
    credited = Counter(
        (fact.payment_intent_id, fact.charge_cents) for fact in told if isinstance(fact, CreditsToppedUp)
    )
    succeeded = Counter(
        intent["metadata"]["attempt_id"] for intent in intents.values() if intent["status"] == "succeeded"
    )
    payable = [name for name, intent in intents.items() if intent["status"] not in {"succeeded", "canceled"}]
    found = []
    if paid != credited:
        found.append(f"charges {dict(paid)} are not the credits {dict(credited)}")
    if any(count > 1 for count in paid.values()):
        found.append("an intent was charged twice")
    if any(count > 1 for count in succeeded.values()):
        found.append(f"an attempt was paid twice: {dict(succeeded)}")
    if payable:
        found.append(f"intents that can still be paid: {payable}")
    return [*found, *_out_of_order(told, goes_back=goes_back)]


def _out_of_order(told: Sequence[AnyFact], *, goes_back: bool) -> list[str]:
    """One attempt at a time, each with its steps in order."""
    found: list[str] = []
    under_way: str | None = None
    intent: str | None = None
    failed: set[str] = set()
    for fact in told:
        match fact:
            case TopUpRequested():
                found += [f"{fact.attempt_id} began while {under_way} was under way"] if under_way else []
                under_way, intent = fact.attempt_id, None
            case TopUpIntentCreated():
                found += ["an intent of no attempt, or a second one"] if intent or fact.attempt_id != under_way else []
                intent = fact.payment_intent_id
            case CreditsToppedUp() if goes_back:
                found += ["credits of no attempt"] if fact.attempt_id not in {under_way, *failed} else []
            case TopUpActionRequired() | CreditsToppedUp():
                found += (
                    ["a step of no attempt"] if (fact.attempt_id, fact.payment_intent_id) != (under_way, intent) else []
                )
            case TopUpFailed():
                found += ["a failure of no attempt"] if fact.attempt_id != under_way else []
                failed.add(fact.attempt_id)
        if isinstance(fact, CreditsToppedUp | TopUpFailed) and fact.attempt_id == under_way:
            under_way = None
    return found + ([f"{under_way} never ended"] if under_way else [])


def unexpected(bank: str, log: Sequence[Stored], *, interrupted: bool, goes_back: bool = False) -> list[str]:
    """What must have come of one low balance, given what the bank says; less, where the team changed its mind meanwhile.

    In a store that went back, attempts give way to what they find, also while another worker gives way.
    """
    names = Counter(type(stored.fact()) for stored in log)
    most = 10 if goes_back else 4
    if names[TopUpRequested] > most or names[TopUpFailed] >= most:
        return [f"{names[TopUpRequested]} attempts, {names[TopUpFailed]} failures"]
    if names[CreditsToppedUp] > 1:
        return [f"{names[CreditsToppedUp]} top-ups, where one is enough"]
    if interrupted or goes_back:
        return []
    if bank == "yes" and (names[TopUpRequested], names[CreditsToppedUp]) != (1, 1):
        return [f"the bank says yes: {names[TopUpRequested]} attempts, {names[CreditsToppedUp]} top-ups"]
    if bank in {"generic_decline", "lost_card"} and not (names[TopUpSuspended] and names[TopUpSkipped]):
        return ["a dead card did not end in a pause that says so"]
    return []
