"""A month tied out with Stripe, as programs read it: JSON, and CSV with a line for what differs."""

from collections.abc import Iterable
from typing import Any

from projections.books.cash import CashKind
from projections.books.tables import write_csv
from schemas.instants import instant, instant_or_none
from schemas.money import major_units
from services.books.tie_out import Payout, TieOut, TieOutLine

COLUMNS = (
    "type", "break", "payment", "team_id", "kind", "currency", "difference", "at_stripe", "in_log", "what", "next_step",
)  # fmt: skip
PAYOUT = ("id", "at", "currency", "net")
HELD = ("id", "category", "source", "payment", "created_at", "gross", "fee", "net_of_fee")


def totals(result: TieOut) -> list[tuple[str, CashKind, int, int]]:
    """Currency, kind, and what each side has of it: Stripe and the log, in minor units; sorted."""
    keys = sorted(result.at_stripe.keys() | result.in_log.keys())
    return [
        (currency, kind, result.at_stripe[currency, kind], result.in_log[currency, kind]) for currency, kind in keys
    ]


def document(result: TieOut) -> dict[str, Any]:
    """As JSON: money as decimal strings of major units; less than none went."""
    return {
        "ok": result.ties,
        "totals": [
            {
                "currency": currency, "kind": kind.value, "at_stripe": major_units(there, currency),
                "in_log": major_units(here, currency),
            }
            for currency, kind, there, here in totals(result)
        ],
        "balance": [
            {
                "currency": currency, "category": category, "transactions": one.transactions,
                "gross": major_units(one.gross, currency), "fee": major_units(one.fee, currency),
                "net": major_units(one.net, currency),
            }
            for (currency, category), one in sorted(result.balance.items())
        ],
        "payouts": [_payout(payout) for payout in result.payouts],
        "lines": [dict(zip(COLUMNS, _values(line), strict=True)) for line in result.lines],
    }  # fmt: skip


def csv_of(result: TieOut) -> str:
    """As CSV: a line for what differs."""
    return write_csv(list(COLUMNS), [_texts(_values(line)) for line in result.lines])


def payouts_csv_of(result: TieOut) -> str:
    """As CSV: a line for each transaction that a payout held; one alone where nobody knows what it held."""
    rows = []
    for payout in result.payouts:
        one = _payout(payout)
        begin = [one[name] for name in PAYOUT]
        rows += [_texts([*begin, *(held[name] for name in HELD)]) for held in one["held"] or [dict.fromkeys(HELD)]]
    return write_csv(["payout", *PAYOUT[1:], "transaction", *HELD[1:]], rows)


def _payout(payout: Payout) -> dict[str, Any]:
    move, currency = payout.move, payout.move.currency
    return {
        "id": move.source_id, "at": instant(move.created_at), "currency": currency,
        "net": major_units(move.net_cents, currency),
        "held": None if payout.held is None else [
            {
                "id": one.id, "category": one.category, "source": one.source_id, "payment": one.payment_intent_id,
                "created_at": instant(one.created_at),
                "gross": major_units(one.gross_cents, currency), "fee": major_units(one.fee_cents, currency),
                "net_of_fee": major_units(one.net_cents, currency),
            }
            for one in payout.held
        ],
    }  # fmt: skip


def _texts(values: Iterable[object]) -> list[str]:
    return ["" if value is None else str(value) for value in values]


def _values(line: TieOutLine) -> tuple[object, ...]:
    payment, kind, currency = line.key
    there, here = (instant_or_none(at) for at in (line.at_stripe, line.in_log))
    return (
        line.type.value, line.is_break, payment, line.team_id, kind.value, currency, major_units(line.cents, currency),
        there, here, line.what, line.next_step,
    )  # fmt: skip
