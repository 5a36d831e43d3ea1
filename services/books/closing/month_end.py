"""What a month comes to, shard by shard: its books, the balances at its end as known then, the statements sealed in it.

Two passes over the facts of a shard: the first one finds what was sealed and what was taken back, the second one folds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from projections.balance.amending import earlier_usage
from projections.balance.state import TeamBalance
from projections.books.fold import TeamBooks
from projections.books.month import Month, MonthBooks
from projections.statements.document import Document, SealedCycle, document
from projections.statements.fold import StatementFold
from schemas.cycles import Cycle, cycle_at
from schemas.facts import RATE_CARD_TEAM, PeriodSealed, PlanAssigned, RateCardPublished, Stored, UsageVoided
from schemas.instants import instant
from schemas.places import Place
from schemas.pricing import RateCards
from schemas.rates import parse_rate_card
from services.books import statements
from services.books.closing.ledger import CoveringNote, Ledger
from services.books.folding import ShardBooks, take
from services.read_models.balances import ExactBalance
from services.read_models.history import bring_to
from services.store.shards import shard_of

SCANNED = frozenset({PeriodSealed.type, PlanAssigned.type, UsageVoided.type})


@dataclass(slots=True)
class ShardScan:
    """What the first pass finds: seals of the month, each team's first plan, and what is taken back at some time."""

    seals: list[tuple[PeriodSealed, Stored]] = field(default_factory=list)
    plans: dict[str, PlanAssigned] = field(default_factory=dict)
    voided: set[tuple[str, int]] = field(default_factory=set)


@dataclass(slots=True)
class SealedStatement:
    """A statement in the making: the cycle, the note that covers its seal, and the fold up to the seal."""

    sealed: SealedCycle
    note: CoveringNote
    fold: StatementFold


@dataclass(slots=True)
class ShardAtEnd:
    """What a shard comes to at the month's end."""

    balances: list[ExactBalance] = field(default_factory=list)
    statements: list[tuple[Document, CoveringNote]] = field(default_factory=list)
    unsigned: list[Place] = field(default_factory=list)  # seals that no note covers


async def read_cards(ledger: Ledger) -> RateCards | None:
    """The rate cards that were published before the month's end; None where there was none yet."""
    cards = []
    async for page in ledger.facts(shard_of(RATE_CARD_TEAM)):
        for stored in page:
            if stored.type == RateCardPublished.type:
                fact = stored.fact()
                assert isinstance(fact, RateCardPublished), "by its type"
                cards.append(parse_rate_card(fact.card))
    return RateCards(cards) if cards else None


async def end_of_shard(ledger: Ledger, shard: int, books: MonthBooks, cards: RateCards | None, log: str) -> ShardAtEnd:
    """Count a shard into the books of the month; its balances and statements.

    Raises:
        LogChanged: a fact is missing, can't be read, or speaks of one that is not there.
        OSError: an archive can't be read.
    """
    month, result = books.month, ShardAtEnd()
    scan = await _scan(ledger, shard, month)
    making = await _statements_of(ledger, shard, scan, result)
    folded = ShardBooks(frozenset(scan.voided))
    ends = _BalancesAtEnd(folded, month.ends_at)
    async for page in ledger.facts(shard):
        for stored in page:
            ends.before(stored)
            books.add(take(folded, stored))
        _tell(making, page)
    for _, team in sorted(folded.teams.items()):
        books.close(team)
    result.balances = list(ends.balances(shard))
    for _, of_team in sorted(making.items()):
        result.statements += [(_document(one, cards, log), one.note) for one in of_team]
    return result


async def _scan(ledger: Ledger, shard: int, month: Month) -> ShardScan:
    scan = ShardScan()
    async for page in ledger.facts(shard):
        for stored in page:
            if stored.type not in SCANNED:
                continue
            match fact := stored.fact():
                case PeriodSealed() if stored.recorded_at >= month.starts_at:
                    scan.seals.append((fact, stored))
                case PlanAssigned():
                    scan.plans.setdefault(stored.team_id, fact)
                case UsageVoided():
                    scan.voided.add((stored.team_id, fact.usage_position))
                case _:
                    pass  # a seal of a month before
    return scan


