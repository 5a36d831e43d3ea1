"""Spans are there for whoever asks for them, and nobody waits for where they go."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.runtime.tracing.context import NO_TRAIL, Trail, carrying, current_trail
from services.runtime.tracing.exporting import SpanSender
from services.runtime.tracing.sending import asks_for_spans, spans_sent
from services.runtime.tracing.spans import WorkSpan, open_spans_with, span

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = f"{TRACE[:-2]}00"
HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


class Collector(SpanExporter):
    """It takes spans once it is let; `failing` says that it does not take them."""

    def __init__(self, *, failing: bool = False) -> None:
        self.let, self.failing = threading.Event(), failing
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.let.wait()
        self.spans += spans
        return SpanExportResult.FAILURE if self.failing else SpanExportResult.SUCCESS


@pytest.fixture(autouse=True)
def _nobody_asks_afterwards() -> Iterator[None]:
    yield
    open_spans_with(None)


def counted(registry: CollectorRegistry) -> dict[str, float]:
    outcomes = ("sent", "lost", "dropped")
    return {name: registry.get_sample_value("creditwell_spans_total", {"outcome": name}) or 0 for name in outcomes}


def sender(collector: Collector, registry: CollectorRegistry | None = None, **environment: str) -> SpanSender:
    made = SpanSender("api", registry or CollectorRegistry(), environment, collector)
    open_spans_with(made.open)
    return made


@pytest.mark.parametrize(
    ("environment", "wants"),
    [
        ({}, False),
        (HERE, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (HERE | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (HERE | {"OTEL_TRACES_EXPORTER": "zipkin"}, False),
        (HERE | {"OTEL_SDK_DISABLED": "true"}, False),
        (HERE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
        (HERE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, True),
    ],
    ids=range(9),
)
def test_the_standard_variables_say_whether_spans_are_sent(environment: dict[str, str], wants: bool) -> None:
    with capture_logs() as lines:
        assert asks_for_spans(environment) == wants

    assert len(lines) == ("zipkin" in environment.values() or (not wants and "grpc" in environment.values()))


def test_where_nobody_asks_there_is_one_span_that_does_nothing_and_nothing_is_loaded() -> None:
    assert span("a") is span("b", "server", parent=TRACE)
    with span("a") as opened:
        assert (type(opened), opened.traceparent) == (WorkSpan, None)

    loaded = "import sys, services.cli, services.api.middleware, services.usage.recorder; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert not [name for name in ran.stdout.split() if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]


async def test_a_span_has_its_parent_its_links_and_what_went_wrong() -> None:
    collector = Collector()
    collector.let.set()
    sending = sender(collector)

    with span("outer", "server", parent=TRACE) as outer:
        outer.name("GET /v1/quotes")
        outer.note("http.response.status_code", 200)
        with carrying(Trail(outer.traceparent)), span("inner", "client") as inner:
            inner.link([TRACE, TRACE, UNSAMPLED])
    with pytest.raises(ValueError, match="somebody"), span("wrong"):
        raise ValueError("somebody's name")
    await sending.finish(60)

    of_inner, of_outer, wrong = collector.spans
    assert outer.traceparent is not None
    assert of_outer.context is not None
    assert of_inner.context is not None
    assert (of_outer.name, dict(of_outer.attributes or {})) == ("GET /v1/quotes", {"http.response.status_code": 200})
    assert {f"{one.context.trace_id:032x}" for one in (of_outer, of_inner) if one.context} == {TRACE[3:35]}
    assert of_outer.parent is not None
    assert f"{of_outer.parent.span_id:016x}" == TRACE[36:52]
    assert of_inner.parent is not None
    assert of_inner.parent.span_id == of_outer.context.span_id
    assert len(of_inner.links) == 2
    assert (wrong.status.is_ok, wrong.status.description) == (False, "ValueError")
    assert of_outer.resource.attributes["service.name"] == "creditwell-api"


async def test_what_is_not_sampled_is_carried_on_as_it_came() -> None:
    collector = Collector()
    collector.let.set()
    sending = sender(collector)

    with span("request", "server", parent=UNSAMPLED) as opened, carrying(Trail(UNSAMPLED).within(opened.traceparent)):
        assert current_trail() == Trail(UNSAMPLED)
    await sending.finish(60)

    assert collector.spans == []


async def test_a_collector_that_is_away_keeps_nobody_waiting_and_what_is_dropped_is_counted() -> None:
    collector, registry = Collector(failing=True), CollectorRegistry()
    sending = sender(collector, registry, OTEL_BSP_MAX_QUEUE_SIZE="4")

    for _ in range(100):  # the library's thread may have taken up to a queue of them into its hand meanwhile
        with span("one"):
            pass
    assert counted(registry)["dropped"] >= 100 - 2 * 4
    await sending.finish(0.01)
    assert collector.spans == []

    collector.let.set()
    await asyncio.to_thread(ended)
    figures = counted(registry)
    assert figures["lost"] + figures["dropped"] == 100
    assert figures["sent"] == 0


def ended() -> None:
    """The threads that send are at their end."""
    for thread in threading.enumerate():
        if thread.name == "spans":
            thread.join(60)


@pytest.mark.parametrize("size", ["many", "0"])
async def test_a_wrong_variable_of_opentelemetry_is_said_and_stops_nobody(size: str) -> None:
    with capture_logs() as lines:
        async with spans_sent("api", CollectorRegistry(), HERE | {"OTEL_BSP_MAX_QUEUE_SIZE": size}):
            assert span("a").traceparent is None

    assert [line["event"] for line in lines] == ["no spans are sent: a variable of OpenTelemetry is wrong"]


def test_what_is_done_in_a_trace_says_so_in_the_log() -> None:
    assert current_trail() == NO_TRAIL
    with carrying(Trail(TRACE)), carrying(NO_TRAIL):
        assert current_trail() == Trail(TRACE)
        assert structlog.contextvars.get_contextvars()["trace_id"] == TRACE[3:35]
        with carrying(Trail(None, "r-1")):  # another's doing: nothing of the first goes with it
            assert current_trail() == Trail(None, "r-1")
            assert structlog.contextvars.get_contextvars()["request_id"] == "r-1"
    assert current_trail() == NO_TRAIL
    assert not {"trace_id", "request_id"} & structlog.contextvars.get_contextvars().keys()
