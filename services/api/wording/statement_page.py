"""A statement as a page to print: one file without scripts, for A4, Letter and a phone's screen.

Names and receipts are put in here.
The page may change and be wrong about a name one day; the JSON beside it never does.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from schemas.pricing import words_of
from services.api.wording.links import receipt_link
from services.api.wording.statement_words import ENGLISH, StatementWords

STYLE = """
@page { size: auto; margin: 18mm 16mm; @bottom-right { content: counter(page) " / " counter(pages); font: 8pt system-ui, sans-serif; } }
body { font: 10pt/1.45 system-ui, sans-serif; color: #111; max-width: 178mm; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 16pt; margin: 0; } h2 { font-size: 11pt; margin: 1.6em 0 .4em; }
p { margin: .2em 0; overflow-wrap: anywhere; } .quiet { color: #555; } .seal { margin-top: 1.4em; break-inside: avoid; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; font-weight: 600; padding: 1.4em 0 .4em; }
th, td { padding: .25em .6em .25em 0; border-bottom: 1px solid #ccc; text-align: left; vertical-align: top; }
th { font-weight: 600; } .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 0; }
.n + * { padding-left: .8em; } .t { white-space: nowrap; } .id { overflow-wrap: anywhere; min-width: 9em; } tr.sum > * { font-weight: 600; border-bottom: 2px solid #111; }
thead { display: table-header-group; } tr { break-inside: avoid; } caption { break-after: avoid; }
tbody tr:first-child, tbody tr:last-child { break-before: avoid; }
@media print { body { margin: 0; padding: 0; max-width: none; } a { color: inherit; text-decoration: none; } }
@media screen and (max-width: 44rem) {
  body { margin: 1rem auto; overflow-wrap: anywhere; }
  .wide, .wide caption, .wide tbody, .wide tr { display: block; }
  .wide thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .wide tr { padding: .4em 0; border-bottom: 1px solid #ccc; } .wide tr.sum { border-bottom: 2px solid #111; }
  .wide td { display: flex; min-width: 0; justify-content: space-between; gap: 1em; padding: .1em 0; border: 0; text-align: right; }
  .wide td:first-child { font-weight: 600; } .wide td:empty { display: none; }
  .wide td::before { content: attr(data-label); flex: none; font-weight: 400; text-align: left; color: #555; }
  .wide td[data-label=""]::before { content: none; }
}
"""
# The columns of each table. A mark says what is in one: numbers (#), instants (@), ids (=), which may break anywhere.
COLUMNS = {
    "credits": ("line", "#total", "#included", "#additional"),
    "features": ("feature", "#quantity", "unit", "#uses", "#credits"),
    "members": ("member", "#uses", "#credits", "#taken_back"),
    "payments": ("@paid", "=payment", "#credits", "#gross", "#tax", "back", "currency", "receipt"),
    "late": ("#cycle", "#entries", "#credits"),
    "corrections": ("@when", "=entry", "=refers_to", "#credits"),
    "left": ("kind", "#amount"),
}
MARKS = {"#": " class=n", "@": " class=t", "=": " class=id"}
NARROW = 3  # columns that a phone has room for
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


def statement_page(statement: Statement, names: PageNames, words: StatementWords = ENGLISH) -> str:
    """The page; whatever stands in the statement is text, never markup."""
    title = words.title.format(cycle=statement["cycle"])
    starts, ends = words.minute(statement["starts_at"]), words.minute(statement["ends_at"])
    parts = (
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(names.team)} <span class=quiet>({escape(statement['team_id'])})</span></p>",
        f"<p>{escape(words.period.format(starts=starts, ends=ends, plan=statement['plan']))}</p>",
        _balance(statement, words),
        *(_table(name, rows, words) for name, rows in _tables(statement, names, words).items()),
        _seal(statement, words),
    )
    return (
        f'<!doctype html>\n<html lang="{words.language}">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}, {escape(names.team)}</title>\n"
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n'
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _tables(statement: Statement, names: PageNames, words: StatementWords) -> dict[str, Iterable[Row]]:
    return {
        "features": _features(statement, words),
        "members": _members(statement, names, words),
        "payments": _payments(statement, names, words),
        "late": (tuple(one.values()) for one in statement["late"]),
        "corrections": (
            (one["at"], one["position"], one["refers_to"], one["credits"]) for one in statement["corrections"]
        ),
        "left": ((words.kinds[kind], credits) for kind, credits in statement["left"].items()),
    }


def _seal(statement: Statement, words: StatementWords) -> str:
    sealed = statement["sealed"]
    sentence = words.seal.format(
        position=sealed["position"], at=words.minute(sealed["recorded_at"]), checkpoint=sealed["checkpoint"],
        sha256=sealed["sha256"], log=statement["log"],
    )  # fmt: skip
    return f"<p class='quiet seal'>{escape(sentence)}</p>"


def _balance(statement: Statement, words: StatementWords) -> str:
    lines = words.lines
    shown = [name for name in lines if name in ALWAYS_SHOWN or set(statement[name].values()) != {"0"}]
    rows = [(lines[name], *(statement[name][part] for part in ("total", "included", "additional"))) for name in shown]
    return _table("credits", rows, words, sums=(0, len(rows) - 1))


def _features(statement: Statement, words: StatementWords) -> Iterable[Row]:
    for feature in statement["by_feature"]:
        for one in feature["components"]:
            unit = words.units.get(one["unit"], one["unit"])
            yield one["name"] or words.other, one["quantity"], unit, one["uses"], one["credits"]
        for name, quantity in feature.get("quantities", {}).items():
            unit = words_of(name, quantity)
            yield feature["name"], quantity, words.units.get(unit, unit), "", ""


def _members(statement: Statement, names: PageNames, words: StatementWords) -> Iterable[Row]:
    for one in statement["by_member"]:
        member = one["member_id"]
        name = words.nobody if member is None else names.members.get(member, member)
        yield name, one["uses"], one["used"], one["taken_back"]


def _payments(statement: Statement, names: PageNames, words: StatementWords) -> Iterable[Row]:
    for one in statement["payments"]:
        back = [
            f"{words.columns[way]} {words.number(one[way])}"
            for way in ("refunded", "disputed", "won_back")
            if one[way].strip("0.")
        ]
        address = receipt_link(names.receipts.get(one["payment"]))
        receipt = "" if address is None else _Html(f'<a href="{escape(address)}">{escape(words.receipt)}</a>')
        yield (
            one["at"], one["payment"], one["credits"], one["gross"], one["tax"], ", ".join(back),
            one["currency"].upper(), receipt,
        )  # fmt: skip


def _table(name: str, rows: Iterable[Row], words: StatementWords, *, sums: Sequence[int] = ()) -> str:
    """A table, or nothing where it has no rows. Where a phone has no room for its columns, each cell names its own."""
    marks = [column[:1] if column[:1] in MARKS else "" for column in COLUMNS[name]]
    columns = [words.columns[column.lstrip("".join(MARKS))] for column in COLUMNS[name]]
    is_wide = len(columns) > NARROW
    labels = [f' data-label="{escape(column)}"' if is_wide else "" for column in columns]
    body = [
        f"<tr role=row{' class=sum' if number in sums else ''}>{''.join(map(_cell, row, marks, labels, [words] * len(row)))}</tr>"
        for number, row in enumerate(rows)
    ]
    if not body:
        return ""
    head = "".join(
        f"<th scope=col role=columnheader{MARKS.get(mark, '')}>{escape(column)}</th>"
        if column
        else "<td role=cell></td>"
        for column, mark in zip(columns, marks, strict=True)
    )
    return (
        f"<table role=table{' class=wide' if is_wide else ''}><caption>{escape(words.tables[name])}</caption>"
        f"<thead role=rowgroup><tr role=row>{head}</tr></thead><tbody role=rowgroup>{''.join(body)}</tbody></table>"
    )


def _cell(value: object, mark: str, label: str, words: StatementWords) -> str:
    if value is None or value == "":
        text = ""
    elif mark == "#":
        text = words.number(value)
    elif mark == "@":
        text = words.minute(str(value))
    else:
        text = str(value)
    return f"<td role=cell{MARKS.get(mark, '')}{label}>{text if isinstance(value, _Html) else escape(text)}</td>"
