"""What a replay compares. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.facts import Stored
from services.store.shards import SHARDS, shard_of

EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def _no_archives(_: int) -> Iterable[list[Stored]]:
    return ()


@dataclass(frozen=True, slots=True)
class ReplayScope:
    """What is compared: one team or all, and the activity recorded from `since` on and before `until`.

    `audit`: do facts follow from facts, too? `shard`: only this one. `archived`: the facts of a shard that archives
    hold, page by page, from the first one on; the database's follow. `archives`: the digest of these archives.
    """

    team_id: str | None = None
    since: datetime = EARLIEST
    until: datetime = LATEST
    audit: bool = False
    shard: int | None = None
    archived: Callable[[int], Iterable[list[Stored]]] = _no_archives
    archives: str = ""

    @property
    def shards(self) -> Sequence[int]:
        """Those in question."""
        one = self.shard if self.team_id is None else shard_of(self.team_id)
        return range(SHARDS) if one is None else [one]


EVERYTHING = ReplayScope()
