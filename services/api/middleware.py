"""Around every request: an id, a limit on its body, what may not be in an address, how long it took, a line in the log.

What anybody logs while a request is answered has its id: the caller's own, which goes with what comes of the request
(docs/tracing.md), or ours, which does not. So has the line about it: route, status, milliseconds to the end of the
answer, the caller's role, and his team as the beginning of a hash. Probes of health that went well are left out.
`CREDITWELL_LOG_LEVELS=access=warning` leaves only those that failed by our fault.
"""

from hashlib import sha256
from time import perf_counter
from uuid import uuid4

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.cloudevents import NO_TRACE, REQUEST_ID, TRACEPARENT, request_id_of, trace_of
from services.api.problems import problem, problem_response
from services.runtime.tracing.context import Trail, carrying
from services.runtime.tracing.spans import WorkSpan, span

BODY_MAX = 4 * 1024 * 1024  # a full batch of usage; a single record may have 1 MiB
PROBES = ("/healthz", "/readyz")
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.04, 0.075, 0.15, 0.3, 1, 5, 30)

_NO_SPAN = WorkSpan()

log = structlog.get_logger("access")


class RequestMiddleware:
    """The outermost layer. Metrics name the route and never a team."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._seconds = Histogram(
            "creditwell_http_seconds", "How long requests took until their answer began.", ["route", "method", "status"],
            registry=registry, buckets=BUCKETS,
        )  # fmt: skip
        self._malformed = Counter(
            "creditwell_http_traces_malformed",
            "Requests whose traceparent was none, and was dropped.",
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        own, began = request_id_of(Headers(scope=scope).get(REQUEST_ID, "")), perf_counter()
        request_id = own or uuid4().hex
        status: int | None = None

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                headers.setdefault("x-content-type-options", "nosniff")
                path = getattr(scope.get("route"), "path", "none")
                self._seconds.labels(path, scope["method"], message["status"]).observe(perf_counter() - began)
            await send(message)

        parent = self._trace(scope)
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            _NO_SPAN if scope["path"] in PROBES else span(scope["method"], "server", parent=parent) as opened,
            carrying(Trail(opened.traceparent or parent, own)),
        ):
            try:
                await self._answer(scope, receive, answered)
            finally:
                _say(scope, status, perf_counter() - began)
                _describe(opened, scope, status)

    def _trace(self, scope: Scope) -> str | None:
        """The trace in which the caller asks; what is none is counted, and nobody is refused for it."""
        trace = trace_of(Headers(scope=scope).get(TRACEPARENT))
        if trace == NO_TRACE:
            self._malformed.inc()
        return trace or None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        # PostgreSQL has no text with NUL in it, so no address may have.
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            refused = problem_response(problem(400, "bad_request", "the address has a NUL in it"))
            await refused(scope, receive, send)
        else:
            await self._app(scope, _limited(receive, int(Headers(scope=scope).get("content-length", 0))), send)


def _say(scope: Scope, status: int | None, seconds: float) -> None:
    """One line about a request that is over; no status where the caller hung up before an answer."""
    route = getattr(scope.get("route"), "path", "none")
    if route in PROBES and status == 200:
        return
    caller = scope.get("state", {}).get("caller")
    of_caller = {} if caller is None else {"role": caller.role, "team": team_hash(caller.team_id)}
    say = log.warning if status is not None and status >= 500 else log.info
    say("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 1), **of_caller)


def _describe(opened: WorkSpan, scope: Scope, status: int | None) -> None:
    """What a span says of a request: never the address, in which the team stands."""
    route = getattr(scope.get("route"), "path", "none")
    opened.name(f"{scope['method']} {route}")
    opened.note("http.request.method", scope["method"])
    opened.note("http.route", route)
    if status is not None:
        opened.note("http.response.status_code", status)
        if status >= 500:
            opened.fail(str(status))


def team_hash(team_id: str) -> str:
    """What stands for a team in the lines about requests: `printf %s TEAM | sha256sum | cut -c1-12`."""
    return sha256(team_id.encode()).hexdigest()[:12]


def _limited(receive: Receive, announced: int) -> Receive:
    """The body as it comes, but not without end; nothing of one that is announced to be too long."""
    came = 0

    async def counted() -> Message:
        nonlocal came
        if announced <= BODY_MAX:
            message = await receive()
            came += len(message.get("body", b""))
            if came <= BODY_MAX:
                return message
        # This kind of exception passes through FastAPI and Starlette unchanged, wherever the body is read.
        raise HTTPException(413, f"a body has at most {BODY_MAX} bytes")

    return counted
