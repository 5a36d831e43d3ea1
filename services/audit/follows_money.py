"""Do payments follow from what was asked for? One team's money, fact by fact, as the audit sees it. Pure.

Each purchase and top-up brings what was frozen when it was asked for, once. Each charge was allowed by the settings,
the card and the caps of the moment at which it was decided, and each of its steps is one of the attempt that is under
way. What is taken back of a payment is its part of the money that went back, no more and no less.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from projections.reversals import Account, open_account
from projections.reversals import evolve as evolve_account
from projections.sold import purchase_differs, top_up_differs
from projections.top_ups.decisions import attempt_of
from projections.top_ups.fold import evolve
from projections.top_ups.months import month_of
from projections.top_ups.state import TopUps
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
    TopUpActionRequired,
    TopUpFailed,
    TopUpIntentCreated,
    TopUpRequested,
)
from schemas.money import MOST

Problems = Iterator[str]


@dataclass(slots=True)
class AuditedPayment:
    """What a payment brought, at which position, and its account: what went back of it by now."""

    position: int
    credits: MicroCredits
    account: Account


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
                yield from self._reversal(stored, fact)
            case TopUpIntentCreated() | TopUpActionRequired() | TopUpFailed():
                yield from self._step(fact)
            case _:
                pass
        self.top_ups = evolve(self.top_ups or TopUps(team_id=self.team_id), stored, fact)

    def _purchase(self, stored: Stored, fact: CreditsPurchased) -> Problems:
        yield from self._brought(stored, fact)
        sold = self.purchases.get(fact.purchase_id or "")
        if sold is None:
            yield "nobody asked for this purchase"
            return
        if sold.purchase_id in self.answered:
            yield f"purchase {sold.purchase_id} brought credits before"
        self.answered.add(sold.purchase_id)
        yield from purchase_differs(fact, sold)

    def _step(self, fact: TopUpIntentCreated | TopUpActionRequired | TopUpFailed) -> Problems:
        """A step of the attempt that is under way, with the intent that it has: an end gives its caps back."""
        attempt = self.top_ups.open if self.top_ups is not None else None
        if attempt is None or attempt.attempt_id != fact.attempt_id:
            yield f"attempt {fact.attempt_id} was not under way"
            return
        has, names = attempt.payment_intent_id, fact.payment_intent_id
        if has is not None if isinstance(fact, TopUpIntentCreated) else names not in (None, has):
            yield f"attempt {fact.attempt_id} has {has}, not {names}"

    def _brought(self, stored: Stored, fact: CreditsPurchased | CreditsToppedUp) -> Problems:
        payment_id = fact.payment_intent_id
        if payment_id in self.payments:
            yield f"{payment_id} brought credits before"
        if stored.id != payment_id:
            yield f"it is not named after its payment {payment_id}"
        self.payments.setdefault(payment_id, AuditedPayment(stored.position, fact.credits, open_account(stored, fact)))

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
        reserved = state.charges_cents(month_of(stored.recorded_at, state.zone), fact.currency)
        most, cap = settings.max_per_month, settings.monthly_cap_cents
        if most is not None and len(reserved) >= most:
            yield f"{most} top-ups a month are the cap, and {len(reserved)} were made"
        if cap is not None and (sum(reserved) + fact.charge_cents > cap or settings.currency != fact.currency):
            yield f"{sum(reserved) + fact.charge_cents} {fact.currency} this month, and {cap} {settings.currency} are the cap"
        if fact.charge_cents > MOST:
            yield f"{fact.charge_cents} {fact.currency} are more than one charge may take"

    def _top_up(self, stored: Stored, fact: CreditsToppedUp) -> Problems:
        yield from self._brought(stored, fact)
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

    def _reversal(self, stored: Stored, fact: ChargeRefunded | ChargeDisputed | DisputeClosed) -> Problems:
        payment = self.payments.get(fact.payment_intent_id)
        if payment is None:
            yield f"{fact.payment_intent_id} has brought no credits"
            return
        if fact.lot != payment.position:
            yield f"the credits of {fact.payment_intent_id} are lot {payment.position}, not {fact.lot}"
        payment.account = evolve_account(payment.account, stored, fact)
        clawed, right = payment.account.clawed, payment.account.owed
        if clawed != right:
            yield (
                f"of {format_credits(payment.credits)} credits {format_credits(clawed)} are taken back, and "
                f"{format_credits(right)} are due"
            )
