"""The tables that move with an append, made anew from the log and compared.

With the audit: whether facts follow from facts. Unlike the projections these tables stand at the head of the log, and
so does this walk. Where no audit is asked for, usage that names no hold stays in the database: it moves none of these
rows.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from projections.top_ups.state import VERSION
from schemas.facts import RATE_CARD_TEAM, AnyFact, Stored, UnknownFact
from schemas.places import Place
from schemas.pricing import RateCards
from services.audit.expected import Expected, TableRow
from services.audit.follows import TeamAudit
from services.store.connect import Connection
from services.store.read import FACT_COLUMNS, stored_of

PAGE = 5_000

_FACTS = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE shard = $1 AND position > $2 AND ($3 OR type IS DISTINCT FROM 'usage.recorded.v1'
                                            OR body IS NULL OR position('"hold_id"'::bytea IN body) > 0)
"""
FACTS = f"{_FACTS} ORDER BY position LIMIT $4"
FACTS_OF_TEAM = f"{_FACTS} AND team_id = $5 ORDER BY position LIMIT $4"

VOIDS = "SELECT {0} FROM facts WHERE shard = $1 AND type = 'usage.voided.v1'"
SAVED = "SELECT team_id, position FROM top_ups WHERE shard = $1 AND version = $2"
NOTICES = "SELECT position, team_id, type FROM notices WHERE shard = $1 ORDER BY position, type"

# Each begins with the columns that name a row: team, and what else.
TABLES: dict[str, tuple[int, str]] = {
    "teams": (1, """
        SELECT team_id, plan, plan_assigned_id, anchor, zone, allowance_credits, cycle, cycle_ends_at, sealed_cycle
        FROM teams WHERE shard = $1"""),
    "holds": (2, """
        SELECT team_id, hold_id, member_id, CASE WHEN state = 'open' THEN credits END AS credits, placed_at, expires_at, state
        FROM holds WHERE shard = $1"""),
    "member_limits": (2, """
        SELECT team_id, member_id, number, position, daily, monthly, hard FROM member_limits WHERE shard = $1"""),
    "erased_members": (2, """
        SELECT team_id, member_id, position, wholly_at FROM erased_members WHERE shard = $1"""),
    "voided_usages": (2, """
        SELECT team_id, usage_position, void_position FROM voided_usages WHERE shard = $1"""),
    "top_ups": (1, """
        SELECT team_id, position, state, enabled, due_at FROM top_ups WHERE shard = $1 AND version = {version}"""),
    "top_up_attempts": (2, """
        SELECT team_id, attempt_id::text, payment_intent_id, ended_at IS NULL AS open
        FROM top_up_attempts WHERE shard = $1"""),
    "checkouts": (2, """
        SELECT team_id, id::text, pack, credits, charge_cents, currency, taxed, keeps_card, state = 'credited' AS credited
        FROM checkouts WHERE shard = $1 AND mode = 'payment'"""),
    "stripe_customers": (1, """
        SELECT team_id, customer_id, payment_method_id FROM stripe_customers
        WHERE shard = $1 AND payment_method_id IS NOT NULL"""),
}  # fmt: skip

MAY_BE_MISSING = frozenset({"stripe_customers"})  # the log alone says whose card is charged

# What a fold raises at facts and rows that no code of ours wrote. It is a finding, and the rest is read all the same.
UNFOLDABLE = (UnknownFact, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError)

Differs = Callable[[str, str, str, str, object, object], None]  # team, table, row, column, should be, is


class AuditFinding(NamedTuple):
    """A fact that can't be read, or does not follow from those before it."""

    team_id: str
    place: str
    what: str

    def __str__(self) -> str:
        """A sentence that names the place."""
        return f"{self.place}{f' of {self.team_id}' if self.team_id else ''}: {self.what}"


Finds = Callable[[AuditFinding], None]


@dataclass(slots=True)
class Examined:
    """One shard on the way: what its tables must hold, and what the audit knows of its teams."""

    shard: int
    team_id: str | None
    cards: RateCards | None
    audit: bool
    expected: Expected
    voided: dict[str, set[int]] = field(default_factory=dict)
    teams: dict[str, TeamAudit] = field(default_factory=dict)
    notices: dict[int, tuple[str, str]] = field(default_factory=dict)


async def examine_shard(
    connection: Connection,
    shard: int,
    team_id: str | None,
    *,
    cards: RateCards | None,
    audit: bool,
    differs: Differs,
    finds: Finds,
) -> None:
    """Walk one shard to its head, in the caller's snapshot.

    Says what is wrong with its rows and, with `audit`, with its facts.
    """
    saved = {row["team_id"]: row["position"] for row in await connection.fetch(SAVED, shard, VERSION)}
    mine = {team: position for team, position in saved.items() if team_id in (None, team)}
    examined = Examined(shard, team_id, cards, audit, Expected(mine))
    examined.notices = {
        row["position"]: (row["team_id"], row["type"]) for row in await connection.fetch(NOTICES, shard)
    }
    if audit:
        await _note_voids(connection, examined)
    async for facts in _facts(connection, examined):
        for stored in facts:
            _take(examined, stored, differs, finds)
    for position, (team, kind) in examined.notices.items():
        if team_id in (None, team):
            differs(team, "notices", str(Place(shard, position)), "type", "no such fact", kind)
    await _compare_all(connection, examined, differs)


