"""HTTP in our processes: an application on an address until the process is asked to stop."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import Iterator, Sequence
from functools import partial

import structlog
import uvicorn
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from services.runtime.clock import until_stopped
from services.runtime.http_protocol import BoundedProtocol, Limits
from services.runtime.settings import WrongSettings, variable

log = structlog.get_logger("http")

LIMITS = Limits()
OTHER_FILES = 200  # of a process, beside its connections over HTTP
# The system buffers so much of an answer, and takes more only once a third of that was read. By itself it buffers
# megabytes: then a client that reads slowly looks like one that does not read.
SEND_BYTES = 128 * 1024
CLOSE_SECONDS = 5  # for requests that are under way when the process stops


class _Server(uvicorn.Server):
    """Signals are the process's own; uvicorn would take them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def listen(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    port_setting: str,
    stop: asyncio.Event,
    started: asyncio.Event | None = None,
    proxies: Sequence[str] = (),
    limits: Limits = LIMITS,
) -> None:
    """Serve until `stop`; `started` is set once connections are taken. Of proxies it is believed whom they speak for.

    Raises:
        WrongSettings: the port is taken, or not ours to take.
    """
    listener = _listener(host, port, port_setting)
    _make_room(limits.connections)
    server = _Server(
        uvicorn.Config(
            _until_hung_up(app),
            http=partial(BoundedProtocol, limits=limits),  # type: ignore[arg-type]
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            forwarded_allow_ips=list(proxies),
            timeout_graceful_shutdown=CLOSE_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    if started is not None:
        started.set()  # the socket listens already; the first request waits in its backlog for a moment
    try:
        await until_stopped(asyncio.wait({serving}), stop)
    finally:
        server.should_exit = True
        await serving


def _listener(host: str, port: int, port_setting: str) -> socket.socket:
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise
        message = f"{variable(port_setting)} is wrong: can't listen on {host}:{port}: {os.strerror(error.errno)}."
        raise WrongSettings(message) from error
    # Connections inherit both. asyncio sets the second where a socket says that it speaks TCP, which those of
    # `create_server` do not; without it, the end of an answer waits 40 ms for the acknowledgement of its beginning.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _until_hung_up(app: ASGIApp) -> ASGIApp:
    """Whoever hangs up in the middle of a body is nobody's mistake, and no line of the log but for who looks for it."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except ClientDisconnect:
            log.debug("the client hung up", method=scope.get("method"), path=scope.get("path"))

    return called


def _make_room(connections: int) -> None:
    """Let the process open files for so many connections, as far as the system allows.

    asyncio waits a second at each connection that finds none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
