"""Waiting for what other processes do: asked again and again because a database sends no word, but never without an end."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

LOOK_SECONDS = 0.02

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]], *, within: float = 60, what: str = "") -> T:
    """The first true answer of `look`; an AssertionError naming `what` when it does not come in time."""
    deadline = time.monotonic() + within
    while not (answer := await look()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not within {within:.0f} s: {what or look.__qualname__}; the last answer was {answer!r}"
            )
        await asyncio.sleep(LOOK_SECONDS)
    return answer
