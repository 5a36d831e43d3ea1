"""A fact's place in the log."""

from typing import NamedTuple


class Place(NamedTuple):
    """Where a fact stands. `str()` gives what the outside knows: `shard:position`."""

    shard: int
    position: int

    def __str__(self) -> str:
        return f"{self.shard}:{self.position}"


def place_of(text: str) -> Place:
    """The place that `str()` of one names. Raises ValueError."""
    shard, position = text.split(":")
    return Place(int(shard), int(position))
