"""What the customer reads: an entry of the activity in words, and everything that it follows from."""

from datetime import datetime
from typing import assert_never

from projections.balance.state import NEVER, ActivityKind, BalanceEntry, LotKind
from schemas.catalog import Catalog
from schemas.credits import format_credits
from schemas.facts import (
    AnyFact,
    ChargeDisputed,
    ChargeRefunded,
    CreditsAdjusted,
    CreditsGranted,
    CreditsPurchased,
    CreditsRefilled,
    CreditsToppedUp,
    DisputeClosed,
    HoldCaptured,
    TopUpFailed,
    TopUpSkipped,
    UsageRecorded,
    UsageVoided,
)
from schemas.instants import instant, instant_or_none
from schemas.money import format_money
from schemas.places import Place
from schemas.pricing import NotPriced, Priced, RateCards, explain_price
from services.api.wording.links import receipt_link
from services.api.wording.reversals import describe_reversal, detail_of_reversal
from services.api.wording.values import Json
from services.read_models.activity import ActivityRow, PaidLot

MADE = {
    LotKind.INCLUDED: "Included credits", LotKind.PURCHASED: "Purchased credits", LotKind.TOPPED_UP: "Topped-up credits",
    LotKind.PROMOTIONAL: "Promotional credits", LotKind.ADJUSTED: "Adjusted credits",
    LotKind.REINSTATED: "Credits given back",
}  # fmt: skip
SKIPPED = {
    "disabled": "Top-ups are off", "in_flight": "Another top-up is under way",
    "cooling_down": "Cooling down after the last attempt", "cap_money": "The monthly cap is reached",
    "max_charge": "It costs more than one top-up may",
    "cap_count": "The number of top-ups per month is reached", "suspended": "Top-ups are paused",
    "no_payment_method": "There is no card", "plan": "The plan has no top-ups",
}  # fmt: skip
FAILED = {
    "declined_retry_later": "The card was declined", "declined_needs_card": "The card was declined; another one is needed",
    "declined_needs_authentication": "The bank wants the payment confirmed", "cancelled": "The payment was cancelled",
    "payment_found": "An earlier payment was found and credited instead", "payment_differs": "An earlier payment has to be settled first",
    "refused": "The payment service does not take this charge", "gave_up": "The bank never decided",
}  # fmt: skip


def item(row: ActivityRow, cards: RateCards, catalog: Catalog) -> Json:
    """An entry as a row of the activity."""
    entry = row.entry
    return {
        **line(row, cards, catalog), "recorded_at": instant(entry.recorded_at), "detail": detail(entry, row.fact, cards),
        "late": entry.late,
    }  # fmt: skip


def line(row: ActivityRow, cards: RateCards, catalog: Catalog) -> Json:
    """What a row and a line of a download both say of an entry: nothing that takes long to work out."""
    entry = row.entry
    return {
        "at": instant(entry.occurred_at), "type": entry.kind.value, "description": describe(entry, row.fact, cards, catalog),
        "member_id": entry.member_id or _by(row.fact), "feature": entry.feature, "credits": format_credits(entry.credits),
        "included": format_credits(entry.included), "additional": format_credits(entry.additional),
        "balance_after": format_credits(entry.balance_after), "id": row.id,
    }  # fmt: skip


def _by(fact: AnyFact) -> str | None:
    return fact.member_id if isinstance(fact, CreditsPurchased) else None


