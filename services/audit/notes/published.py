"""How far the relay has published, and so how far may be signed. Pure.

What is signed can't be taken back. A standby that takes over may lack the newest facts, and they come back from the
topic alone, so the signer signs no further than the relay's checkpoint. A shard that waits and whose checkpoint has not
moved for five minutes is signed all the same: Kafka is away, and the note says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

PATIENCE_SECONDS = 300


class Bounds(NamedTuple):
    """The positions that the relay has published, and the shards that are signed beyond them."""

    published: Mapping[int, int]
    beyond: frozenset[int] = frozenset()

    def holds(self, shard: int, last: int) -> bool:
        """True where a shard that ends at `last` is not to be signed to its end yet."""
        return shard not in self.beyond and self.published.get(shard, 0) < last


@dataclass(slots=True)
class Waiting:
    """Since when each shard waits for the relay, at which position, by a clock that never goes back."""

    since: dict[int, tuple[int, float]] = field(default_factory=dict)

    def bounds(self, heads: Mapping[int, int], published: Mapping[int, int], seconds: float) -> Bounds:
        """What may be signed now; `seconds` is the time of that clock."""
        waiting = {shard: published.get(shard, 0) for shard, last in heads.items() if published.get(shard, 0) < last}
        self.since = {
            shard: before if (before := self.since.get(shard)) and before[0] == position else (position, seconds)
            for shard, position in waiting.items()
        }
        late = (shard for shard, (_, since) in self.since.items() if seconds - since >= PATIENCE_SECONDS)
        return Bounds(published, frozenset(late))
