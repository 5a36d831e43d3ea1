"""What the log says beyond the projections: so that activity and usage, too, are exact at the head when they are read.

A read takes the rows up to a position, and folds the team's facts after it. Facts never change and rows are only added, so
it does not matter how far the projector gets meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from projections.balance import Entry, Kind, Lot, Paid, TeamBalance, evolve
from schemas.facts import AnyFact, Stored, UsageVoided
from services.errors import Unavailable
from services.store.balances import TAIL_MAX, load, paid_for
from services.store.connect import Connection
from services.store.read import read_team
from services.store.shards import shard_of

FOLDED = "SELECT position FROM checkpoints WHERE reader = 'projector' AND shard = $1"
LIVE = "SELECT version FROM projections WHERE name = 'balance'"


class Told(NamedTuple):
    """An entry with the fact that it comes from."""

    stored: Stored
    fact: AnyFact
    entry: Entry


@dataclass(slots=True)
class Tail:
    """Rows of the projections count up to `reached`; the rest, oldest first, is `told`."""

    shard: int
    reached: int
    told: list[Told] = field(default_factory=list)
    team: TeamBalance | None = None

    @property
    def position(self) -> int:
        """Everything of the team up to here has been taken into account."""
        return self.reached if self.team is None else max(self.reached, self.team.position)


async def read_tail(connection: Connection, team_id: str) -> Tail:
    """The entries that the projections do not have yet.

    Raises:
        Unavailable: more facts wait to be folded than a read may fold (`catching_up`).
    """
    shard = shard_of(team_id)
    folded = await connection.fetchval(FOLDED, shard) or 0
    facts = await read_team(connection, shard, team_id, folded, TAIL_MAX + 1)
    if not facts:
        return Tail(shard, folded)
    if len(facts) > TAIL_MAX:
        raise Unavailable(f"catching_up: more than {TAIL_MAX} facts of {team_id} wait to be folded")
    version = await connection.fetchval(LIVE)
    team = (await load(connection, [(shard, team_id)], version))[team_id]
    reached = max(folded, team.position)
    told = await fold(connection, team, [stored for stored in facts if stored.position > reached])
    return Tail(shard, reached, told, team)


async def fold(connection: Connection, team: TeamBalance, facts: Sequence[Stored]) -> list[Told]:
    """Take a state over facts, keeping what each did."""
    told: list[Told] = []
    paid_here: dict[int, tuple[Paid, ...]] = {}
    for stored in facts:
        fact = stored.fact()
        paid: tuple[Paid, ...] = ()
        lots: dict[int, Lot] = {}
        if isinstance(fact, UsageVoided):
            if fact.usage_position in paid_here:
                paid = paid_here[fact.usage_position]
            else:
                paid, lots = await paid_for(connection, stored.shard, team.team_id, fact.usage_position, None)
        for entry in evolve(team, stored, fact, paid, {**lots, **team.changed}):
            told.append(Told(stored, fact, entry))
            if entry.kind is Kind.USAGE:
                paid_here[entry.position] = entry.paid
    return told
