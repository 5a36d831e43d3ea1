"""Where Stripe and the log differ about a payment: nine types of break, each with what is so and what to do next.

Pure.

    paid_not_credited     money came for something we had asked for, and no credits are there
    differs               money came for something that the log has lost, and what stands upon it can't be believed
    credited_not_paid     credits are there, and no money (or the money is another team's)
    amount_mismatch       what was paid is not what the log says, or not what we had asked for
    credits_mismatch      the credits are not those that were sold for the money: by what was asked for, by what stands
                          upon the payment, or, where the log does not say, by the catalog
    duplicate_credit      one payment brought credits twice
    refund_not_clawed     more was refunded (or less) than the log says
    dispute_unhandled     a dispute stands otherwise than the log says
    orphan_intent         money, or a promise of it, of which nothing here knows

Only the first is healed without a person, and only where we can prove for how many credits we had asked: by the log, or
by the stamp on the payment where the log has lost it. A person settles the others. A refund or a cancelled intent at
Stripe ends an orphan. An adjustment that refers to the payment (its `refers_to`) says that somebody has dealt with it.
"""

from collections.abc import Container, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from projections.reversals import Account, fact_due
from schemas.credits import format_credits
from schemas.facts import ChargeRefunded
from schemas.money import format_money
from services.money.adopting import Doubt
from services.money.reconcile.reads import Credit, IntendedPayment
from services.money.reversals import seen_of
from services.money.stamps import PaymentRequest, says
from services.money.stripe_client import Dispute, Intent

OURS = frozenset({"attempt_id", "purchase_id"})  # what an intent of ours says in its metadata


class BreakKind(StrEnum):
    """What kind of break."""

    PAID_NOT_CREDITED = "paid_not_credited"
    DIFFERS = "differs"
    CREDITED_NOT_PAID = "credited_not_paid"
    AMOUNT_MISMATCH = "amount_mismatch"
    CREDITS_MISMATCH = "credits_mismatch"
    DUPLICATE_CREDIT = "duplicate_credit"
    REFUND_NOT_CLAWED = "refund_not_clawed"
    DISPUTE_UNHANDLED = "dispute_unhandled"
    ORPHAN_INTENT = "orphan_intent"


BY_HAND = frozenset(
    {BreakKind.PAID_NOT_CREDITED, BreakKind.DIFFERS, BreakKind.CREDITED_NOT_PAID, BreakKind.AMOUNT_MISMATCH, BreakKind.CREDITS_MISMATCH, BreakKind.DUPLICATE_CREDIT, BreakKind.ORPHAN_INTENT}
)  # fmt: skip


class Payment(NamedTuple):
    """One payment as both sides have it: `intent` is None where Stripe knows of none.

    `lost`: of a payment of ours that the log does not know, what it was for, or why that can't be believed. `stamped`:
    what stands upon it that we had asked for.
    """

    payment_intent_id: str
    intent: Intent | None
    disputes: tuple[Dispute, ...] = ()
    credits: tuple[Credit, ...] = ()
    account: Account | None = None
    intended: IntendedPayment | None = None
    lost: PaymentRequest | Doubt | None = None
    stamped: PaymentRequest | None = None


class Break(NamedTuple):
    """A difference, in words, and what to do about it."""

    type: BreakKind
    payment_intent_id: str
    team_id: str | None
    what: str
    next_step: str


class LookedAt(NamedTuple):
    """A payment on both sides, and where they differ. `by_hand`: a person has dealt with it, by an adjustment.

    `elsewhere`: it is of another Creditwell at the same account.
    """

    payment: Payment
    breaks: list[Break]
    by_hand: bool
    elsewhere: bool

    @property
    def open_breaks(self) -> list[Break]:
        """The breaks that nobody has dealt with."""
        return [] if self.elsewhere else [one for one in self.breaks if not (self.by_hand and one.type in BY_HAND)]


def breaks_of(payment: Payment) -> list[Break]:
    """Every difference about a payment; none when both sides say the same."""
    breaks = _of_uncredited(payment) if not payment.credits else _of_credited(payment, payment.credits[0])
    team_id = payment.credits[0].team_id if payment.credits else _team(payment)
    return [Break(kind, payment.payment_intent_id, team_id, what, following) for kind, what, following in breaks]


PlainBreaks = Iterator[tuple[BreakKind, str, str]]


