"""Statements: which cycles of a team are sealed, and what happened in one.

A statement exists when its cycle is sealed and a signed note covers the seal. From then on its bytes are the same for
whoever makes it: it follows from the facts up to the seal, and names the first note that covers them.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

from projections.balance.state import TeamBalance
from projections.statements.document import Document, FeatureNames, SealedCycle, document
from projections.statements.fold import StatementFold
from schemas.cycles import Cycle, cycle, cycle_at
from schemas.facts import CreditsPurchased, CreditsToppedUp, PeriodSealed, PlanAssigned, Stored, UnknownFact
from schemas.instants import instant
from schemas.places import Place, place_of
from schemas.pricing import NotPriced, RateCards
from services.money.payment_details import read_details
from services.runtime.errors import LogChanged, Refused
from services.store.protocols import Reads
from services.store.read import FACT_COLUMNS, READ_TEAM, stored_of
from services.store.shards import shard_of

PAGE = 1_000  # facts between two chances for others to run; plain usage takes two microseconds each

# Plans and seals alone, of which a team has some twenty a year, through the index of facts that are not work.
CYCLES = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE shard = $1 AND team_id = $2 AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
      AND type IN ('plan.assigned.v1', 'period.sealed.v1')
    ORDER BY position
"""
COVER = """
    SELECT seal.position, covering.number, note.note
    FROM unnest($2::bigint[]) AS seal (position)
    CROSS JOIN LATERAL (
        SELECT number FROM signed_shards WHERE shard = $1 AND last >= seal.position ORDER BY last LIMIT 1
    ) AS covering
    JOIN signed_checkpoints AS note USING (number)
"""
LOG = "SELECT value FROM store_constants WHERE name = 'log'"


class TeamCycles(NamedTuple):
    """A team's cycles: the plan that says when they begin, its first, and the seals, each with its place."""

    team_id: str
    plan: PlanAssigned
    first: int
    seals: dict[int, tuple[PeriodSealed, Stored]]
    notes: dict[int, tuple[int, str]]  # number and SHA-256 of the note that covers a position

    def sealed(self, number: int) -> SealedCycle | None:
        """A cycle that has a statement; None for one that has none, or none yet."""
        fact, stored = self.seals.get(number, (None, None))
        if fact is None or stored is None or stored.position not in self.notes:
            return None
        whole = Cycle(number, fact.starts_at, fact.ends_at)
        note = self.notes[stored.position]
        return SealedCycle(whole, Place(stored.shard, stored.position), instant(stored.recorded_at), *note)

    def number_at(self, at: datetime) -> int:
        """The cycle that an instant lies in."""
        return cycle_at(self.plan.anchor, self.plan.zone, at)


async def read_cycles(connection: Reads, team_id: str) -> TeamCycles | None:
    """The cycles of a team; None for a team that does not exist."""
    shard = shard_of(team_id)
    facts = [stored_of(row) for row in await connection.fetch(CYCLES, shard, team_id)]
    plans = [(stored, fact) for stored in facts if isinstance(fact := stored.fact(), PlanAssigned)]
    if not plans:
        return None
    first, plan = plans[0]
    seals = {fact.cycle: (fact, stored) for stored in facts if isinstance(fact := stored.fact(), PeriodSealed)}
    notes = await covering_notes(connection, shard, [stored.position for _, stored in seals.values()])
    return TeamCycles(team_id, plan, cycle_at(plan.anchor, plan.zone, first.occurred_at), seals, notes)


async def covering_notes(connection: Reads, shard: int, positions: Sequence[int]) -> dict[int, tuple[int, str]]:
    """The first signed note that covers each of these positions of a shard: its number, and the SHA-256 of its text."""
    rows = await connection.fetch(COVER, shard, positions)
    return {row["position"]: (row["number"], sha256(row["note"].encode()).hexdigest()) for row in rows}


