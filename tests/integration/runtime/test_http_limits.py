"""Whoever asks is bounded before they are known: heads, bodies and connections of our HTTP servers."""

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.runtime.health import Health
from services.runtime.health_pages import health_app
from services.runtime.http_protocol import BoundedProtocol, Limits
from services.runtime.http_server import listen
from tests.support.api import free_port
from tests.support.waiting import PATIENCE_SECONDS, until

LIMITS = Limits(connections=5, rest_bytes=2**20)
MEGABYTE = b"x" * 2**20


async def echo(request: Request) -> Response:
    """How many bytes the body had."""
    return PlainTextResponse(str(len(await request.body())))


async def early(_: Request) -> Response:
    """An answer before anything of the body was read."""
    return PlainTextResponse("early")


async def large(_: Request) -> Response:
    """More than the system takes off a server's hands."""
    return PlainTextResponse(MEGABYTE * 4)


APP = Starlette(
    routes=[
        Route("/", echo, methods=["GET", "POST"]),
        Route("/early", early, methods=["POST"]),
        Route("/large", large),
    ]
)


@asynccontextmanager
async def a_server(limits: Limits = LIMITS, app: Starlette = APP) -> AsyncIterator[int]:
    """Its port."""
    stop, started, port = asyncio.Event(), asyncio.Event(), free_port()
    serving = asyncio.create_task(
        listen(app, host="127.0.0.1", port=port, port_setting="health_port", stop=stop, started=started, limits=limits)
    )
    try:
        await started.wait()
        yield port
    finally:
        stop.set()
        await serving


