"""An instant as everybody outside reads it: over HTTP, on Kafka, in notices and in signed checkpoints."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime

YEARS = (1970, 9990)  # in any zone, and with some cycles added, an instant of these has a date


def instant(at: datetime) -> str:
    """RFC 3339, UTC, microseconds: `2026-11-23T10:15:30.123456Z`, always 27 characters."""
    # By position: a keyword costs an eighth of it, and the relay writes two for each fact.
    return at.astimezone(UTC).isoformat("T", "microseconds")[:26] + "Z"


def is_meant(at: datetime) -> bool:
    """False for what no clock and no calendar has had or will have."""
    return YEARS[0] <= at.year <= YEARS[1]


def _meant(at: datetime) -> datetime:
    if not is_meant(at):
        raise ValueError(f"the year {at.year} can't be meant: write one from {YEARS[0]} to {YEARS[1]}")
    return at.astimezone(UTC)


GivenInstant = Annotated[AwareDatetime, AfterValidator(_meant)]
