"""Whether spans are sent, by OpenTelemetry's standard variables, while a process runs."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from services.runtime.logs import get_log
from services.runtime.tracing.spans import open_spans_with

PROTOCOL = "http/protobuf"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def asks_for_spans(environment: Mapping[str, str]) -> bool:
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
    if not asks_for_spans(environment):
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
