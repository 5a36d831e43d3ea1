"""Spans on their way to a collector, by OpenTelemetry's library and its standard variables.

The library sends from a thread of its own. What waits for it is bounded (OTEL_BSP_MAX_QUEUE_SIZE, 2,048): while a
collector is away, spans are dropped and counted, and nobody waits for it, also not at the end of a process. The extra
`otel` brings the library; nothing else may import this module but `sending`, once it is asked for.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from threading import Thread
from types import TracebackType

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as ApiSpan
from prometheus_client import CollectorRegistry, Counter

from services.runtime.tracing.spans import SpanRole, WorkSpan

LINKS_MAX = 128  # the library keeps no more
QUEUE, QUEUE_MAX = "OTEL_BSP_MAX_QUEUE_SIZE", 2_048
BATCH, BATCH_MAX = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512
GOODBYE_SECONDS = 1.0
KINDS: Mapping[SpanRole, SpanKind] = {
    "server": SpanKind.SERVER, "client": SpanKind.CLIENT, "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER, "internal": SpanKind.INTERNAL,
}  # fmt: skip


class SpanSender:
    """What opens spans for a process and sends them, until it finishes."""

    def __init__(
        self,
        process: str,
        registry: CollectorRegistry,
        environment: Mapping[str, str],
        exporter: SpanExporter | None = None,
    ) -> None:
        """`exporter` sends elsewhere than the variables say. Raises ValueError: one of the variables is no number."""
        counted = Counter(
            "creditwell_spans", "Spans, by what became of them: sent, lost (the collector did not take them), dropped",
            ["outcome"], registry=registry,
        )  # fmt: skip
        named = "OTEL_SERVICE_NAME" in environment or f"{SERVICE_NAME}=" in environment.get(
            "OTEL_RESOURCE_ATTRIBUTES", ""
        )
        resource = Resource.create({} if named else {SERVICE_NAME: f"creditwell-{process}"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        counting = _Counting(exporter or OTLPSpanExporter(), counted)
        most = int(environment.get(QUEUE, QUEUE_MAX))
        batch = min(most, int(environment.get(BATCH, BATCH_MAX)))
        self._provider.add_span_processor(_Bounded(counting, counted, most, batch))
        self._tracer = self._provider.get_tracer("creditwell")

    def open(self, name: str, role: SpanRole, parent: str | None) -> WorkSpan:
        """A span that begins now."""
        context = Context() if parent is None else set_span_in_context(NonRecordingSpan(_context(parent)), Context())
        return _SentSpan(self._tracer.start_span(name, context, KINDS[role]))

    async def finish(self, seconds: float = GOODBYE_SECONDS) -> None:
        """Send what waits, for a moment: nobody waits for a collector that is away."""
        ending = Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, seconds)


class _SentSpan(WorkSpan):
    def __init__(self, sent: ApiSpan) -> None:
        self._sent = sent

    @property
    def traceparent(self) -> str | None:
        context = self._sent.get_span_context()
        if not context.trace_flags.sampled:
            return None
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def name(self, name: str) -> None:
        self._sent.update_name(name)

    def link(self, traces: Iterable[str]) -> None:
        for trace in islice(dict.fromkeys(traces), LINKS_MAX):
            self._sent.add_link(_context(trace))

    def note(self, name: str, value: str | float) -> None:
        self._sent.set_attribute(name, value)

    def fail(self, why: str) -> None:
        self._sent.set_status(Status(StatusCode.ERROR, why))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, asyncio.CancelledError):
            self.fail(type(error).__name__)  # its words may speak of a person
        self._sent.end()


class _Counting(SpanExporter):
    """An exporter of which is counted what it sent. It is asked by one thread alone."""

    def __init__(self, exporter: SpanExporter, counted: Counter) -> None:
        self._exporter = exporter
        self._sent, self._lost = counted.labels("sent"), counted.labels("lost")
        self.exported = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.exported += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            (self._sent if result is SpanExportResult.SUCCESS else self._lost).inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Bounded(SpanProcessor):
    """The library's queue, of which is counted what finds it full: the newest spans are dropped."""

    def __init__(self, exporter: _Counting, counted: Counter, most: int, batch: int) -> None:
        self._exporter, self._dropped = exporter, counted.labels("dropped")
        self._queue = BatchSpanProcessor(exporter, max_queue_size=most, max_export_batch_size=batch)
        self._most = most
        self._queued = 0

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        self._queue.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self._queued - self._exporter.exported >= self._most:
            self._dropped.inc()
            return
        self._queued += 1
        self._queue.on_end(span)

    def shutdown(self) -> None:
        self._queue.shutdown()  # type: ignore[no-untyped-call]  # the library's

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._queue.force_flush(timeout_millis)


def _context(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
