"""Serving the stand-in on the loopback interface."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.applications import Starlette
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

LOOPBACK = "127.0.0.1"
GOODBYE_SECONDS = 1  # requests that a script keeps silent would otherwise hold up the end for ever


class _Connection(H11Protocol):
    """Tells each request its connection, so that a fault can break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class _Announced(Server):
    """Says when it listens."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class _Guest(_Announced):
    """A server inside somebody else's event loop: signals stay theirs."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: Starlette) -> Config:
    return Config(
        app,
        http=_Connection,
        lifespan="on",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GOODBYE_SECONDS,
    )


def _listen(port: int) -> socket.socket:
    # The protocol is named because asyncio switches Nagle's delay (40 ms an answer) off only where it is.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, port))
    return listener


def _address(listener: socket.socket) -> str:
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}"


async def serve(app: Starlette, port: int) -> None:
    """Serves until SIGINT or SIGTERM; prints its address as soon as it listens. Port 0 takes any free one."""
    with _listen(port) as listener:
        server = _Announced(_config(app))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        announcing = asyncio.create_task(server.listening.wait())
        await asyncio.wait({serving, announcing}, return_when=asyncio.FIRST_COMPLETED)
        if announcing.done():
            print(f"stand-in for Stripe at {_address(listener)}", flush=True)
        await serving


@asynccontextmanager
async def running(app: Starlette, port: int = 0) -> AsyncIterator[str]:
    """Serves while the block runs, and gives the address; raises what the server raised."""
    with _listen(port) as listener:
        server = _Guest(_config(app))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        announcing = asyncio.create_task(server.listening.wait())
        await asyncio.wait({serving, announcing}, return_when=asyncio.FIRST_COMPLETED)
        try:
            yield _address(listener)
        finally:
            server.should_exit = True
            announcing.cancel()
            await serving