async def asked(port: int, *pieces: bytes) -> bytes:
    """All that one connection is answered, until the server ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for piece in pieces:
                writer.write(piece)
                try:
                    await writer.drain()
                except ConnectionError:
                    break
            try:
                return await reader.read()
            except ConnectionError:  # it has ended while we still sent
                return b""
    finally:
        writer.close()


def problem(answer: bytes) -> tuple[int, str]:
    """Status and code."""
    head, _, body = answer.partition(b"\r\n\r\n")
    said: dict[str, Any] = json.loads(body)
    assert b"application/problem+json" in head
    assert b"connection: close" in head
    assert said["status"] == int(head.split()[1])
    return said["status"], said["code"]


HEAD = b"GET / HTTP/1.1\r\nHost: creditwell\r\n"


@pytest.mark.parametrize(
    "pieces",
    {
        "one header without end": [HEAD + b"X-Long: ", *[MEGABYTE[: 2**16]] * 3],
        "one header": [HEAD + b"X-Long: " + MEGABYTE[: 2**16] + b"\r\n\r\n"],
        "many headers": [HEAD + b"".join(b"x-%d: y\r\n" % n for n in range(200)) + b"\r\n"],
        "many long headers": [HEAD + b"".join(b"x-%d: %s\r\n" % (n, MEGABYTE[:2_000]) for n in range(50)) + b"\r\n"],
        "the address": [b"GET /?" + MEGABYTE[: 2**17] + b" HTTP/1.1\r\nHost: creditwell\r\n\r\n"],
        "the name of a header": [HEAD + MEGABYTE[: 2**17] + b": y\r\n\r\n"],
        "the second request of a connection": [HEAD + b"\r\n", HEAD + b"X-Long: " + MEGABYTE[: 2**17] + b"\r\n\r\n"],
    }.items(),
    ids=lambda item: item[0],
)
async def test_a_head_that_is_too_large_is_answered_431(pieces: tuple[str, list[bytes]]) -> None:
    async with a_server() as port:
        answer = await asked(port, *pieces[1])

    assert problem(answer[answer.rindex(b"HTTP/1.1 ") :]) == (431, "head_too_large")


async def test_a_head_within_the_limits_is_nobodys_trouble() -> None:
    async with a_server() as port:
        answer = await asked(
            port,
            HEAD + b"".join(b"x-%d: %s\r\n" % (n, MEGABYTE[:600]) for n in range(90)) + b"connection: close\r\n\r\n",
        )

    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "size", [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 2**18 - 200, 2**18, 2**18 + 300, 2**19 + 7, 900_000]
)
async def test_a_body_of_any_length_comes_whole_however_it_is_cut(size: int) -> None:
    body = (MEGABYTE * 2)[:size]
    head = b"POST / HTTP/1.1\r\nHost: creditwell\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size
    async with a_server() as port:
        whole = await asked(port, head + body)
        in_two = await asked(port, head[:20], head[20:] + body[: size // 2], body[size // 2 :])

    for answer in (whole, in_two):
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"\r\n\r\n%d" % size)


async def test_a_huge_header_is_cut_off_and_not_read_to_its_end() -> None:
    async with a_server() as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"X-Long: ")
        with pytest.raises(ConnectionError):
            await send(writer, megabytes=64)
        writer.close()

        assert (await asked(port, HEAD + b"connection: close\r\n\r\n")).endswith(b"0")


async def send(writer: asyncio.StreamWriter, *, megabytes: int) -> None:
    for _ in range(megabytes):
        writer.write(MEGABYTE)
        await writer.drain()


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([b""], "too_slow"),
        ([b"GET / HT"], "too_slow"),
        ([HEAD + b"X-Slow: "], "too_slow"),
        ([b"POST / HTTP/1.1\r\nHost: creditwell\r\nContent-Length: 5\r\n\r\n1234"], "too_slow"),
        ([b"POST / HTTP/1.1\r\nHost: creditwell\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n1234"], "too_slow"),
    ],
    ids=["nothing", "a piece of the first line", "a piece of a header", "a piece of a body", "a piece of a chunk"],
)
async def test_what_does_not_come_in_time_is_answered_408(pieces: list[bytes], code: str) -> None:
    async with a_server(Limits(head_seconds=0.2, body_seconds=0.2)) as port:
        assert problem(await asked(port, *pieces)) == (408, code)


async def test_nothing_is_awaited_of_a_kept_connection_between_two_requests() -> None:
    async with a_server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(HEAD + b"\r\n")
            assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
            (protocol,) = open_connections()
            assert protocol._due is None
        writer.close()


def open_connections() -> list[BoundedProtocol]:
    """Those of servers in this process."""
    made = [one for one in gc.get_objects() if type(one) is BoundedProtocol]
    return [one for one in made if one.transport is not None and not one.transport.is_closing()]


async def test_trailers_without_end_are_cut_off() -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: creditwell\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Long: "
    async with a_server() as port:
        assert problem(await asked(port, chunked, *[MEGABYTE] * 3)) == (413, "too_large")


async def test_what_is_no_http_is_told_so() -> None:
    async with a_server() as port:
        assert problem(await asked(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")) == (
            400,
            "bad_request",
        )


async def test_one_connection_too_many_is_told_when_to_come_back_and_the_others_stay() -> None:
    async with a_server(Limits(connections=5, head_seconds=PATIENCE_SECONDS)) as port:
        kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]

        refused = await asked(port)
        assert problem(refused) == (503, "busy")
        assert b"retry-after: 5\r\n" in refused

        reader, writer = kept.pop()
        writer.write(HEAD + b"\r\n")
        assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
        writer.close()

        async def free_again() -> bool:
            return (await asked(port, HEAD + b"connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")

        await until(free_again, what="the place of the one that left is free")
        for _, writer in kept:
            writer.close()


async def test_an_answer_before_the_body_has_come_is_not_followed_by_another() -> None:
    async with a_server(Limits(body_seconds=0.3, answered_seconds=PATIENCE_SECONDS)) as port:
        answer = await asked(port, b"POST /early HTTP/1.1\r\nHost: creditwell\r\nContent-Length: 5\r\n\r\n12")

    assert answer.endswith(b"early")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_whoever_is_answered_before_the_body_has_come_does_not_keep_the_connection_for_it() -> None:
    head = b"POST /early HTTP/1.1\r\nHost: creditwell\r\nContent-Length: 900000\r\n\r\n"
    async with a_server(Limits(body_seconds=10 * PATIENCE_SECONDS, answered_seconds=0.3)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        dripping = asyncio.create_task(drip(writer, head))
        assert (await reader.readuntil(b"early")).startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await dripping


async def drip(writer: asyncio.StreamWriter, head: bytes) -> None:
    """A byte now and then, until the server has had enough."""
    writer.write(head)
    while not writer.transport.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def test_a_request_behind_one_that_was_answered_early_has_the_whole_time_for_its_body() -> None:
    head = b"POST / HTTP/1.1\r\nHost: creditwell\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    early = b"POST /early HTTP/1.1\r\nHost: creditwell\r\nContent-Length: 1\r\n\r\nx"
    async with a_server(Limits(answered_seconds=0)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(early + head + b"1")
        assert (await reader.readuntil(b"early")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.05)
        writer.write(b"2")
        assert (await reader.read()).endswith(b"\r\n\r\n2")


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
async def test_an_answer_that_nobody_reads_keeps_no_connection(connection: str) -> None:
    async with a_server(Limits(connections=1, unread_seconds=0.2)) as port:
        with a_client_that_does_not_read(port) as client:
            client.sendall(f"GET /large HTTP/1.1\r\nHost: creditwell\r\nConnection: {connection}\r\n\r\n".encode() * 3)

            async def served() -> bool:
                return (await asked(port, HEAD + b"connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")

            await until(served, what="the only place is free again")


def a_client_that_does_not_read(port: int) -> socket.socket:
    """It has hardly any room for an answer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.connect(("127.0.0.1", port))
    return client


async def test_an_answer_that_is_read_slowly_comes_whole() -> None:
    async with a_server(Limits(unread_seconds=5.0)) as port:
        with a_client_that_does_not_read(port) as client:
            client.setblocking(False)
            client.send(b"GET /large HTTP/1.1\r\nHost: creditwell\r\nConnection: close\r\n\r\n")
            loop, size = asyncio.get_running_loop(), 0
            while piece := await loop.sock_recv(client, 2**18):
                size += len(piece)
                await asyncio.sleep(0.005)
    assert size > 4 * len(MEGABYTE)


async def test_the_health_port_takes_no_more_than_the_others() -> None:
    head = b"GET /metrics HTTP/1.1\r\nHost: creditwell\r\n"
    many = b"".join(b"x-%d: y\r\n" % n for n in range(200))
    endless = b"POST /healthz HTTP/1.1\r\nHost: creditwell\r\nTransfer-Encoding: chunked\r\n\r\n"
    app = health_app(Health("probe"))
    async with a_server(Limits(answered_seconds=0.3), app) as port:
        assert problem(await asked(port, head + many + b"\r\n")) == (431, "head_too_large")
        assert (await asked(port, endless + b"1\r\nx\r\n")).startswith(b"HTTP/1.1 405")
        assert (await asked(port, head + b"connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")
    async with a_server(Limits(head_seconds=0.3), app) as port:
        assert problem(await asked(port, head + b"x-slow: ")) == (408, "too_slow")
