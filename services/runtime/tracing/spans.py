"""Spans of what processes do.

Where nobody asks for them `span` gives back one object that does nothing, and nothing of OpenTelemetry is loaded: that
is for `sending`. Whoever needs a span around what he does writes `with span(…) as opened`. It changes no trace context
by itself: what is written down in it is carried on by `carrying(trail.within(opened.traceparent))`.
"""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Literal, Self

from services.runtime.tracing.context import current_trail

SpanRole = Literal["server", "client", "producer", "consumer", "internal"]


class WorkSpan:
    """A span that is not taken down: what there is where nobody has asked for spans."""

    @property
    def traceparent(self) -> str | None:
        """Its trace context, for what comes of it; None where it is not taken down."""
        return None

    def name(self, name: str) -> None:
        """Call it otherwise, now that more is known."""

    def link(self, traces: Iterable[str]) -> None:
        """Other traces, of which something is done in it."""

    def note(self, name: str, value: str | float) -> None:
        """Say something about it."""

    def fail(self, why: str) -> None:
        """What it is about went wrong by our fault."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It is over."""


SpanOpener = Callable[[str, SpanRole, str | None], WorkSpan]
_NOBODY_ASKED = WorkSpan()
_opener: SpanOpener | None = None


def span(name: str, role: SpanRole = "internal", *, parent: str | None = None) -> WorkSpan:
    """A span that begins now.

    Args:
        name: what is done, of few kinds.
        role: on which side of what connection.
        parent: the trace context in which it is done; that of here, where it is None.
    """
    if _opener is None:
        return _NOBODY_ASKED
    return _opener(name, role, parent or current_trail().traceparent)


def open_spans_with(opener: SpanOpener | None) -> None:
    """From now on `span` opens spans so."""
    global _opener  # noqa: PLW0603 - as the log, it is one for a process, from its start to its end
    _opener = opener
