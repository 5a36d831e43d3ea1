"""Between a provider's client and its HTTP client: calls go through as they are, answers are read as they pass."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2

from .answers import COMPLETIONS, METERED, AnswerReading, AskedCall
from .meters import CallMeter

LENGTHS = {"content-encoding", "content-length", "transfer-encoding"}  # of bytes that were unpacked on the way


class MeteredTransport(httpx2.BaseTransport):
    """Sends with the client that it was given, which keeps its connections, proxies, hooks and sign-in."""

    def __init__(self, inner: httpx2.Client, provider: str, meter: CallMeter) -> None:
        self._inner, self._provider, self._meter = inner, provider, meter

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request of the provider's client."""
        request.read()
        call, request = _call_of(request, self._provider)
        response = self._inner.send(request, stream=True, follow_redirects=False)
        if call is None or not response.is_success:
            return response
        return _answered(response, _MeteredBytes(response, _reading(response, call, self._meter)))

    def close(self) -> None:
        """Close the client that sends, as closing a copy of a provider's client does."""
        self._inner.close()


class AsyncMeteredTransport(httpx2.AsyncBaseTransport):
    """The same, for coroutines."""

    def __init__(self, inner: httpx2.AsyncClient, provider: str, meter: CallMeter) -> None:
        self._inner, self._provider, self._meter = inner, provider, meter

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request of the provider's client."""
        await request.aread()
        call, request = _call_of(request, self._provider)
        response = await self._inner.send(request, stream=True, follow_redirects=False)
        if call is None or not response.is_success:
            return response
        return _answered(response, _AsyncMeteredBytes(response, _reading(response, call, self._meter)))

    async def aclose(self) -> None:
        """As `MeteredTransport.close`."""
        await self._inner.aclose()


class _MeteredBytes(httpx2.SyncByteStream):
    def __init__(self, response: httpx2.Response, reading: AnswerReading) -> None:
        self._response, self._reading = response, reading

    def __iter__(self) -> Iterator[bytes]:
        for data in self._response.iter_bytes():
            if passed := self._reading.take(data):
                yield passed
        if tail := self._reading.rest():
            yield tail

    def close(self) -> None:
        self._reading.end()
        self._response.close()


class _AsyncMeteredBytes(httpx2.AsyncByteStream):
    def __init__(self, response: httpx2.Response, reading: AnswerReading) -> None:
        self._response, self._reading = response, reading

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._response.aiter_bytes():
            if passed := self._reading.take(data):
                yield passed
        if tail := self._reading.rest():
            yield tail

    async def aclose(self) -> None:
        self._reading.end()  # before anything that a cancellation may cut short
        await self._response.aclose()


def _call_of(request: httpx2.Request, provider: str) -> tuple[AskedCall | None, httpx2.Request]:
    """The call, None where it is not one that is metered, and the request to send for it.

    A stream of completions tells its usage only where it is asked to.
    """
    way = next((way for way in METERED[provider] if request.url.path.endswith(way)), None)
    body = _object(request.content) if way is not None and request.method == "POST" else None
    if way is None or body is None:
        return None, request
    model = str(body.get("model", ""))
    options = body.get("stream_options")
    options = options if isinstance(options, dict) else {}
    if way != COMPLETIONS or not body.get("stream") or options.get("include_usage"):
        return AskedCall(provider, model, hides_usage=False), request
    content = json.dumps({**body, "stream_options": {**options, "include_usage": True}}).encode()
    headers = httpx2.Headers(
        [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
    )
    asking = httpx2.Request(
        request.method, request.url, headers=headers, content=content, extensions=request.extensions
    )
    return AskedCall(provider, model, hides_usage=True), asking


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _reading(response: httpx2.Response, call: AskedCall, meter: CallMeter) -> AnswerReading:
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    return meter.reading(call, is_stream=is_stream)


def _answered(response: httpx2.Response, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream) -> httpx2.Response:
    headers = [(name, value) for name, value in response.headers.raw if name.decode().lower() not in LENGTHS]
    return httpx2.Response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)
