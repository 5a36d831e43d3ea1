"""An instant as everybody outside reads it: over HTTP, on Kafka, in notices and in signed checkpoints."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, WithJsonSchema

YEARS = (1970, 9990)  # in any zone, and with some cycles added, an instant of these has a date
OF_THESE_YEARS = r"^(19[7-9]\d|[2-8]\d{3}|9[0-8]\d{2}|99[0-8]\d|9990)-"

_LIKE_A_NUMBER = re.compile(r"[-+]?[0-9._]+(e[-+]?[0-9]+)?", re.ASCII | re.IGNORECASE).fullmatch


def instant(at: datetime) -> str:
    """RFC 3339, UTC, microseconds: `2026-11-23T10:15:30.123456Z`, always 27 characters."""
    # By position: a keyword costs an eighth of it, and the relay writes two for each fact.
    return at.astimezone(UTC).isoformat("T", "microseconds")[:26] + "Z"


def instant_or_none(at: datetime | None) -> str | None:
    """As `instant`, where there may be none."""
    return None if at is None else instant(at)


def is_meant(at: datetime) -> bool:
    """False for what no clock and no calendar has had or will have."""
    return YEARS[0] <= at.year <= YEARS[1]


def _meant(at: datetime) -> datetime:
    if not is_meant(at):
        raise ValueError(f"the year {at.year} can't be meant: write one from {YEARS[0]} to {YEARS[1]}")
    return at.astimezone(UTC)


def _no_number(value: object) -> object:
    """A number is seconds to some and milliseconds to others, so it is no instant. Raises ValueError."""
    if isinstance(value, int | float | Decimal) or (isinstance(value, str) and _LIKE_A_NUMBER(value)):
        raise ValueError(f"{str(value)[:40]} is a number: write an instant such as 2026-11-23T10:15:30Z")
    return value


GivenInstant = Annotated[
    AwareDatetime,
    BeforeValidator(_no_number),
    AfterValidator(_meant),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": OF_THESE_YEARS}),
]
