"""A fact's place in the log."""

import re
from typing import NamedTuple

PLACE = re.compile(r"([0-9]{1,2}):([0-9]{1,19})").fullmatch
POSITION_MAX = 2**63 - 1  # the store's integers end there


class Place(NamedTuple):
    """Where a fact stands. `str()` gives what the outside knows: `shard:position`."""

    shard: int
    position: int

    def __str__(self) -> str:
        return f"{self.shard}:{self.position}"


def place_of(text: str) -> Place:
    """The place that `str()` of one names. Raises ValueError."""
    parts = PLACE(text)
    if parts is None or int(parts[2]) > POSITION_MAX:
        raise ValueError(f"{text!r:.80} is no place: write shard:position, as 31:20418")
    return Place(int(parts[1]), int(parts[2]))