async def _statements_of(
    ledger: Ledger, shard: int, scan: ShardScan, result: ShardAtEnd
) -> dict[str, list[SealedStatement]]:
    """The statements to make, by team; a seal without a note has none yet."""
    notes = await ledger.notes(shard, [stored.position for _, stored in scan.seals])
    making: dict[str, list[SealedStatement]] = {}
    for fact, stored in scan.seals:
        place, note = Place(stored.shard, stored.position), notes.get(stored.position)
        if note is None:
            result.unsigned.append(place)
            continue
        cycle, plan = Cycle(fact.cycle, fact.starts_at, fact.ends_at), scan.plans[stored.team_id]
        sealed = SealedCycle(cycle, place, instant(stored.recorded_at), note.number, note.sha256)
        fold = StatementFold(cycle, partial(cycle_at, plan.anchor, plan.zone), TeamBalance(stored.team_id))
        making.setdefault(stored.team_id, []).append(SealedStatement(sealed, note, fold))
    return making


def _tell(making: Mapping[str, Sequence[SealedStatement]], page: Iterable[Stored]) -> None:
    """Tell the statements of each team its facts on this page, up to their seals."""
    by_team: dict[str, list[Stored]] = {}
    for stored in page:
        if stored.team_id in making:
            by_team.setdefault(stored.team_id, []).append(stored)
    for team_id, stored_facts in by_team.items():
        for one in making[team_id]:
            last = one.sealed.place.position
            statements.take(one.fold, [stored for stored in stored_facts if stored.position <= last])


def _document(one: SealedStatement, cards: RateCards | None, log: str) -> Document:
    one.fold.close()
    names = statements.feature_names(one.fold, cards, one.sealed.cycle.ends_at)
    return document(log, one.sealed, one.fold, names)


class _BalancesAtEnd:
    """The balances at an instant, of teams that are folded beside it.

    What happened after the instant is recorded before it where a clock is ahead, by minutes. It does not count, so from
    the first such fact on a team is folded apart, without them.
    """

    def __init__(self, folded: ShardBooks, at: datetime) -> None:
        self._folded, self._at = folded, at
        self._plans: dict[str, tuple[str, PlanAssigned]] = {}
        self._apart: dict[str, ShardBooks] = {}
        self._later: set[tuple[str, int]] = set()

    def before(self, stored: Stored) -> None:
        """Told of each fact before it is folded."""
        team_id = stored.team_id
        if stored.type == PlanAssigned.type and stored.occurred_at <= self._at:
            fact = stored.fact()
            assert isinstance(fact, PlanAssigned), "by its type"
            self._plans[team_id] = stored.id, fact
        if team_id not in self._apart and stored.occurred_at > self._at and team_id != RATE_CARD_TEAM:
            team = self._folded.teams.get(team_id) or TeamBooks(TeamBalance(team_id))
            paid = {key: lots for key, lots in self._folded.paid.items() if key[0] == team_id}
            self._apart[team_id] = ShardBooks(self._folded.voided, {team_id: deepcopy(team)}, paid)
        if team_id in self._apart:
            self._take_apart(stored)

    def _take_apart(self, stored: Stored) -> None:
        earlier = earlier_usage(stored.fact())
        if stored.occurred_at > self._at or (stored.team_id, earlier) in self._later:
            self._later.add((stored.team_id, stored.position))
        else:
            take(self._apart[stored.team_id], stored)

    def balances(self, shard: int) -> Iterator[ExactBalance]:
        """Of every team that existed then, in the order of their ids; what was folded is used up."""
        for team_id, books in sorted(self._folded.teams.items()):
            apart = self._apart.get(team_id)
            team = books.team if apart is None else apart.teams[team_id].team
            if team_id in self._plans:
                yield bring_to(team, shard, self._at, self._plans[team_id])
