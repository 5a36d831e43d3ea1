"""What answers are made of: credits as decimal strings, times in UTC with microseconds, JSON bytes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

JSON = "application/json"


def instant(at: datetime) -> str:
    """RFC 3339, UTC, microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def instant_or_none(at: datetime | None) -> str | None:
    """As `instant`, where there may be none."""
    return None if at is None else instant(at)


def answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that nobody may keep: what it says was true when it was asked for."""
    return Response(to_json(content), status, {"cache-control": "no-store", **(headers or {})}, JSON)


def place(shard: int, position: int) -> str:
    """A position as the outside knows it."""
    return f"{shard}:{position}"


Json = dict[str, Any]
