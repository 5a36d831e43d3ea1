"""A month tied out with Stripe, as programs read it: JSON, and CSV with a line for what differs."""

from typing import Any

from projections.books.cash import CashKind
from projections.books.tables import write_csv
from schemas.instants import instant, instant_or_none
from schemas.money import major_units
from services.books.tie_out import TieOut, TieOutLine

COLUMNS = (
    "type", "break", "payment", "team_id", "kind", "currency", "difference", "at_stripe", "in_log", "what", "next_step",
)  # fmt: skip


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
        "payouts": [
            {
                "id": move.source_id, "at": instant(move.created_at), "currency": move.currency,
                "net": major_units(move.net_cents, move.currency),
            }
            for move in sorted(result.payouts, key=lambda move: (move.created_at, move.id))
        ],
        "lines": [dict(zip(COLUMNS, _values(line), strict=True)) for line in result.lines],
    }  # fmt: skip


def csv_of(result: TieOut) -> str:
    """As CSV: a line for what differs."""
    rows = [["" if value is None else str(value) for value in _values(line)] for line in result.lines]
    return write_csv(list(COLUMNS), rows)


def _values(line: TieOutLine) -> tuple[object, ...]:
    payment, kind, currency = line.key
    there, here = (instant_or_none(at) for at in (line.at_stripe, line.in_log))
    return (
        line.type.value, line.is_break, payment, line.team_id, kind.value, currency, major_units(line.cents, currency),
        there, here, line.what, line.next_step,
    )  # fmt: skip
