"""A line of a downloaded activity: what spreadsheets and finance want beside the page, with names and money.

Programs rely on the names and the order of columns: new ones come at the end.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from schemas.catalog import Catalog
from schemas.facts import ChargeRefunded, CreditsPurchased, CreditsToppedUp, HoldCaptured, UsageRecorded
from schemas.instants import instant
from schemas.money import major_units
from schemas.pricing import NotPriced, RateCards
from schemas.spreadsheets import as_cell, as_text
from services.api.wording.entries import line, payment_of
from services.api.wording.links import receipt_link
from services.api.wording.values import Json
from services.read_models.activity import ActivityRow

COLUMNS = (
    "at", "type", "description", "member_id", "feature", "credits", "included", "additional", "balance_after", "id",
    "recorded_at", "member", "quantity", "rate", "rate_card", "charged", "refunded_so_far", "currency", "payment",
    "receipt_url", "quantities", "rates",
)  # fmt: skip
WRITTEN = frozenset({"description", "member_id", "feature", "member"})  # by people and other programs
UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def file_name(team_id: str, since: datetime, until: datetime) -> str:
    """Whose activity it is, and of which days (UTC): safe in a header and on any disk."""
    return f"credit-activity-{_safe(team_id)}-{since.date().isoformat()}-to-{until.date().isoformat()}.csv"


def statement_name(team_id: str, cycle: int) -> str:
    """Whose statement it is, and of which cycle."""
    return f"credit-statement-{_safe(team_id)}-{cycle}.csv"


def _safe(team_id: str) -> str:
    return UNSAFE.sub("-", team_id).strip("-.") or "team"


def download_line(
    row: ActivityRow, cards: RateCards, catalog: Catalog, names: Mapping[str, str], *, sees_receipts: bool
) -> list[str]:
    """The cells of an entry; receipts are for admins and finance alone."""
    values = line(row, cards, catalog)
    values["recorded_at"] = instant(row.entry.recorded_at)
    values["member"] = names.get(values["member_id"] or "")
    values |= _usage(row, cards) | _money(row, sees_receipts=sees_receipts)
    return [_cell(column, values.get(column)) for column in COLUMNS]


def _usage(row: ActivityRow, cards: RateCards) -> Json:
    """What was counted and what one of it cost, without the formula: to work out a million of them takes too long."""
    fact = row.fact
    if not isinstance(fact, UsageRecorded | HoldCaptured) or fact.feature is None or fact.rate_card is None:
        return {}
    counted: Json = {"quantity": fact.quantity, "rate_card": fact.rate_card, "quantities": _several(fact.quantities)}
    card = cards.version(fact.rate_card)
    if card is not None:
        with suppress(NotPriced):
            feature = card.find(fact.feature)
            rate = feature.rate_for(fact.attributes)
            counted["rate"] = rate.credits
            prices = {name: (rate.credits_by_quantity or {}).get(name) for name in fact.quantities or {}}
            counted["rates"] = _several(prices, of=feature.feature.for_units)
    return counted


def _several(named: Mapping[str, str | None] | None, of: int = 1) -> str | None:
    """Several quantities, or the prices of so many of each, in one cell."""
    per = f"/{of}" if of > 1 else ""
    return "; ".join(f"{name}={text}{per}" for name, text in sorted((named or {}).items())) or None


def _money(row: ActivityRow, *, sees_receipts: bool) -> Json:
    fact, payment = row.fact, payment_of(row.entry, row.fact)
    match fact:
        case CreditsPurchased() | CreditsToppedUp():
            paid = {"charged": major_units(fact.charge_cents, fact.currency), "currency": fact.currency}
            receipt = receipt_link(fact.receipt_url) if sees_receipts else None
            return {**paid, "payment": payment, "receipt_url": receipt}
        case ChargeRefunded():
            refunded = major_units(fact.refunded_cents, fact.currency)
            return {"refunded_so_far": refunded, "currency": fact.currency, "payment": payment}
        case _:
            return {"payment": payment}


def _cell(column: str, value: object) -> str:
    if value is None:
        return ""
    return as_text(str(value)) if column in WRITTEN else as_cell(value)