def describe(  # noqa: C901, PLR0911 - a case for each kind, closed by assert_never
    entry: BalanceEntry, fact: AnyFact, cards: RateCards, catalog: Catalog
) -> str:
    """What happened, in a few words."""
    match entry.kind:
        case ActivityKind.USAGE:
            return _feature_name(entry.feature, fact, cards)
        case ActivityKind.USAGE_VOIDED:
            return f"{_feature_name(entry.feature, fact, cards)}, taken back"
        case ActivityKind.PURCHASE:
            pack = catalog.packs.get(fact.pack) if isinstance(fact, CreditsPurchased) else None
            return f"Purchase · {pack.name} pack" if pack else "Purchase"
        case ActivityKind.TOP_UP:
            return "Automatic top-up"
        case ActivityKind.REFILL:
            upgraded = isinstance(fact, CreditsRefilled) and fact.upgrade
            return "Included credits added by the new plan" if upgraded else "Included credits refilled"
        case ActivityKind.GRANT:
            return "Promotional credits"
        case ActivityKind.ADJUSTMENT:
            return "Adjustment"
        case ActivityKind.EXPIRY:
            part = "Included" if entry.included else "Promotional"
            return f"{part} credits expired" if entry.credits < 0 else f"Fewer {part.lower()} credits expired"
        case ActivityKind.REFUND | ActivityKind.DISPUTE:
            assert isinstance(fact, ChargeRefunded | ChargeDisputed | DisputeClosed)
            return describe_reversal(fact)
        case ActivityKind.TOP_UP_FAILED:
            return "Top-up failed"
        case ActivityKind.TOP_UP_SKIPPED:
            return "Top-up not made"
        case _:
            assert_never(entry.kind)


def detail(entry: BalanceEntry, fact: AnyFact, cards: RateCards) -> str | None:
    """One line more, where there is something to say."""
    late = "counted in the open cycle, it came in late" if entry.late else None
    return " · ".join(part for part in (_detail(entry, fact, cards), _paid_debt(entry, fact), late) if part) or None


def _paid_debt(entry: BalanceEntry, fact: AnyFact) -> str | None:
    """What of credits that came paid off a negative balance."""
    if entry.credits <= 0 or isinstance(fact, UsageVoided):
        return None
    paid = sum(part.credits for part in entry.paid)
    return f"{format_credits(paid)} of the credits paid off the negative balance" if paid else None


def _detail(  # noqa: PLR0911 - a case for each fact that says more
    entry: BalanceEntry, fact: AnyFact, cards: RateCards
) -> str | None:
    if entry.kind is ActivityKind.EXPIRY:
        return "Usage that came in late was paid by them" if entry.credits > 0 else None
    match fact:
        case UsageRecorded():
            priced = price_of(fact, cards)
            used = f"{_in_short(priced)} · rate card {fact.rate_card}" if priced else f"Rate card {fact.rate_card}"
            return used if fact.corrects is None else f"{used} · corrected: {fact.reason}"
        case HoldCaptured():
            priced = price_of(fact, cards)
            return f"{_in_short(priced)} · rate card {priced.rate_card} · captured from a hold" if priced else None
        case UsageVoided() | CreditsGranted() | CreditsAdjusted():
            return fact.reason or None
        case TopUpSkipped():
            return fact.detail or SKIPPED[fact.reason]
        case CreditsPurchased() | CreditsToppedUp():
            return f"{format_money(fact.charge_cents, fact.currency)} · payment #{payment_of(entry, fact)}"
        case ChargeRefunded() | ChargeDisputed() | DisputeClosed():
            return f"{detail_of_reversal(entry, fact)} · payment #{payment_of(entry, fact)}"
        case TopUpFailed():
            return fact.message or FAILED[fact.reason]
        case _:
            return None


def _in_short(priced: Priced) -> str:
    """The formula; of several quantities what was used of each, for a line has no room for all their formulas."""
    return ", ".join(component.used for component in priced.components) or priced.formula


def payment_of(entry: BalanceEntry, fact: AnyFact) -> int | None:
    """The number by which people match money that went back with what it had paid for: the same in both rows.

    It is the position at which the credits came, and names nothing at Stripe: members see it, too.
    """
    match fact:
        case CreditsPurchased() | CreditsToppedUp():
            return entry.position
        case ChargeRefunded() | ChargeDisputed() | DisputeClosed():
            return fact.lot
        case _:
            return None


def price_of(fact: UsageRecorded | HoldCaptured, cards: RateCards) -> Priced | None:
    """How a usage's price came about.

    None for one whose card or feature this process does not know yet, or that had none.
    """
    card = None if fact.rate_card is None else cards.version(fact.rate_card)
    if card is None or fact.feature is None:
        return None
    try:
        return explain_price(card, fact.feature, fact.quantity, fact.quantities, fact.attributes)
    except NotPriced:
        return None


