"""An HTTP proxy that changes headers as nginx does: HTTP/1.0 behind it, gzip, weakened tags, and chunks before it."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

COMPRESSED = ("application/json", "application/problem+json", "text/csv")
GZIP = 16 + zlib.MAX_WBITS

Headers = dict[str, str]


@asynccontextmanager
async def a_changing_proxy(api: str) -> AsyncIterator[str]:
    """Its address. A connection is for one request."""
    host, _, port = api.removeprefix("http://").partition(":")

    async def serve(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        server: asyncio.StreamWriter | None = None
        try:
            first, headers = await _head(client)
            method, path, _ = first.split(" ")
            accepts_gzip = "gzip" in headers.get("accept-encoding", "")
            body = await client.readexactly(int(headers.get("content-length", "0")))
            reply, server = await asyncio.open_connection(host, int(port))
            server.write(_text(f"{method} {path} HTTP/1.0", headers | {"connection": "close"}) + body)
            status, replied = await _head(reply)
            await _pass_on(reply, answer, status.partition(" ")[2], replied, may_pack=accepts_gzip)
        finally:
            for writer in (server, answer):
                if writer is not None:
                    writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield "http://{}:{}".format(*listening.sockets[0].getsockname())


async def _pass_on(
    reply: asyncio.StreamReader, answer: asyncio.StreamWriter, status: str, headers: Headers, *, may_pack: bool
) -> None:
    kind = headers.get("content-type", "").partition(";")[0]
    packer = None
    headers.pop("content-length", None)
    headers.pop("transfer-encoding", None)
    headers |= {"connection": "close"}
    if may_pack and kind in COMPRESSED and "content-encoding" not in headers:
        packer = zlib.compressobj(wbits=GZIP)
        headers |= {"content-encoding": "gzip", "vary": "Accept-Encoding"}
        if "etag" in headers and not headers["etag"].startswith("W/"):
            headers["etag"] = f"W/{headers['etag']}"
    has_body = not status.startswith(("204", "304"))
    answer.write(_text(f"HTTP/1.1 {status}", headers | ({"transfer-encoding": "chunked"} if has_body else {})))
    while has_body and (part := await reply.read(65_536)):
        _write_chunk(answer, packer.compress(part) if packer else part)
        await answer.drain()
    if has_body:
        _write_chunk(answer, packer.flush() if packer else b"")
        answer.write(b"0\r\n\r\n")
    await answer.drain()


def _write_chunk(answer: asyncio.StreamWriter, part: bytes) -> None:
    if part:
        answer.write(b"%x\r\n%b\r\n" % (len(part), part))


async def _head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines if line)
    return first, {name.strip().lower(): value.strip() for name, value in pairs}


def _text(first: str, headers: Headers) -> bytes:
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode("latin-1")
