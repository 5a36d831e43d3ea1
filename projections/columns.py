"""The fold over one shard, from columns to columns: what any engine that groups by shard can map over files.

In: the columns of `facts`, as `creditwell archive` writes them, in the order of their positions and from the first one.
Out: a row for each team. Only plain values go in and come out, so a process pool, Dask, Ray or Spark carry them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.state import ActivityKind, BalanceEntry, LotPayment, TeamBalance
from schemas.facts import RATE_CARD_TEAM, Stored

Columns = Mapping[str, Sequence[Any]]

BALANCES = ("shard", "team_id", "position", "as_of", "included", "additional", "debt")  # credits are micro-credits


@dataclass(slots=True)
class ShardFold:
    """The balances of a shard's teams, fact by fact. It remembers who paid each usage: it may be taken back."""

    teams: dict[str, TeamBalance] = field(default_factory=dict)
    _paid: dict[tuple[str, int], tuple[LotPayment, ...]] = field(default_factory=dict)

    def take(self, stored: Stored) -> list[BalanceEntry]:
        """The next fact; what it did to its team's balance.

        Raises:
            UnknownFact, ValueError: it can't be read.
            KeyError: it takes back a usage that was not before it.
        """
        if stored.team_id == RATE_CARD_TEAM:
            return []
        fact = stored.fact()
        earlier = earlier_usage(fact)
        paid = () if earlier is None else self._paid[stored.team_id, earlier]
        team = self.teams.get(stored.team_id)
        if team is None:
            team = self.teams[stored.team_id] = TeamBalance(stored.team_id)
        entries = evolve(team, stored, fact, paid, team.changed)
        for entry in entries:
            if entry.kind is ActivityKind.USAGE:
                self._paid[stored.team_id, entry.position] = entry.paid
        return entries

    def columns(self, shard: int) -> dict[str, list[Any]]:
        """A row for each team, in the order of their ids."""
        rows = [
            (shard, team.team_id, team.position, team.as_of, team.included, team.additional, team.debt)
            for _, team in sorted(self.teams.items())
        ]
        return {name: [row[at] for row in rows] for at, name in enumerate(BALANCES)}


def facts_in(page: Columns) -> Iterator[Stored]:
    """The facts in some columns."""
    return map(Stored._make, zip(*(page[name] for name in Stored._fields), strict=True))


def fold_shard(pages: Iterable[Columns]) -> dict[str, list[Any]]:
    """The balances after all facts of one shard, which come page by page.

    Raises:
        ValueError: they are of more than one shard, or a position is missing.
        Others: as `ShardFold.take`.
    """
    fold, shard, position = ShardFold(), 0, 0
    for page in pages:
        for stored in facts_in(page):
            if position and stored.shard != shard:
                message = f"facts of shards {shard} and {stored.shard} are folded together: group by shard"
                raise ValueError(message)
            shard, position = stored.shard, position + 1
            if stored.position != position:
                message = f"{stored.place} comes where {shard}:{position} should: sort by position, from the first one"
                raise ValueError(message)
            fold.take(stored)
    return fold.columns(shard)
