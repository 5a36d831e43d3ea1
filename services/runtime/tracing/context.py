"""In which trace something is done: a W3C trace context of whoever caused it, if there is one.

It is set where something begins (a request, a look at a team) and read where something is written down: beside a fact
that is appended, and in the lines of the log, as `trace_id`. It decides nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog

_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def current_trace() -> str | None:
    """The trace context (`00-trace-span-flags`) in which this is done."""
    return _current.get()


def trace_id(traceparent: str) -> str:
    """The 32 digits by which tools find a trace."""
    return traceparent[3:35]


@contextmanager
def carrying(traceparent: str | None) -> Iterator[None]:
    """Do something in this trace; in the one that there is, where it is None."""
    if traceparent is None:
        yield
        return
    before = _current.set(traceparent)
    try:
        with structlog.contextvars.bound_contextvars(trace_id=trace_id(traceparent)):
            yield
    finally:
        _current.reset(before)
