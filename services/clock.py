"""The time, as an argument: tests pass their own."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Now, in UTC. What is decided in the store goes by the database's clock instead."""
    return datetime.now(UTC)