def _feature_name(feature: str | None, fact: AnyFact, cards: RateCards) -> str:
    version = fact.rate_card if isinstance(fact, UsageRecorded | HoldCaptured) else None
    card = cards.version(version or cards.newest_version)
    feature_of_card = card.features.get(feature or "") if card else None
    if feature_of_card is not None:
        return feature_of_card.feature.name
    return "Work under a hold" if isinstance(fact, HoldCaptured) and feature is None else feature or "Usage"


def explain(row: ActivityRow, paid: list[PaidLot], cards: RateCards, catalog: Catalog, *, sees_receipts: bool) -> Json:
    """An entry with everything that it follows from. Receipts and charge ids are for admins and finance alone."""
    past_zero = row.entry.balance_after < 0 or row.entry.credits > 0
    return {
        **item(row, cards, catalog),
        "position": str(Place(row.shard, row.entry.position)),
        "price": _price(row.fact, cards) if row.entry.kind is ActivityKind.USAGE else None,
        "paid_by": [_paid_by(row.shard, lot, past_zero=past_zero) for lot in paid],
        "charge": charge(row.fact, sees_receipts=sees_receipts),
        "reason": detail(row.entry, row.fact, cards),
    }


def corrected_usage(row: ActivityRow) -> int | None:
    """The position of the usage that this entry takes back, or replaces."""
    match row.fact:
        case UsageVoided(usage_position=position) if row.entry.kind is ActivityKind.USAGE_VOIDED:
            return position
        case UsageRecorded(corrects=int(position)) if row.entry.kind is ActivityKind.USAGE:
            return position
        case _:
            return None


def _price(fact: AnyFact, cards: RateCards) -> Json | None:
    if not isinstance(fact, UsageRecorded | HoldCaptured):
        return None
    priced, card = price_of(fact, cards), cards.version(fact.rate_card or 0)
    if priced is None or card is None:
        return None
    return {
        "rate_card": priced.rate_card, "in_force_since": instant(card.effective_from), "feature": priced.feature,
        "name": priced.name, "per": priced.per, "unit": priced.unit, "quantity": priced.quantity,
        "attributes": fact.attributes or {}, "rate_attributes": dict(priced.rate_attributes),
        "rate": priced.rate_credits, "for_units": priced.for_units, "formula": priced.formula,
        "components": [
            {
                "quantity": one.name, "used": one.quantity, "rate": one.rate_credits, "credits": f"{one.credits:f}",
                "formula": one.formula,
            }
            for one in priced.components
        ],
    }  # fmt: skip


def _paid_by(shard: int, lot: PaidLot, *, past_zero: bool) -> Json:
    """A lot that paid.

    What none could pay need not have taken the team past zero: credits that end, and included ones, pay for no earlier
    time. It is taken off what came later.
    """
    unpaid = "Past zero" if past_zero else "Credits that came later"
    return {
        "lot": str(Place(shard, abs(lot.lot))) if lot.kind else None, "kind": lot.kind.value if lot.kind else "overdraft",
        "name": MADE[lot.kind] if lot.kind else unpaid, "gained_at": instant_or_none(lot.starts_at),
        "ends_at": _end(lot.ends_at), "credits": format_credits(lot.credits),
    }  # fmt: skip


def _end(at: datetime | None) -> str | None:
    return None if at is None or at == NEVER else instant(at)


def charge(fact: AnyFact, *, sees_receipts: bool) -> Json | None:
    """The money behind an entry: the charge that brought these credits, or took them back."""
    match fact:
        case CreditsPurchased() | CreditsToppedUp():
            charge_id, receipt_url = fact.charge_id, receipt_link(fact.receipt_url)
        case ChargeRefunded() | ChargeDisputed() | DisputeClosed():
            charge_id, receipt_url = None, None
        case _:
            return None
    if fact.charge_cents is None or fact.currency is None:
        return None
    paid: Json = {"amount": fact.charge_cents, "currency": fact.currency}
    if sees_receipts:
        paid |= {"payment_intent_id": fact.payment_intent_id, "charge_id": charge_id, "receipt_url": receipt_url}
    return paid
