"""HTTP in our processes: an application on an address until the process is asked to stop."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from services.runtime.clock import until_stopped
from services.runtime.settings import WrongSettings, variable

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
) -> None:
    """Serve until `stop`; `started` is set once connections are taken. Of proxies it is believed whom they speak for.

    Raises:
        WrongSettings: the port is taken, or not ours to take.
    """
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise
        message = f"{variable(port_setting)} is wrong: can't listen on {host}:{port}: {os.strerror(error.errno)}."
        raise WrongSettings(message) from error
    # Connections inherit it. asyncio sets it where a socket says that it speaks TCP, which those of `create_server` do
    # not; without it, the end of an answer waits 40 ms for the acknowledgement of its beginning.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = _Server(
        uvicorn.Config(
            app,
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