def readable(stored: Stored, finds: Finds) -> AnyFact | None:
    """A fact, or None and a finding where it can't be read."""
    try:
        return stored.fact()
    except UnknownFact as unknown:
        finds(AuditFinding(stored.team_id, stored.place, str(unknown)))
    except (ValueError, TypeError) as wrong:
        why = "its body is missing" if stored.body is None else f"its body is no {stored.type}: {wrong}"
        finds(AuditFinding(stored.team_id, stored.place, why[:500]))
    return None


def unfoldable(stored: Stored, wrong: Exception) -> AuditFinding:
    """What a fold raised at a fact, as a finding."""
    if isinstance(wrong, ValueError):  # a zone or a time that no calendar has
        return AuditFinding(stored.team_id, stored.place, str(wrong)[:500])
    return AuditFinding(stored.team_id, stored.place, f"it can't be folded ({wrong!r})"[:500])


async def _note_voids(connection: Connection, examined: Examined) -> None:
    for row in await connection.fetch(VOIDS.format(FACT_COLUMNS), examined.shard):
        stored = stored_of(row)
        fact: Any = readable(stored, lambda _: None)
        if fact is not None:
            examined.voided.setdefault(stored.team_id, set()).add(fact.usage_position)


async def _facts(connection: Connection, examined: Examined) -> AsyncIterator[list[Stored]]:
    after = 0
    while True:
        if examined.team_id is None:
            rows = await connection.fetch(FACTS, examined.shard, after, examined.audit, PAGE)
        else:
            rows = await connection.fetch(FACTS_OF_TEAM, examined.shard, after, examined.audit, PAGE, examined.team_id)
        if not rows:
            return
        yield [stored_of(row) for row in rows]
        after = rows[-1]["position"]


def _take(examined: Examined, stored: Stored, differs: Differs, finds: Finds) -> None:
    notice = examined.notices.pop(stored.position, None)
    if notice is not None and notice != (stored.team_id, stored.type):
        differs(notice[0], "notices", stored.place, "fact", f"{stored.type} of {stored.team_id}", notice[1])
    fact = readable(stored, finds)
    if fact is None or stored.team_id == RATE_CARD_TEAM:
        return
    try:
        examined.expected.take(stored, fact)
        if examined.audit:
            for what in _audit_of(examined, stored.team_id).take(stored, fact):
                finds(AuditFinding(stored.team_id, stored.place, what))
    except UNFOLDABLE as wrong:
        finds(unfoldable(stored, wrong))


def _audit_of(examined: Examined, team_id: str) -> TeamAudit:
    team = examined.teams.get(team_id)
    if team is None:
        voided = frozenset(examined.voided.get(team_id, ()))
        team = examined.teams[team_id] = TeamAudit(team_id, examined.cards, voided)
    return team


async def _compare_all(connection: Connection, examined: Examined, differs: Differs) -> None:
    made = examined.expected
    rows: dict[str, Iterable[TableRow]] = {
        "teams": made.team_rows(), "holds": made.hold_rows(), "member_limits": made.limits.values(),
        "erased_members": made.erased_rows(), "voided_usages": made.void_rows(), "top_ups": made.top_up_rows(), "top_up_attempts": made.attempt_rows(),
        "checkouts": made.purchase_rows(), "stripe_customers": made.card_rows(),
    }  # fmt: skip
    for table, (keys, sql) in TABLES.items():
        should = {row[:keys]: row for row in rows[table]}
        await _compare(connection, examined, table, keys, sql.format(version=VERSION), should, differs)


async def _compare(
    connection: Connection,
    examined: Examined,
    table: str,
    keys: int,
    sql: str,
    should: dict[TableRow, TableRow],
    differs: Differs,
) -> None:
    columns: Sequence[str] = ()
    async for record in connection.cursor(in_order(sql, keys), examined.shard, prefetch=PAGE):
        columns = columns or tuple(record.keys())
        row = tuple(record.values())
        team_id, name = str(row[0]), " ".join(map(str, row[1:keys]))
        if examined.team_id not in (None, team_id):
            continue
        right = should.pop(row[:keys], None)
        if right is None:
            differs(team_id, table, name, "the row", "nothing", "a row")
            continue
        for column, expected, value in zip(columns, right, row, strict=True):
            if not _same(column, expected, value):
                differs(team_id, table, name, column, expected, value)
    for key in sorted(should if table not in MAY_BE_MISSING else (), key=str):
        differs(str(key[0]), table, " ".join(map(str, key[1:])), "the row", "a row", "missing")


def in_order(sql: str, keys: int) -> str:
    """By its first columns, which name a row: so findings come in the same order each time."""
    return f"{sql} ORDER BY {', '.join(map(str, range(1, keys + 1)))}"


def _same(column: str, expected: object, value: object) -> bool:
    if column == "number" and isinstance(expected, int) and isinstance(value, int):
        return value >= expected  # it only grows: putting a row right counts, too
    return _comparable(column, expected) == _comparable(column, value)


def _comparable(column: str, value: object) -> object:
    if column != "state" or not isinstance(value, str) or not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
