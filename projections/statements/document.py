"""A statement as JSON and CSV: sorted, LF, decimals as strings.

Nobody's name is in it, so its bytes can stay for ever.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from projections.statements.fold import GAINS, LOSSES, CreditSum, StatementFold
from projections.statements.lines import PaymentLine, WorkSum
from schemas.credits import format_credits
from schemas.cycles import Cycle
from schemas.instants import instant
from schemas.money import major_units
from schemas.places import Place
from schemas.spreadsheets import as_cell, csv_lines

FORMAT = "creditwell statement 1"
SUMS = ("opening", *GAINS, *LOSSES, "closing")
COLUMNS = ("section", "what", "name", "quantity", "unit", "uses", "total", "included", "additional", "currency", "gross",
           "tax", "refunded", "disputed", "won_back")  # fmt: skip

FeatureNames = Mapping[str, tuple[str, str]]  # name and unit by feature, of the card in force at the cycle's end
Document = dict[str, Any]


class SealedCycle(NamedTuple):
    """A cycle that is final, where and when it was sealed, and the first note that covers that."""

    cycle: Cycle
    place: Place
    recorded_at: str
    checkpoint: int
    sha256: str


def document(log: str, sealed: SealedCycle, fold: StatementFold, names: FeatureNames) -> Document:
    """The statement; `fold` was told everything up to the seal, and closed."""
    team, lines, shard = fold.team, fold.lines, sealed.place.shard
    return {
        "format": FORMAT, "log": log, "team_id": team.team_id, "plan": fold.plan, "zone": team.zone,
        "cycle": sealed.cycle.k, "starts_at": instant(sealed.cycle.starts_at), "ends_at": instant(sealed.cycle.ends_at),
        "sealed": {
            "position": str(sealed.place), "recorded_at": sealed.recorded_at, "checkpoint": sealed.checkpoint,
            "sha256": sealed.sha256,
        },
        **{name: _sum(fold.sums[name]) for name in SUMS},
        "by_feature": [_feature(feature, work, names) for feature, work in sorted(lines.by_feature.items())],
        "by_member": [
            {"member_id": member or None, **_work(work)} for member, work in sorted(lines.by_member.items())
        ],
        "payments": [_payment(line, shard) for line in lines.shown_payments()],
        "late": [
            {"cycle": number, "entries": late.entries, "credits": format_credits(late.credits)}
            for number, late in sorted(lines.late.items())
        ],
        "corrections": [
            {
                "position": str(Place(shard, one.position)), "at": instant(one.at), "credits": format_credits(one.credits),
                "refers_to": one.refers_to if one.usage_position is None else str(Place(shard, one.usage_position)),
            }
            for one in lines.corrections
        ],
        "left": {kind: format_credits(credits) for kind, credits in fold.left_by_kind().items()},
        "rate_cards": sorted(lines.rate_cards),
    }  # fmt: skip


def json_of(statement: Document) -> str:
    """The bytes of a statement, as everybody gets them: one member a line, sorted, LF."""
    return json.dumps(statement, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def csv_of(statement: Document) -> str:
    """A statement as CSV: a line for each sum and each line of it, told apart by `section`."""
    rows = ([as_cell(row.get(column)) for column in COLUMNS] for row in _rows(statement))
    return csv_lines([COLUMNS, *rows], line_end="\n")


def _rows(statement: Document) -> Iterator[dict[str, object]]:
    for name in SUMS:
        yield {"section": "balance", "what": name, **statement[name]}
    yield from _feature_rows(statement["by_feature"])
    for member in statement["by_member"]:
        yield {"section": "used_by", "what": member["member_id"], "uses": member["uses"], "total": member["used"]}
    for payment in statement["payments"]:
        money = {key: payment[key] for key in ("currency", "gross", "tax", "refunded", "disputed", "won_back")}
        yield {"section": "payment", "what": payment["payment"], "total": payment["credits"], **money}
    for late in statement["late"]:
        yield {"section": "late", "what": late["cycle"], "uses": late["entries"], "total": late["credits"]}
    for one in statement["corrections"]:
        yield {"section": "correction", "what": one["position"], "total": one["credits"]}
    for kind, credits in statement["left"].items():
        yield {"section": "left", "what": kind, "total": credits}


def _feature_rows(features: Iterable[Document]) -> Iterator[dict[str, object]]:
    for feature in features:
        what = feature["feature"]
        for component in feature["components"]:
            shown = {key: component[key] for key in ("quantity", "unit", "uses")}
            yield {"section": "used", "what": what, "name": component["name"], **shown, "total": component["credits"]}
        for name, quantity in feature.get("quantities", {}).items():
            yield {"section": "used_of", "what": what, "name": name, "quantity": quantity}
        if feature["taken_back"] != "0":
            yield {"section": "taken_back", "what": what, "total": feature["taken_back"]}


def _sum(credits: CreditSum) -> dict[str, str]:
    parts = {"total": credits.total, "included": credits.included, "additional": credits.additional}
    return {name: format_credits(part) for name, part in parts.items()}


def _feature(feature: str, work: WorkSum, names: FeatureNames) -> Document:
    name, unit = names.get(feature, (feature, ""))
    component = {
        "name": name, "unit": unit, "quantity": f"{work.quantity.normalize():f}", "uses": work.uses,
        "credits": format_credits(work.used),
    }  # fmt: skip
    several = {name: f"{used.normalize():f}" for name, used in sorted(work.quantities.items())}
    return {
        "feature": feature or None, "name": name, "components": [component],
        "taken_back": format_credits(work.taken_back), **({"quantities": several} if several else {}),
    }  # fmt: skip


def _work(work: WorkSum) -> Document:
    return {"uses": work.uses, "used": format_credits(work.used), "taken_back": format_credits(work.taken_back)}


def _payment(line: PaymentLine, shard: int) -> Document:
    money = {
        "gross": line.gross, "tax": line.tax, "refunded": line.refunded, "disputed": line.disputed, "won_back": line.won
    }  # fmt: skip
    return {
        "payment": line.payment_intent_id, "position": str(Place(shard, line.position)), "at": instant(line.at),
        "paid_in_this_cycle": line.paid, "credits": format_credits(line.credits), "currency": line.currency,
        **{name: major_units(cents, line.currency) for name, cents in money.items()},
    }  # fmt: skip
