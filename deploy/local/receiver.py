"""A host product as small as can be: takes notices, believes those that are signed, counts each once.

    python -m deploy.local.receiver --port 12112 --secret whsec_…

What the host's developers would write, in the words of https://www.standardwebhooks.com and with nothing of ours: the
demo asks it what arrived, the tests let it fail on demand.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.runtime.health import Health
from services.runtime.health_pages import health_routes
from services.runtime.http_server import listen

TOLERANCE_SECONDS = 300
BODY_MAX_BYTES = 20_000


@dataclass
class Receiver:
    """What arrived.

    `tries` has every request that was signed, `notices` each notice once; `answers` come first, then 204.
    """

    secret: str
    tries: list[tuple[str, int, str]] = field(default_factory=list)  # id, status, signatures
    notices: dict[str, dict[str, Any]] = field(default_factory=dict)
    bodies: dict[str, set[bytes]] = field(default_factory=dict)
    forged: int = 0
    answers: deque[int] = field(default_factory=deque)
    came: Callable[[str], None] = lambda _: None

    async def take(self, request: Request) -> Response:
        """Verify, then look at it."""
        body = await request.body()
        headers = request.headers
        if len(body) > BODY_MAX_BYTES or not is_signed(
            self.secret, headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"], body
        ):
            self.forged += 1
            return Response(status_code=401)
        name = headers["webhook-id"]
        status = self.answers.popleft() if self.answers else 204
        self.tries.append((name, status, headers["webhook-signature"]))
        self.bodies.setdefault(name, set()).add(body)
        if 200 <= status < 300:
            self.notices.setdefault(name, json.loads(body))
        self.came(name)
        return Response(status_code=status, headers={"location": "/elsewhere"} if 300 <= status < 400 else None)

    async def tell(self, _: Request) -> Response:
        """For the demo's summary."""
        kinds = Counter(notice["type"] for notice in self.notices.values())
        return JSONResponse({"notices": kinds.total(), "kinds": dict(kinds), "forged": self.forged})

    def app(self) -> Starlette:
        """As an application."""
        health = Health("receiver")
        health.ready()
        routes = [Route("/notices", self.take, methods=["POST"]), Route("/_control/notices", self.tell)]
        return Starlette(routes=[*routes, *health_routes(health)])


def is_signed(secret: str, name: str, seconds: str, signatures: str, body: bytes) -> bool:
    """True when one of the signatures is the secret's, and the time is about now."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(
        hmac.new(key, b".".join((name.encode(), seconds.encode(), body)), hashlib.sha256).digest()
    )
    signatures_v1 = [part.removeprefix("v1,") for part in signatures.split(" ") if part.startswith("v1,")]
    in_time = abs(time.time() - int(seconds)) <= TOLERANCE_SECONDS
    return in_time and any(hmac.compare_digest(expected, one.encode()) for one in signatures_v1)


def main() -> None:
    """Serves until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.receiver", description="A host product in small.")
    parser.add_argument("--port", type=int, required=True, help="on the loopback interface")
    parser.add_argument("--secret", required=True, help="what notices are signed with: whsec_…")
    arguments = parser.parse_args()
    app = Receiver(arguments.secret).app()
    asyncio.run(listen(app, host="127.0.0.1", port=arguments.port, port_setting="notice_url", stop=asyncio.Event()))


if __name__ == "__main__":
    main()
