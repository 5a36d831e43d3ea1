"""A statement as a page to print: one file without scripts, for A4 and Letter. Names and receipts are put in here.

The page may change and be wrong about a name one day; the JSON beside it never does.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from schemas.pricing import words_of
from services.api.wording.links import receipt_link

STYLE = """
@page { size: auto; margin: 18mm 16mm; @bottom-right { content: counter(page) " / " counter(pages); font: 8pt system-ui, sans-serif; } }
body { font: 10pt/1.45 system-ui, sans-serif; color: #111; max-width: 178mm; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 16pt; margin: 0; } h2 { font-size: 11pt; margin: 1.6em 0 .4em; }
p { margin: .2em 0; } .quiet { color: #555; } .seal { margin-top: 1.4em; break-inside: avoid; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; font-weight: 600; padding: 1.4em 0 .4em; }
th, td { padding: .25em .6em .25em 0; border-bottom: 1px solid #ccc; text-align: left; vertical-align: top; }
th { font-weight: 600; } .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 0; }
.n + * { padding-left: .8em; } .t { white-space: nowrap; } .id { overflow-wrap: anywhere; } tr.sum > * { font-weight: 600; border-bottom: 2px solid #111; }
thead { display: table-header-group; } tr { break-inside: avoid; } caption { break-after: avoid; }
tbody tr:first-child, tbody tr:last-child { break-before: avoid; }
@media print { body { margin: 0; padding: 0; max-width: none; } a { color: inherit; text-decoration: none; } }
"""
LABELS = {
    "opening": "Opening balance", "refilled": "+ Included credits of the plan", "bought": "+ Bought",
    "topped_up": "+ Topped up", "granted": "+ Granted", "given_back": "+ Given back after refunds and disputes",
    "adjusted": "± Corrected", "taken_back": "+ Usage taken back", "used": "− Used", "expired": "− Expired",
    "refunded": "− Refunded", "disputed": "− Disputed", "closing": "Closing balance",
}  # fmt: skip
KINDS = {
    "included": "Included in the plan", "purchased": "Bought", "topped_up": "Topped up", "promotional": "Granted",
    "adjusted": "Corrected", "reinstated": "Given back", "debt": "Below zero",
}  # fmt: skip
MARKS = {"#": " class=n", "@": " class=t", "=": " class=id"}  # numbers, instants, and ids, which may break anywhere
ALWAYS_SHOWN = frozenset({"opening", "used", "closing"})

Statement = Mapping[str, Any]
Row = Sequence[object]


class PageNames(NamedTuple):
    """What the page knows and the statement does not: the team's name, its members' by id, receipts by payment."""

    team: str
    members: Mapping[str, str]
    receipts: Mapping[str, str | None]


class _Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def statement_page(statement: Statement, names: PageNames) -> str:
    """The page; whatever stands in the statement is text, never markup."""
    sealed = statement["sealed"]
    title = f"Statement of credits, cycle {statement['cycle']}"
    parts = (
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(names.team)} <span class=quiet>({escape(statement['team_id'])})</span></p>",
        f"<p>{_minute(statement['starts_at'])} to {_minute(statement['ends_at'])} UTC, plan {escape(statement['plan'])}</p>",
        _balance(statement),
        _table("Used, by feature", ("Feature", "Quantity", "Unit", "#Uses", "#Credits"), _features(statement)),
        _table("Used, by member", ("Member", "#Uses", "#Credits", "#Taken back"), _members(statement, names)),
        _table(
            "Payments", ("@Paid (UTC)", "=Payment", "#Credits", "#Gross", "#Tax", "Went back", "Currency", "Receipt"),
            _payments(statement, names),
        ),
        _table("Late, of earlier cycles", ("Cycle", "#Entries", "#Credits"), (tuple(one.values()) for one in statement["late"])),
        _table(
            "Corrections", ("@When (UTC)", "=Entry", "=Refers to", "#Credits"),
            ((_minute(one["at"]), one["position"], one["refers_to"], one["credits"]) for one in statement["corrections"]),
        ),
        _table("Left at the end", ("Credits", "#Amount"), ((KINDS[kind], credits) for kind, credits in statement["left"].items())),
        (f"<p class='quiet seal'>Sealed at position {escape(sealed['position'])}, {_minute(sealed['recorded_at'])} UTC. Signed "
        f"checkpoint {sealed['checkpoint']} covers it; its SHA-256 is <span class=id>{escape(sealed['sha256'])}</span>. "
        f"Log {escape(statement['log'])}.</p>"),
    )  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}, {escape(names.team)}'
        f'</title>\n<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _balance(statement: Statement) -> str:
    shown = [name for name in LABELS if name in ALWAYS_SHOWN or set(statement[name].values()) != {"0"}]
    rows = [(LABELS[name], *(statement[name][part] for part in ("total", "included", "additional"))) for name in shown]
    return _table("Credits", ("", "#Total", "#Included", "#Additional"), rows, sums=(0, len(rows) - 1))


def _features(statement: Statement) -> Iterable[Row]:
    for feature in statement["by_feature"]:
        for one in feature["components"]:
            yield one["name"] or "Other", one["quantity"], one["unit"], one["uses"], one["credits"]
        for name, quantity in feature.get("quantities", {}).items():
            yield feature["name"], quantity, words_of(name, quantity), "", ""


def _members(statement: Statement, names: PageNames) -> Iterable[Row]:
    for one in statement["by_member"]:
        member = one["member_id"]
        name = "Nobody" if member is None else names.members.get(member, member)
        yield name, one["uses"], one["used"], one["taken_back"]


def _payments(statement: Statement, names: PageNames) -> Iterable[Row]:
    for one in statement["payments"]:
        back = [f"{label} {one[key]}" for key, label in (("refunded", "refunded"), ("disputed", "disputed"), ("won_back", "won back")) if one[key].strip("0.")]  # fmt: skip
        address = receipt_link(names.receipts.get(one["payment"]))
        receipt = "" if address is None else _Html(f'<a href="{escape(address)}">Receipt</a>')
        yield (
            _minute(one["at"]), one["payment"], one["credits"], one["gross"], one["tax"], ", ".join(back),
            one["currency"].upper(), receipt,
        )  # fmt: skip


def _table(caption: str, columns: Sequence[str], rows: Iterable[Row], *, sums: Sequence[int] = ()) -> str:
    """A table, or nothing where it has no rows. A mark before a column's name says what it has: see `MARKS`."""
    looks = [MARKS.get(column[:1], "") for column in columns]
    body = [
        f"<tr{' class=sum' if number in sums else ''}>{''.join(map(_cell, row, looks))}</tr>"
        for number, row in enumerate(rows)
    ]
    if not body:
        return ""
    head = "".join(
        f"<th scope=col{look}>{escape(column[1:] if look else column)}</th>"
        for column, look in zip(columns, looks, strict=True)
    )
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _cell(value: object, look: str) -> str:
    text = value if isinstance(value, _Html) else escape("" if value is None else str(value))
    return f"<td{look}>{text}</td>"


def _minute(instant: str) -> str:
    """An instant of UTC as people read it: `2026-11-23 10:15`."""
    return escape(instant[:16].replace("T", " "))
