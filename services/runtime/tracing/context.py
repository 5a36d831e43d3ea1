"""By what one finds again whatever came of a request: its trace (W3C), the id that its caller gave it, or both.

It is set where something begins (a request, a look at a team) and read where something is written down: beside a fact
that is appended, and in the lines of the log, as `trace_id` and `request_id`. It decides nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import structlog

from schemas.cloudevents import REQUEST_ID, TRACEPARENT


class Trail(NamedTuple):
    """What somebody brought along, and what comes of his doing keeps.

    Attributes:
        traceparent: a trace context (`00-trace-span-flags`).
        request_id: what the caller of the API calls his request.
    """

    traceparent: str | None = None
    request_id: str | None = None

    def within(self, traceparent: str | None) -> "Trail":
        """As it goes on in a span of ours, where one is taken down."""
        return self if traceparent is None else self._replace(traceparent=traceparent)

    def headers(self) -> list[tuple[str, str]]:
        """Of a record or a notice, for whoever reads it."""
        return [(name, text) for name, text in zip((TRACEPARENT, REQUEST_ID), self, strict=True) if text is not None]


NO_TRAIL = Trail()
_current: ContextVar[Trail] = ContextVar("trail", default=NO_TRAIL)


def current_trail() -> Trail:
    """By what this is found again."""
    return _current.get()


def trace_id(traceparent: str) -> str:
    """The 32 digits by which tools find a trace."""
    return traceparent[3:35]


@contextmanager
def carrying(trail: Trail) -> Iterator[None]:
    """Do something for whoever left this trail; for whom it is done already, where there is none."""
    if trail == NO_TRAIL:
        yield
        return
    named = {} if trail.traceparent is None else {"trace_id": trace_id(trail.traceparent)}
    if trail.request_id is not None:
        named["request_id"] = trail.request_id
    before = _current.set(trail)
    try:
        with structlog.contextvars.bound_contextvars(**named):
            yield
    finally:
        _current.reset(before)
