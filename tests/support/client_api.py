"""An API that answers the clients as it is told: holds are placed, captures and usage are taken and kept."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]


class ClientApi(ThreadingHTTPServer):
    """An API that answers captures as it is told, the last answer for ever; holds are placed as h1, h2, …"""

    daemon_threads = True

    def __init__(self, *replies: Reply) -> None:
        self.replies, self.captures, self.placed = list(replies), list[Any](), 0
        self.reported: list[Any] = []
        self.places: Reply | None = None  # what is answered in place of a hold
        self.hears = threading.Event()
        self.answers = threading.Event()
        self.answers.set()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def reply(self, path: str, body: Any) -> Reply:
        if path == "/v1/usage":
            self.reported += body
            return 202, {"results": [{"status": 202} for _ in body]}
        if not path.endswith("/capture"):
            if self.places is not None and path.endswith("/holds"):
                return self.places
            self.placed += path.endswith("/holds")
            return 200, {"id": f"h{self.placed}", "credits": "1"}
        self.captures.append((path.split("/")[-2], body))
        self.hears.set()
        self.answers.wait()
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class _Handler(BaseHTTPRequestHandler):
    server: ClientApi

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, answer = self.server.reply(self.path, body)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def an_api(*replies: Reply) -> Iterator[ClientApi]:
    with ClientApi(*(replies or (TAKEN,))) as api:
        thread = threading.Thread(target=api.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield api
        finally:
            api.answers.set()
            api.shutdown()
            thread.join()


TAKEN: Reply = 200, {"state": "settled", "captured": "1"}