def _team(payment: Payment) -> str | None:
    return payment.intent.metadata.get("team_id") if payment.intent is not None else None


def is_quiet(
    intent: Intent,
    credits: Sequence[Credit],
    reversed_by_log: Container[str],
    stamped: PaymentRequest | None = None,
) -> bool:
    """True when one look is enough to see that both sides say the same; all others are looked at one by one."""
    if intent.state == "cancelled":
        return not credits
    if intent.state != "succeeded":
        return not credits and not OURS & intent.metadata.keys()
    if len(credits) != 1 or intent.refunded_cents or intent.disputed or intent.id in reversed_by_log:
        return False
    (credit,) = credits
    if _other_credits(credit, stamped) is not None:
        return False
    return (intent.amount_cents, intent.currency, intent.metadata.get("team_id")) == (
        credit.charge_cents, credit.currency, credit.team_id,
    )  # fmt: skip


def _of_uncredited(payment: Payment) -> PlainBreaks:
    intent, intended = payment.intent, payment.intended
    if intent is None or intent.state == "cancelled":
        return
    if intent.state != "succeeded":
        yield from _of_unpaid(intent, intended)
        return
    if intent.given_back:
        return  # given back whole: nobody owes anybody anything
    if intended is None and payment.lost is not None:
        yield _of_lost(intent, payment.lost)
        return
    yield _of_paid(intent, intended)


def _of_lost(intent: Intent, lost: PaymentRequest | Doubt) -> tuple[BreakKind, str, str]:
    """A payment of ours that the log has lost, as after a restore."""
    if isinstance(lost, Doubt):
        kind = BreakKind.DIFFERS if lost.differs else BreakKind.PAID_NOT_CREDITED
        return kind, f"{lost.why}; the log has lost what it was for", f"refund it at Stripe, or {_by_hand(intent.id)}"
    what = f"{_money(intent)} were paid for {lost.kind} {lost.id}, which the log has lost: {format_credits(lost.credits)} credits are missing"
    return BreakKind.PAID_NOT_CREDITED, what, "run `creditwell reconcile --heal`"


def _of_paid(intent: Intent, intended: IntendedPayment | None) -> tuple[BreakKind, str, str]:
    """Why money that came brought no credits."""
    if intended is None:
        what = f"{_money(intent)} were paid, and nothing here asked for them"
        return BreakKind.ORPHAN_INTENT, what, f"find out at Stripe who made it; refund it, or {_by_hand(intent.id)}"
    about = f"{intended.kind} {intended.id}"
    if intended.answered_by not in (None, intent.id):
        what = f"{_money(intent)} were paid again for {about}, which {intended.answered_by} paid already"
        return BreakKind.ORPHAN_INTENT, what, "refund it at Stripe"
    if fault := intended.fault or _differs(intent, intended):
        what = f"{fault}; no credits were given"
        return BreakKind.AMOUNT_MISMATCH, what, f"refund it at Stripe, or {_by_hand(intent.id)}"
    what = f"{_money(intent)} were paid for {about}: {format_credits(intended.credits)} credits are missing"
    return BreakKind.PAID_NOT_CREDITED, what, "run `creditwell reconcile --heal`"


def _of_unpaid(intent: Intent, intended: IntendedPayment | None) -> PlainBreaks:
    """An intent that may still be paid is right only as long as something waits for it."""
    if not OURS & intent.metadata.keys():
        return  # somebody else's business, as long as no money moves
    if intended is not None and intended.kind == "purchase":
        return  # Stripe closes its pages by itself
    if intended is not None and intended.open and intended.payment_intent_id in (None, intent.id):
        return
    about = f"{intended.kind} {intended.id} is over" if intended is not None else "nothing here asked for it"
    what = f"{_money(intent)} may still be paid ({intent.state}), and {about}"
    yield BreakKind.ORPHAN_INTENT, what, "cancel it at Stripe"


