"""What the log says beyond the projections: so that activity and usage, too, are exact at the head when they are read.

A read takes the rows up to a position, and folds the team's facts after it. Facts never change and rows are only added,
so it does not matter how far the projector gets meanwhile.
"""

from typing import NamedTuple

from projections.balance.state import TeamBalance
from services.read_models.balances import StoredEntry, fold, read_exact
from services.store.protocols import Reads
from services.store.shards import shard_of


class Unfolded(NamedTuple):
    """Rows of the projections count up to `reached`.

    The rest, oldest first, is `entries`, and leaves the team as `team`.
    """

    shard: int
    reached: int
    entries: list[StoredEntry]
    team: TeamBalance

    @property
    def position(self) -> int:
        """Everything of the team up to here has been taken into account."""
        return max(self.reached, self.team.position)


async def read_unfolded(connection: Reads, team_id: str) -> Unfolded:
    """The entries that the projections do not have yet.

    Raises:
        Unavailable: more facts wait to be folded than a read may fold (`catching_up`).
    """
    exact = await read_exact(connection, team_id)
    entries = await fold(connection, exact.team, exact.newer)
    return Unfolded(shard_of(team_id), exact.folded, entries, exact.team)
