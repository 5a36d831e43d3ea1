"""An OpenTelemetry collector as a process of ours sees it: takes OTLP over HTTP, in protobuf, and remembers the spans."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class CollectorStandIn(ThreadingHTTPServer):
    """What came, in the order in which it came."""

    daemon_threads = True

    def __init__(self) -> None:
        self.spans: list[Span] = []
        super().__init__(("127.0.0.1", 0), _Taken)

    @property
    def url(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"

    def of_trace(self, trace_id: str) -> set[str]:
        """The names of the spans of a trace."""
        return {span.name for span in list(self.spans) if span.trace_id.hex() == trace_id}

    def linked_to(self, trace_id: str) -> set[str]:
        """The names of the spans that are linked to a trace."""
        return {span.name for span in list(self.spans) if any(link.trace_id.hex() == trace_id for link in span.links)}


class _Taken(BaseHTTPRequestHandler):
    server: CollectorStandIn

    def do_POST(self) -> None:
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        right = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
        if right:
            self.server.spans += [
                span for of_resource in request.resource_spans for of_scope in of_resource.scope_spans for span in of_scope.spans
            ]  # fmt: skip
        self.send_response(200 if right else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collecting() -> Iterator[CollectorStandIn]:
    """One that runs in a thread."""
    with CollectorStandIn() as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()
