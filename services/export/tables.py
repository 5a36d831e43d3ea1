"""The rows of each kind of export, shard by shard, in one order: of the log, or of the teams' ids."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from projections.activity import entries_between
from projections.balance.state import ActivityKind
from projections.versions import live
from schemas.facts import (
    AnyFact,
    CreditsPurchased,
    CreditsToppedUp,
    HoldCaptured,
    UnknownFact,
    UsageRecorded,
    decode,
)
from schemas.places import Place
from services.export.columns import ColumnType, ExportedColumn, Row
from services.export.files import FileFormat
from services.export.manifest import ExportRequest, ShardSpan, Sums
from services.read_models.balances import ExactBalance
from services.read_models.history import balances_as_of
from services.runtime.errors import LogChanged
from services.store.connect import Connection
from services.store.read import FACT_COLUMNS

PAGE = 5_000
INTEGER, CREDITS, FLAG, INSTANT, TEXT = (
    ColumnType.INTEGER, ColumnType.CREDITS, ColumnType.FLAG, ColumnType.INSTANT, ColumnType.TEXT,
)  # fmt: skip

Rows = AsyncIterator[list[Row]]


@dataclass(frozen=True, slots=True)
class Table:
    """A kind of export.

    Attributes:
        name: as the command line has it, and the folder of its files.
        columns: in their order.
        formats: how it can be written.
        rows: what a part of a shard has, page by page.
        by_month: its files are parted by the month in which facts were recorded (UTC).
        folded: it is read from projections, and goes no further than these.
    """

    name: str
    columns: Sequence[ExportedColumn]
    formats: Sequence[FileFormat]
    rows: Callable[[Connection, ShardSpan, ExportRequest], Rows]
    by_month: bool = True
    folded: bool = False

    def sums(self, rows: Sequence[Row]) -> Sums:
        """What some rows come to."""
        names = [column.name for column in self.columns]
        sums = Sums(len(rows))
        if "credits" in names:
            at = names.index("credits")
            sums.credits = sum(int(str(row[at])) for row in rows)
        if "charge_cents" in names:
            cents, currency = names.index("charge_cents"), names.index("currency")
            for row in rows:
                if row[cents] is not None:
                    money = str(row[currency])
                    sums.money[money] = sums.money.get(money, 0) + int(str(row[cents]))
        return sums

    @property
    def recorded(self) -> int:
        """Where the column is by whose month its files are parted."""
        return [column.name for column in self.columns].index("recorded_at")

    def has(self, name: str) -> bool:
        """Whether it has a column of this name."""
        return any(column.name == name for column in self.columns)


EVENTS_OF = f"""
    SELECT {FACT_COLUMNS}, leaf FROM facts
    WHERE shard = $1 AND position > $2 AND position <= $3 AND ($4::text IS NULL OR team_id = $4)
    ORDER BY position LIMIT $5
"""
BLOCKS_OF = """
    SELECT shard, first, last, root, hash FROM blocks
    WHERE shard = $1 AND last > $2 AND last <= $3 AND first >= $4 ORDER BY last LIMIT $5
"""
ENTRIES_OF = live(f"""
    WITH page AS MATERIALIZED (
        SELECT {FACT_COLUMNS} FROM facts
        WHERE shard = $1 AND position > $2 AND position <= $3 AND ($4::text IS NULL OR team_id = $4)
        ORDER BY position LIMIT $5
    ), teams AS (
        SELECT team_id, min(position) AS low, max(position) AS high FROM page GROUP BY team_id
    )
    SELECT f.*, a.part, a.kind, a.member_id, a.feature, a.included, a.additional, a.balance_after, a.late
    FROM page AS f
    LEFT JOIN (
        SELECT a.* FROM teams
        CROSS JOIN LATERAL ({entries_between("$1", "teams.team_id", "teams.low", "teams.high")}) AS a
    ) AS a ON a.team_id = f.team_id AND a.position = f.position
    ORDER BY f.position, a.part