def _of_credited(payment: Payment, credit: Credit) -> PlainBreaks:
    intent = payment.intent
    if len(payment.credits) > 1:
        places = ", ".join(f"{one.place} ({one.team_id})" for one in payment.credits)
        what = f"the payment brought credits {len(payment.credits)} times: {places}"
        yield BreakKind.DUPLICATE_CREDIT, what, f"take all but the first back: {_by_hand(payment.payment_intent_id)}"
    if intent is None or intent.state != "succeeded":
        state = f"it is {intent.state} there" if intent is not None else "Stripe knows nothing of it"
        what = f"{format_credits(credit.credits)} credits at {credit.place}, and no money: {state}"
        following = f"check the key and the account; take the credits back: {_by_hand(payment.payment_intent_id)}"
        yield BreakKind.CREDITED_NOT_PAID, what, following
        return
    if _team(payment) not in (None, credit.team_id):
        what = f"{format_credits(credit.credits)} credits at {credit.place}, and the money is of {_team(payment)}"
        yield BreakKind.CREDITED_NOT_PAID, what, f"move the credits: {_by_hand(intent.id)}, for each team"
    if (intent.amount_cents, intent.currency) != (credit.charge_cents, credit.currency):
        what = f"{_money(intent)} were paid, the log says {format_money(credit.charge_cents, credit.currency)} at {credit.place}"
        yield BreakKind.AMOUNT_MISMATCH, what, _by_hand(intent.id)
    elif (fault := _other_credits(credit, payment.stamped)) is not None:
        yield BreakKind.CREDITS_MISMATCH, f"{fault}, at {credit.place}", _by_hand(intent.id)
    yield from _of_reversed(payment, intent)


def _other_credits(credit: Credit, stamped: PaymentRequest | None) -> str | None:
    """How a payment's credits are others than were sold; what stands upon it is out of reach of who edits the log."""
    if credit.fault is None and stamped is not None and stamped.credits != credit.credits:
        sold, gained = format_credits(stamped.credits), format_credits(credit.credits)
        return f"{sold} credits were asked for by what stands upon the payment, {gained} were given"
    return credit.fault


def _of_reversed(payment: Payment, intent: Intent) -> PlainBreaks:
    account = payment.account
    if account is None:
        return
    at_stripe = seen_of(intent, payment.disputes, account)
    again = "send the event again from Stripe's dashboard, or run `creditwell reconcile --claw`"
    if isinstance(fact_due(account, at_stripe), ChargeRefunded):
        refunded, charged, stored = (
            format_money(cents, account.currency)
            for cents in (at_stripe.refunded_cents, account.charge_cents, account.refunded_cents)
        )
        what = f"{refunded} of {charged} are refunded, the log says {stored}"
        yield BreakKind.REFUND_NOT_CLAWED, what, again
    settled = at_stripe._replace(refunded_cents=account.refunded_cents)
    if (due := fact_due(account, settled)) is not None:
        dispute_id = getattr(due, "dispute_id", "")
        heard = account.disputes.get(dispute_id)
        says = heard.course if heard is not None else "nothing"
        what = f"dispute {dispute_id} is {at_stripe.disputes[dispute_id].course}, the log says {says}"
        yield BreakKind.DISPUTE_UNHANDLED, what, again
    for dispute in payment.disputes:
        if not dispute.is_known:
            what = f"dispute {dispute.id} is {dispute.status!r}, which nothing here understands"
            yield (
                BreakKind.DISPUTE_UNHANDLED,
                what,
                "upgrade; until then adjust the credits by hand if the money is away",
            )


def _differs(intent: Intent, intended: IntendedPayment) -> str | None:
    """What was paid other than we had asked for, as far as the amount alone tells.

    Tax may come on top of a purchase; whether it is the right tax is told where Stripe names it
    (`checkouts.difference`).
    """
    if intent.metadata.get("team_id") != intended.team_id:
        return f"{_money(intent)} were paid by {intent.metadata.get('team_id')} for {intended.kind} {intended.id} of {intended.team_id}"
    request = intended.request
    other_customer = request is not None and intended.kind == "top-up" and request.customer_id != intent.customer_id
    if other_customer or (request is not None and not says(intent.metadata, request)):
        return f"{_money(intent)} were paid for {intended.kind} {intended.id}, and what stands upon the payment is not what we wrote"
    more = intent.amount_cents - intended.charge_cents
    if intent.currency == intended.currency and (more == 0 or (intended.taxed and more > 0)):
        return None
    return f"{_money(intent)} were paid for {intended.kind} {intended.id}, which is {format_money(intended.charge_cents, intended.currency)}"


def _money(intent: Intent) -> str:
    return format_money(intent.amount_cents, intent.currency)


def _by_hand(payment_intent_id: str) -> str:
    return f"adjust the credits, with refers_to {payment_intent_id}"
