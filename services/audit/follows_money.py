"""Do payments follow from what was asked for? One team's money, fact by fact, as the audit sees it. Pure.

Each purchase and top-up brings what was frozen when it was asked for, once. Each charge was allowed by the settings,
the card and the caps of the moment at which it was decided. What went back of a payment is no more than it brought.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from projections.sold import purchase_differs, top_up_differs
from projections.top_ups.decisions import attempt_of
from projections.top_ups.months import month_of
from projections.top_ups.state import TopUps, evolve
from schemas.credits import MicroCredits, format_credits
from schemas.facts import (
    AnyFact,
    ChargeDisputed,
    ChargeRefunded,
    CreditsPurchased,
    CreditsToppedUp,
    DisputeClosed,
    PurchaseRequested,
    Stored,
    TopUpRequested,
)
from schemas.money import MOST

Problems = Iterator[str]


@dataclass(slots=True)
class AuditedPayment:
    """What a payment brought, at which position, and what of it is taken back now."""

    position: int
    credits: MicroCredits
    reversed_credits: MicroCredits = 0


@dataclass(slots=True)
class MoneyAudit:
    """What must be remembered of a team's money. `top_ups` is the fold before the fact that is judged."""

    team_id: str
    purchases: dict[str, PurchaseRequested] = field(default_factory=dict)
    requests: dict[str, TopUpRequested] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    payments: dict[str, AuditedPayment] = field(default_factory=dict)
    top_ups: TopUps | None = None

    def judge(self, stored: Stored, fact: AnyFact) -> Problems:
        """What is wrong with a fact other than usage and holds; take each of them here, in order."""
        match fact:
            case PurchaseRequested():
                self.purchases[fact.purchase_id] = fact
            case CreditsPurchased():
                yield from self._purchase(stored, fact)
            case TopUpRequested():
                yield from self._request(stored, fact)
            case CreditsToppedUp():
                yield from self._top_up(stored, fact)
            case ChargeRefunded() | ChargeDisputed() | DisputeClosed():
                yield from self._reversal(fact)
            case _:
                pass
        self.top_ups = evolve(self.top_ups or TopUps(team_id=self.team_id), stored, fact)

    def _purchase(self, stored: Stored, fact: CreditsPurchased) -> Problems:
        yield from self._brought(stored, fact.payment_intent_id, fact.credits)
        sold = self.purchases.get(fact.purchase_id or "")
        if sold is None:
            yield "nobody asked for this purchase"
            return
        if sold.purchase_id in self.answered:
            yield f"purchase {sold.purchase_id} brought credits before"
        self.answered.add(sold.purchase_id)
        yield from purchase_differs(fact, sold)

    def _brought(self, stored: Stored, payment_id: str, credits: MicroCredits) -> Problems:
        if payment_id in self.payments:
            yield f"{payment_id} brought credits before"
        if stored.id != payment_id:
            yield f"it is not named after its payment {payment_id}"
        self.payments.setdefault(payment_id, AuditedPayment(stored.position, credits))

    def _request(self, stored: Stored, fact: TopUpRequested) -> Problems:
        self.requests[fact.attempt_id] = fact
        if fact.found_payment is not None:  # decided in another life of the log, by settings that this one may not have
            return
        state = self.top_ups or TopUps(team_id=self.team_id)
        settings, card, episode = state.settings, state.card, state.episode
        if settings is None or not settings.enabled or state.suspension is not None or state.open is not None:
            yield "a charge that nothing allowed: top-ups were off, paused, or one was under way"
        if card is None or (card.customer_id, card.payment_method_id) != (fact.customer_id, fact.payment_method_id):
            yield f"{fact.payment_method_id} was not the card"
        if episode is None or fact.attempt_id != str(attempt_of(self.team_id, episode)):
            yield f"attempt {fact.attempt_id} is not the next one of a low episode"
        if stored.recorded_at < state.cool_until:
            yield "a charge before the end of the cool-down"
        if settings is None:
            return
        reserved = state.charges_cents(month_of(stored.recorded_at, state.zone))
        most, cap = settings.max_per_month, settings.monthly_cap_cents
        if most is not None and len(reserved) >= most:
            yield f"{most} top-ups a month are the cap, and {len(reserved)} were made"
        if cap is not None and (sum(reserved) + fact.charge_cents > cap or settings.currency != fact.currency):
            yield f"{sum(reserved) + fact.charge_cents} {fact.currency} this month, and {cap} {settings.currency} are the cap"
        if fact.charge_cents > MOST:
            yield f"{fact.charge_cents} {fact.currency} are more than one charge may take"

    def _top_up(self, stored: Stored, fact: CreditsToppedUp) -> Problems:
        yield from self._brought(stored, fact.payment_intent_id, fact.credits)
        request = self.requests.get(fact.attempt_id)
        if request is None:
            yield f"nobody asked for attempt {fact.attempt_id}"
            return
        if fact.attempt_id in self.answered:
            yield f"attempt {fact.attempt_id} brought credits before"
        self.answered.add(fact.attempt_id)
        if request.found_payment not in (None, fact.payment_intent_id):
            yield f"attempt {fact.attempt_id} was taken over for {request.found_payment}"
        yield from top_up_differs(fact, request)

    def _reversal(self, fact: ChargeRefunded | ChargeDisputed | DisputeClosed) -> Problems:
        payment = self.payments.get(fact.payment_intent_id)
        if payment is None:
            yield f"{fact.payment_intent_id} has brought no credits"
            return
        if fact.lot != payment.position:
            yield f"the credits of {fact.payment_intent_id} are lot {payment.position}, not {fact.lot}"
        match fact:
            case ChargeRefunded():
                payment.reversed_credits += fact.clawed_credits - (fact.reinstated_credits or 0)
            case ChargeDisputed():
                payment.reversed_credits += fact.frozen_credits - (fact.reinstated_credits or 0)
            case DisputeClosed():
                payment.reversed_credits -= fact.reinstated_credits
        if not 0 <= payment.reversed_credits <= payment.credits:
            yield f"of {format_credits(payment.credits)} credits {format_credits(payment.reversed_credits)} are taken back"
