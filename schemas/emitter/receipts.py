"""What callers get back: the receipt of a report or why there is none, and what an emitter did so far."""

from dataclasses import dataclass
from datetime import datetime


class InvalidReport(ValueError):
    """A report that would be refused, today and tomorrow. The message names the argument and what to pass instead."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was reported. (team, source, id) is its identity, for ever."""

    team: str
    source: str
    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Metrics:
    """What an emitter did since it was made, and what waits."""

    reported: int
    refused: int  # invalid, or no room
    delivered: int  # those that an earlier process left, too
    put_aside: int  # what the API will never take, in refused.jsonl beside the spool
    spooled: int  # waiting now
    damaged: int  # files of the spool that could not be read to their end
    oldest_age_seconds: float | None  # of those waiting
    trouble: str | None  # why none is taken