def sealed_cycles(cycles: TeamCycles) -> Sequence[SealedCycle]:
    """Those that have a statement, the newest first."""
    return [one for number in sorted(cycles.seals, reverse=True) if (one := cycles.sealed(number)) is not None]


def find_sealed(cycles: TeamCycles, number: int, grace: timedelta) -> SealedCycle:
    """The cycle of this number.

    Raises:
        Refused: `not_sealed_yet`, and when it will be; `unknown_cycle`, before the team existed or after the calendar.
    """
    if number < cycles.first:
        raise Refused("unknown_cycle", f"the first cycle of {cycles.team_id} is {cycles.first}")
    sealed = cycles.sealed(number)
    if sealed is not None:
        return sealed
    if number in cycles.seals:
        raise Refused(
            "not_sealed_yet", f"cycle {number} is sealed, and no signed checkpoint covers it yet; ask in a minute"
        )
    try:
        due = cycle(cycles.plan.anchor, cycles.plan.zone, number).ends_at + grace
    except (ValueError, OverflowError) as never:
        raise Refused("unknown_cycle", f"cycle {number} of {cycles.team_id} lies outside the calendar") from never
    raise Refused("not_sealed_yet", f"cycle {number} is not sealed yet; it will be from {instant(due)} on")


async def make_statement(
    connection: Reads, cycles: TeamCycles, sealed: SealedCycle, cards: RateCards | None
) -> Document:
    """The statement of a sealed cycle.

    Raises:
        LogChanged: a fact can't be read, or speaks of one that is not there.
    """
    fold = StatementFold(sealed.cycle, cycles.number_at, TeamBalance(cycles.team_id))
    shard, until = sealed.place
    after = 0
    while after < until:
        rows = await connection.fetch(READ_TEAM, shard, cycles.team_id, after, PAGE)
        take(fold, [stored for stored in map(stored_of, rows) if stored.position <= until])
        after = rows[-1]["position"] if len(rows) == PAGE else until
        await asyncio.sleep(0)
    fold.close()
    log = await connection.fetchrow(LOG)
    return document("" if log is None else log["value"], sealed, fold, feature_names(fold, cards, sealed.cycle.ends_at))


async def receipts_of(connection: Reads, team_id: str, statement: Document) -> dict[str, str | None]:
    """Where the receipts of a statement's payments are, by payment. They are no part of it: Stripe may move them."""
    details = await read_details(connection, team_id, [payment["payment"] for payment in statement["payments"]])
    receipts = {payment: detail.receipt_url for payment, detail in details.items()}
    for payment in statement["payments"]:
        shard, position = place_of(payment["position"])
        row = await connection.fetchrow(READ_TEAM, shard, team_id, position - 1, 1)
        fact = None if row is None else stored_of(row).fact()
        if isinstance(fact, CreditsPurchased | CreditsToppedUp) and fact.receipt_url is not None:
            receipts[payment["payment"]] = fact.receipt_url  # of an earlier build
    return receipts


def take(fold: StatementFold, stored_facts: Sequence[Stored]) -> None:
    """Tell a statement the team's next facts. Raises LogChanged."""
    for stored in fold.take_plainly(stored_facts):
        try:
            fold.take(stored)
        except (UnknownFact, ValueError, KeyError) as error:
            message = f"the fact at {stored.place} can't be read ({error!r}); run `creditwell replay --audit`"
            raise LogChanged(message) from error


def feature_names(fold: StatementFold, cards: RateCards | None, at: datetime) -> FeatureNames:
    """Names and units by the card in force at the cycle's end; a feature that it has no more keeps its id."""
    names: dict[str, tuple[str, str]] = {}
    if cards is None:
        return names
    for feature in fold.lines.by_feature:
        try:
            named = cards.in_force(at - timedelta(microseconds=1)).find(feature).feature
        except NotPriced:
            continue
        names[feature] = named.name, named.units[1]
    return names
