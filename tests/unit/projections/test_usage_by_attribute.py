"""Usage by attribute: what names an attribute that is counted is in its row, and what is taken back is taken out."""

from datetime import UTC, date, datetime

from projections.balance.state import ActivityKind, BalanceEntry
from projections.usage_by_attribute import AttributeCells, AttributeRow, add, add_plainly, rows

DAY, AT = date(2026, 11, 30), datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
COUNTED = ("model", "tier")


def entry(kind: ActivityKind, included: int, member_id: str | None = "mem_1") -> BalanceEntry:
    return BalanceEntry(7, 0, kind, AT, AT, member_id, "ai_image.generate", included, 0, 0, (), late=False)


def row(name: str, value: str, credits: int, uses: int, *, member: str = "mem_1", day: date = DAY) -> AttributeRow:
    return AttributeRow(3, "team_1", day, member, name, value, "ai_image.generate", credits, uses)


def test_each_attribute_that_is_counted_has_a_row_for_each_of_its_values() -> None:
    cells: AttributeCells = {}

    add_plainly(
        cells, COUNTED, (3, "team_1", DAY),
        [
            ("mem_1", "ai_image.generate", 40, {"tier": "high", "model": "cinema"}),
            ("mem_1", "ai_image.generate", 25, {"tier": "high", "voice": "cloned"}),
            (None, "ai_image.generate", 4, {"tier": "low"}),
            ("mem_1", "ai_image.generate", 10, {}),
            ("mem_1", "ai_image.generate", 10, None),
        ],
    )  # fmt: skip

    assert list(rows(cells)) == [
        row("model", "cinema", 40, 1), row("tier", "high", 65, 2), row("tier", "low", 4, 1, member=""),
    ]  # fmt: skip


def test_what_is_taken_back_is_taken_off_the_day_and_the_value_of_the_usage() -> None:
    cells: AttributeCells = {}
    team_key, attributes = (3, "team_1"), {"tier": "high"}

    add(cells, COUNTED, team_key, "Europe/Berlin", entry(ActivityKind.USAGE, -40), AT, attributes)
    add(cells, COUNTED, team_key, "Europe/Berlin", entry(ActivityKind.USAGE, -25), AT, attributes)
    add(cells, COUNTED, team_key, "Europe/Berlin", entry(ActivityKind.USAGE_VOIDED, 40), AT, attributes)

    assert list(rows(cells)) == [row("tier", "high", 25, 1, day=date(2026, 12, 1))]
