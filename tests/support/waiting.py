"""Waiting for what other processes do: asked again and again because a database sends no word, but never without an end.

How long is no promise of ours: a busy machine may take its time. Whoever judges a time does so in `make bench` or `make faults`.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 60.0

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]], *, within: float = PATIENCE_SECONDS, what: str = "") -> T:
    """The first true answer of `look`; an AssertionError that says what was waited for when it does not come in time."""
    answer: T | None = None
    try:
        async with asyncio.timeout(within) as patience:
            while not (answer := await look()):
                await asyncio.sleep(LOOK_SECONDS)
            return answer
    except TimeoutError:
        if not patience.expired():
            raise
        raise AssertionError(_in_vain(look, within, what, answer)) from None


def until_in_a_thread(look: Callable[[], T | None], *, within: float = PATIENCE_SECONDS, what: str = "") -> T:
    """As `until`, for tests without an event loop."""
    deadline = time.monotonic() + within
    while not (answer := look()):
        if time.monotonic() > deadline:
            raise AssertionError(_in_vain(look, within, what, answer))
        time.sleep(LOOK_SECONDS)
    return answer


def _in_vain(look: Callable[[], Any], within: float, what: str, answer: Any) -> str:
    return f"not within {within:.0f} s: {what or _words_of(look)}; the last answer was {answer!r}"


def _words_of(look: Callable[[], Any]) -> str:
    """What is asked, as it is written; a lambda's name would say nothing."""
    asked = look.func if isinstance(look, partial) else look
    if asked.__name__ == "<lambda>":
        return " ".join(inspect.getsource(asked).split())
    return asked.__qualname__
