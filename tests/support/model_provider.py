"""A provider of models that answers over HTTP as it is told, in the shapes of real answers (tests/vectors/answers)."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ANSWERS = Path(__file__).parents[1] / "vectors" / "answers"
Vector = dict[str, Any]


@cache
def vectors(provider: str) -> dict[str, Vector]:
    """The answers of a provider by name, each with the quantities that it comes to."""
    shapes: dict[str, Vector] = json.loads((ANSWERS / f"{provider}.json").read_text("utf-8"))
    return shapes


class ModelProvider(ThreadingHTTPServer):
    """Gives the answers in turn, the last one for ever.

    Attributes:
        asked: what came in, a path with a body each.
        pauses_after: of a stream, so many events are sent, and the rest when `goes_on` is set.
    """

    daemon_threads = True

    def __init__(self, *answers: Vector, pauses_after: int | None = None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, Any]] = []
        self.pauses_after = pauses_after
        self.goes_on = threading.Event()
        super().__init__(("127.0.0.1", 0), _Provided)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_answer(self) -> Vector:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Provided(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelProvider

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, body))
        answer = self.server.next_answer()
        if "events" in answer:
            self.stream(events_of(answer, body))
        else:
            self.whole(answer.get("status", 200), json.dumps(answer["body"]).encode())

    def whole(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def stream(self, events: Sequence[bytes]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(events):
            if number == self.server.pauses_after:
                self.server.goes_on.wait()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def events_of(answer: Vector, request: dict[str, Any]) -> list[bytes]:
    """The events of a stream as bytes. Completions tell their usage only where they are asked to."""
    wants_usage = (request.get("stream_options") or {}).get("include_usage")
    events = [event for event in answer["events"] if wants_usage or event.get("choices") != []]
    lines = [f"event: {event['type']}\n" if "type" in event else "" for event in events]
    bodies = [f"{line}data: {json.dumps(event)}\n\n".encode() for line, event in zip(lines, events, strict=True)]
    return [*bodies, b"data: [DONE]\n\n"] if answer["call"] == "chat" else bodies


@contextmanager
def a_provider(*answers: Vector, pauses_after: int | None = None) -> Iterator[ModelProvider]:
    """A provider that listens while the block runs."""
    with ModelProvider(*answers, pauses_after=pauses_after) as provider:
        thread = threading.Thread(target=provider.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield provider
        finally:
            provider.goes_on.set()
            provider.shutdown()
            thread.join()