""")


async def _events(connection: Connection, span: ShardSpan, request: ExportRequest) -> Rows:
    after = span.first - 1
    while rows := await connection.fetch(EVENTS_OF, span.shard, after, span.last, request.team, PAGE):
        if request.team is None and rows[-1]["position"] != after + len(rows):
            message = f"shard {span.shard} lacks a position after {after}: a fact was removed; run `creditwell verify`"
            raise LogChanged(message)
        yield list(map(tuple, rows))
        after = rows[-1]["position"]


async def blocks_of(connection: Connection, span: ShardSpan, until: int) -> Rows:
    """The blocks of a part of a shard that lie wholly in it, and those after it up to `until`."""
    after = span.first - 1
    while rows := await connection.fetch(BLOCKS_OF, span.shard, after, until, span.first, PAGE):
        yield list(map(tuple, rows))
        after = rows[-1]["last"]


async def _entries(connection: Connection, span: ShardSpan, request: ExportRequest) -> Rows:
    after = span.first - 1
    while rows := await connection.fetch(ENTRIES_OF, span.shard, after, span.last, request.team, PAGE):
        yield [_entry(row) for row in rows if row["part"] is not None]
        after = rows[-1]["position"]


def _entry(row: Any) -> Row:
    shard, position, recorded_at, occurred_at, team_id, source, fact_id, fact_type, body, part, kind, *entry = row
    member_id, feature, included, additional, balance_after, late = entry
    place = Place(shard, position)
    try:
        fact = decode(fact_type, body)
    except (UnknownFact, ValueError, TypeError) as error:
        message = f"the fact at {place} can't be read ({error}); run `creditwell verify`"
        raise LogChanged(message) from error
    return (
        shard, position, part, f"{place}:{part}", recorded_at, occurred_at, team_id, kind, member_id, feature,
        included + additional, included, additional, balance_after, late, fact_type, source, fact_id,
        *_used(kind, fact), *_charged(kind, fact), _quantities(kind, fact),
    )  # fmt: skip


def _used(kind: str, fact: AnyFact) -> tuple[object, ...]:
    """Quantity, rate card, attributes and tier of an entry about use."""
    if kind != ActivityKind.USAGE or not isinstance(fact, UsageRecorded | HoldCaptured):
        return None, None, None, None
    attributes = dict(fact.attributes) if fact.attributes else None
    return fact.quantity, fact.rate_card, attributes, (attributes or {}).get("tier")


def _quantities(kind: str, fact: AnyFact) -> dict[str, str] | None:
    """Several quantities, where an entry is about a use that has them."""
    if kind != ActivityKind.USAGE or not isinstance(fact, UsageRecorded | HoldCaptured):
        return None
    return fact.quantities


def _charged(kind: str, fact: AnyFact) -> tuple[object, ...]:
    """What was paid for credits, and in which currency."""
    if kind not in {ActivityKind.PURCHASE, ActivityKind.TOP_UP} or not isinstance(
        fact, CreditsPurchased | CreditsToppedUp
    ):
        return None, None
    return fact.charge_cents, fact.currency


async def _balances(connection: Connection, span: ShardSpan, request: ExportRequest) -> Rows:
    assert request.at is not None, "resolved when the export began"
    at, rows = datetime.fromisoformat(request.at), list[Row]()
    async for exact in balances_as_of(connection, span.shard, at=at, known_until=span.last, team_id=request.team):
        rows.append(balance_row(exact))
        if len(rows) == PAGE:
            yield rows
            rows = []
    yield rows


def balance_row(exact: ExactBalance) -> Row:
    """A balance as a row of the table `balances`."""
    team, held = exact.team, exact.team.held(exact.at)
    return (
        exact.shard, team.team_id, exact.position, exact.at, team.plan, team.total, team.included, team.additional,
        held, team.total - held, team.debt,
    )  # fmt: skip


SHARD = ExportedColumn("shard", INTEGER, "0 to 63")
TEAM = ExportedColumn("team_id", TEXT, "whose it is")
SOURCE = ExportedColumn("source", TEXT, "who reported the fact")
PLACE = (
    SHARD,
    ExportedColumn("position", INTEGER, "place in the shard: from 1, without gaps"),
)
TIMES = (
    ExportedColumn("recorded_at", INSTANT, "when it was stored"),
    ExportedColumn("occurred_at", INSTANT, "when it happened"),
)
EVENT_COLUMNS = (
    *PLACE,
    *TIMES,
    TEAM,
    SOURCE,
    ExportedColumn("id", TEXT, "its name there; team, source and id identify a fact"),
    ExportedColumn("type", TEXT, "what happened: docs/facts.md"),
    ExportedColumn("body", ColumnType.JSON, "the bytes as they were stored"),
    ExportedColumn("leaf", ColumnType.BYTES, "SHA-256 over all other columns: docs/log-format.md"),
)
BLOCK_COLUMNS = (
    SHARD,
    ExportedColumn("first", INTEGER, "its first position"),
    ExportedColumn("last", INTEGER, "its last position"),
    ExportedColumn("root", ColumnType.BYTES, "Merkle root over the leaves of its facts"),
    ExportedColumn("hash", ColumnType.BYTES, "its link in the chain of the shard"),
)
ENTRY_COLUMNS = (
    *PLACE,
    ExportedColumn("part", INTEGER, "which of the fact's entries, from 0"),
    ExportedColumn("id", TEXT, "as the API calls it: shard:position:part"),
    *TIMES,
    TEAM,
    ExportedColumn("type", TEXT, "of the entry: usage, purchase, refill …"),
    ExportedColumn("member_id", TEXT, "who did it, where that is known"),
    ExportedColumn("feature", TEXT, "what was used"),
    ExportedColumn("credits", CREDITS, "the change of the balance"),
    ExportedColumn("included", CREDITS, "its part of the included credits"),
    ExportedColumn("additional", CREDITS, "its part of the additional credits"),
    ExportedColumn("balance_after", CREDITS, "the team's balance after it"),
    ExportedColumn("late", FLAG, "it came after its cycle was sealed, and counts in the open one"),
    ExportedColumn("fact_type", TEXT, "of the fact that it follows from"),
    SOURCE,
    ExportedColumn("fact_id", TEXT, "its name there"),
    ExportedColumn("quantity", TEXT, "what was used, an exact decimal"),
    ExportedColumn("rate_card", INTEGER, "the rate card by which it was priced"),
    ExportedColumn("attributes", ColumnType.TEXTS, "attributes of the usage"),
    ExportedColumn("tier", TEXT, "the attribute of that name"),
    ExportedColumn("charge_cents", INTEGER, "what was charged for these credits, in the minor unit of the currency"),
    ExportedColumn("currency", TEXT, "of the charge"),
    ExportedColumn("quantities", ColumnType.TEXTS, "what was used, by name, where it has several quantities"),
)
BALANCE_COLUMNS = (
    SHARD,
    TEAM,
    ExportedColumn("position", INTEGER, "of the last fact that counts in it"),
    ExportedColumn("at", INSTANT, "the moment"),
    ExportedColumn("plan", TEXT, "in force then"),
    ExportedColumn("credits", CREDITS, "the balance"),
    ExportedColumn("included", CREDITS, "its part of the included credits"),
    ExportedColumn("additional", CREDITS, "its part of the additional credits; negative where there is debt"),
    ExportedColumn("held", CREDITS, "set aside by holds"),
    ExportedColumn("available", CREDITS, "the balance without what is held"),
    ExportedColumn("debt", CREDITS, "what was used and nothing could pay"),
)
ALL = (FileFormat.CSV, FileFormat.JSONL, FileFormat.PARQUET)
EVENTS = Table("events", EVENT_COLUMNS, (FileFormat.JSONL, FileFormat.PARQUET), _events)
TABLES = {
    table.name: table
    for table in (
        EVENTS,
        Table("entries", ENTRY_COLUMNS, ALL, _entries, folded=True),
        Table("balances", BALANCE_COLUMNS, ALL, _balances, by_month=False),
    )
}
