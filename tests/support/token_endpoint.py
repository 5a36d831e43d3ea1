"""An OAuth 2.0 endpoint that gives tokens for client credentials, as an identity provider does."""

import json
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote_plus

LIFE_SECONDS = 3_600


@dataclass
class TokenEndpoint:
    """What it was asked, and what it answers instead of a token where that is ordered."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    instead: tuple[int, bytes] | None = None

    def answer(self, client: str, form: dict[str, Any]) -> tuple[int, bytes]:
        """A token for whoever the client is."""
        self.asked.append({"client": client, **form})
        if self.instead is not None:
            return self.instead
        token = {"access_token": unsigned(client.partition(":")[0]), "token_type": "Bearer", "expires_in": LIFE_SECONDS}
        return 200, json.dumps(token).encode()


@contextmanager
def a_token_endpoint() -> Iterator[TokenEndpoint]:
    """It listens for as long as the block runs."""
    endpoint = TokenEndpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            basic = b64decode(self.headers["authorization"].removeprefix("Basic ")).decode()
            client = ":".join(map(unquote_plus, basic.split(":")))
            status, body = endpoint.answer(client, {name: value for name, (value,) in form.items()})
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_port}/token"
    serving = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def unsigned(name: str, *, life_seconds: float = LIFE_SECONDS) -> str:
    """A token that nobody has signed, as a broker takes it that is told to trust everybody."""
    now = time.time()
    parts = {"alg": "none"}, {"sub": name, "iat": now - 1, "exp": now + life_seconds}
    return ".".join([*(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts), ""])
