"""Spans of what processes do, sent to a collector where OpenTelemetry's standard variables ask for it.

Without them nothing of OpenTelemetry is loaded, and `span` gives back one object that does nothing. Whoever needs a
span around what he does writes `with span(…) as opened`. It changes no trace context by itself: what is written down in
it is carried on by `carrying(opened.traceparent)`.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Literal, Self

from prometheus_client import CollectorRegistry

from services.runtime.logs import get_log
from services.runtime.tracing.context import current_trace

SpanRole = Literal["server", "client", "producer", "consumer", "internal"]
PROTOCOL = "http/protobuf"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


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
    return _opener(name, role, parent or current_trace())


def open_spans_with(opener: SpanOpener | None) -> None:
    """From now on `span` opens spans so."""
    global _opener  # noqa: PLW0603 - as the log, it is one for a process, from its start to its end
    _opener = opener


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for spans that can be sent; warns of what can't be done."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter not in ("", "otlp", "none"):
        get_log().warning("no spans are sent: OTEL_TRACES_EXPORTER may be otlp or none", exporter=exporter)
        return False
    if exporter == "none" or not (exporter or any(environment.get(name) for name in ENDPOINTS)):
        return False
    protocol = next((environment[name] for name in PROTOCOLS if environment.get(name)), PROTOCOL)
    if protocol != PROTOCOL:
        get_log().warning(f"no spans are sent: OTEL_EXPORTER_OTLP_PROTOCOL may be {PROTOCOL}", protocol=protocol)
    return protocol == PROTOCOL


@asynccontextmanager
async def spans_sent(
    process: str, registry: CollectorRegistry, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[None]:
    """Spans are sent meanwhile, if somebody asks for them and OpenTelemetry is installed."""
    if not wanted(environment):
        yield
        return
    try:
        from services.runtime.tracing.exporting import SpanSender

        sender = SpanSender(process, registry, environment)
    except ImportError as missing:
        get_log().warning("no spans are sent: pip install 'creditwell[otel]'", why=str(missing))
        yield
        return
    except ValueError as wrong:
        get_log().warning("no spans are sent: a variable of OpenTelemetry is wrong", why=str(wrong))
        yield
        return
    open_spans_with(sender.open)
    try:
        yield
    finally:
        open_spans_with(None)
        await sender.finish()
