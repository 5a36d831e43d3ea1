"""What answers are made of, for whoever writes them: no web framework is needed to say what a team has."""

from datetime import datetime
from typing import Any

from schemas.instants import instant

Json = dict[str, Any]


def instant_or_none(at: datetime | None) -> str | None:
    """As `instant`, where there may be none."""
    return None if at is None else instant(at)
