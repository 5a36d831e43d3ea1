"""What answers are made of: times that may be none, JSON bytes that nobody may keep."""

from collections.abc import Mapping

from pydantic_core import to_json
from starlette.responses import Response

from services.api.wording.values import Json, instant_or_none

JSON = "application/json"
__all__ = ["JSON", "Json", "answer", "instant_or_none"]


def answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that nobody may keep: what it says was true when it was asked for."""
    return Response(to_json(content), status, {"cache-control": "no-store", **(headers or {})}, JSON)
