"""How much of a webhook is read of somebody who may be anybody."""

import asyncio
from collections.abc import Sequence

import pytest
from fastapi_problem.error import Problem
from starlette.requests import Request
from starlette.types import Message

from services.api.routes.webhook import BODY_MAX, read_body


def request_of(pieces: Sequence[bytes], headers: Sequence[tuple[bytes, bytes]] = ()) -> Request:
    """One whose body never ends behind these pieces."""
    waiting = iter(pieces)

    async def receive() -> Message:
        piece = next(waiting, None)
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": True}

    return Request({"type": "http", "headers": list(headers)}, receive)


async def refusal(request: Request, *, within_seconds: float = 3600) -> tuple[int | None, object]:
    """Status and code."""
    with pytest.raises(Problem) as refused:
        await read_body(request, within_seconds=within_seconds)
    return refused.value.status, refused.value.marshal()["code"]


async def test_a_body_that_does_not_come_in_time_is_given_up() -> None:
    assert await refusal(request_of([b"{"]), within_seconds=0) == (408, "too_slow")


async def test_a_body_that_is_announced_to_be_too_long_is_not_waited_for() -> None:
    length = (b"content-length", str(BODY_MAX + 1).encode())

    assert await refusal(request_of([], [length])) == (413, "too_large")


async def test_a_body_that_turns_out_to_be_too_long_is_read_no_further() -> None:
    assert await refusal(request_of([b"x" * BODY_MAX, b"x"])) == (413, "too_large")
