"""What answers are made of: times that may be none, JSON bytes that nobody may keep."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from schemas.instants import instant

JSON = "application/json"


def instant_or_none(at: datetime | None) -> str | None:
    """As `instant`, where there may be none."""
    return None if at is None else instant(at)


def answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that nobody may keep: what it says was true when it was asked for."""
    return Response(to_json(content), status, {"cache-control": "no-store", **(headers or {})}, JSON)


Json = dict[str, Any]
