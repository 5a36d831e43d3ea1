"""Stripe's API: who may ask, what is asked, what was answered before, and what a script spoils on the way."""

import asyncio
import base64
import binascii
import hmac
import json
import re
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from .books import API_VERSION
from .call import Call, Endpoint, expanded
from .errors import Json, StripeError, card_error, invalid, key_in_use, missing_parameter
from .faults import Fault
from .forms import read
from .idempotency import SavedAnswer
from .objects import balance, charges, checkout, customers, events, intents, payment_methods, reversals, setups
from .world import StripeStandIn

BODY_BYTES_MAX = 1_000_000
KEY_LENGTH_MAX = 255
ENDPOINTS: Final = [
    *customers.ENDPOINTS,
    *payment_methods.ENDPOINTS,
    *intents.ENDPOINTS,
    *charges.ENDPOINTS,
    *setups.ENDPOINTS,
    *checkout.ENDPOINTS,
    *reversals.ENDPOINTS,
    *balance.ENDPOINTS,
    *events.ENDPOINTS,
]
Pairs = list[tuple[str, str]]
GATEWAY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def routes(world: StripeStandIn) -> list[Route]:
    """One route for each line of the API, and Stripe's answer to all others."""

    def route(endpoint: Endpoint) -> Route:
        async def handle(request: Request) -> Response:
            return await _answer(world, endpoint, request)

        return Route(endpoint.path, handle, methods=[endpoint.method])

    async def unknown(request: Request) -> Response:
        message = f"Unrecognized request URL ({request.method}: {request.url.path})."
        return _json(404, StripeError(404, message).body, {"Request-Id": _request_id(world)})

    every = ["GET", "POST", "DELETE", "PUT", "PATCH"]
    return [*(route(endpoint) for endpoint in ENDPOINTS), Route("/v1/{rest:path}", unknown, methods=every)]


# What an endpoint answered once it had begun to work.
KEPT: Final = {
    "wrong_kept": invalid("amount", "Amount must be at least $0.50 usd", "amount_too_small"),
    "declined_kept": card_error("Your card was declined.", "card_declined", decline_code="generic_decline"),
}


@dataclass(frozen=True)
class PendingRequest:
    """One request on its way: the line of the API that it meets, what spoils it, and its entry in the log."""

    world: StripeStandIn
    endpoint: Endpoint
    request: Request
    fault: Fault | None
    entry: Json

    @property
    def spoiled(self) -> str | None:
        """What the script does to it, if anything."""
        return None if self.fault is None else self.fault.do

    @property
    def seconds(self) -> float:
        """How long the script has it last, or wait."""
        return 1 if self.fault is None else self.fault.seconds


async def _answer(world: StripeStandIn, endpoint: Endpoint, request: Request) -> Response:
    name = f"{endpoint.method} {endpoint.path}"
    fault = world.faults.next(name)
    entry: Json = {
        "request_id": _request_id(world),
        "at": time.time(),
        "route": name,
        "path": request.url.path,
        "key": request.headers.get("idempotency-key") if request.method == "POST" else None,
        "fault": None if fault is None else fault.do,
        "status": None,
    }
    world.requests.append(entry)
    pending = PendingRequest(world, endpoint, request, fault, entry)
    try:
        _authorise(world, request)
        pairs = await _pairs(request)
        entry["params"] = dict(pairs)
        response = await _spoil_before(pending) or await _do(pending, pairs)
    except StripeError as refusal:
        response = _json(refusal.status, refusal.body)
    finally:
        world.books.commit()
    entry["status"] = response.status_code
    response.headers["Request-Id"] = entry["request_id"]
    response.headers["Stripe-Version"] = request.headers.get("stripe-version", API_VERSION)
    if entry["key"] is not None:
        response.headers["Idempotency-Key"] = entry["key"]
    return await _spoil_after(pending, response)


async def _do(pending: PendingRequest, pairs: Pairs) -> Response:
    """Once per key: the saved answer, or the endpoint's own, saved for a day when it had begun to work."""
    key = pending.entry["key"]
    if key is None:
        await _hold(pending)
        return _json(*_perform(pending, pairs)[0])
    if len(key) > KEY_LENGTH_MAX:
        raise StripeError(400, "Idempotency keys are limited to 255 characters.")
    keys = pending.world.keys
    claim = keys.claim(key, pending.request.url.path, pairs)
    if isinstance(claim, SavedAnswer):
        pending.entry["replayed"] = True
        return _json(claim.status, claim.body, {"Idempotent-Replayed": "true", "Original-Request": claim.request_id})
    try:
        await _hold(pending)
        (status, body), saved = _perform(pending, pairs)
        if saved:
            keys.save(claim, SavedAnswer(status, body, pending.entry["request_id"]))
        return _json(status, body)
    finally:
        keys.release(claim)


async def _hold(pending: PendingRequest) -> None:
    """A request that is held so is in flight: whoever sends it again meanwhile meets a conflict."""
    if pending.spoiled == "hold_before":
        await pending.world.gate.wait()


def _perform(pending: PendingRequest, pairs: Pairs) -> tuple[tuple[int, Json], bool]:
    """What the endpoint answers, and whether Stripe would keep it under the key."""
    broken = StripeError(500, "An unknown error occurred", kind="api_error").body
    if pending.spoiled == "error_before":
        return (500, broken), True
    if pending.spoiled in KEPT:
        return (KEPT[pending.spoiled].status, KEPT[pending.spoiled].body), True
    begun = False
    try:
        params = read(pairs, pending.endpoint.spec)
        for name in pending.endpoint.needs:
            if name not in params:
                raise missing_parameter(name)
        base_url = str(pending.request.base_url).rstrip("/")
        call = Call(pending.world.books, params, base_url, pending.request.path_params.get("id", ""))
        body = pending.endpoint.handle(call)
        begun = True
        answer = expanded(call, body)
    except StripeError as refusal:
        return (refusal.status, refusal.body), begun or refusal.saved
    return (500, broken) if pending.spoiled == "error_after" else (200, answer), True


async def _spoil_before(pending: PendingRequest) -> Response | None:
    match pending.spoiled:
        case "busy":
            error = StripeError(429, "Too many requests hit the API too quickly.", code="rate_limit")
            return _json(429, error.body, {"Retry-After": str(int(pending.seconds))})
        case "conflict":
            raise key_in_use(pending.entry["key"] or "")
        case "wrong":
            raise invalid("amount", "Amount must be at least $0.50 usd", "amount_too_small")
        case "declined":
            raise card_error("Your card was declined.", "card_declined", decline_code="generic_decline")
        case "gateway_before":
            return HTMLResponse(GATEWAY_PAGE, status_code=502)
        case "reset_before":
            return await _reset(pending.request)
        case "silence_before":
            return await _until_they_leave(pending.request)
    return None


async def _spoil_after(pending: PendingRequest, response: Response) -> Response:
    match pending.spoiled:
        case "gateway_after":
            return HTMLResponse(GATEWAY_PAGE, status_code=502)
        case "reset_after":
            return await _reset(pending.request)
        case "silence_after":
            return await _until_they_leave(pending.request)
        case "hold_after":
            await pending.world.gate.wait()
        case "drip":
            return _dripping(response, pending.seconds)
    return response


async def _reset(request: Request) -> Response:
    """Ends the connection with RST, as a network that breaks does; there is no answer to send."""
    transport: asyncio.Transport = request.scope["state"]["transport"]
    raw_socket = transport.get_extra_info("socket")
    raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    return await _until_they_leave(request)


async def _until_they_leave(request: Request) -> Response:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return Response(status_code=499)


def _dripping(response: Response, seconds: float) -> Response:
    async def drops() -> AsyncIterator[bytes]:
        for place in range(len(response.body)):
            yield bytes(response.body[place : place + 1])
            await asyncio.sleep(seconds)

    headers = {name: text for name, text in response.headers.items() if name != "content-length"}
    return StreamingResponse(drops(), status_code=response.status_code, headers=headers)


def _authorise(world: StripeStandIn, request: Request) -> None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            credentials = base64.b64decode(credentials, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            credentials = ""
    if not credentials:
        message = "You did not provide an API key. You need to provide your API key in the Authorization header."
        raise StripeError(401, message)
    if not hmac.compare_digest(credentials.encode(), world.secret_key.encode()):
        raise StripeError(401, f"Invalid API Key provided: {credentials[:8]}{'*' * 8}{credentials[-4:]}")
    version = request.headers.get("stripe-version", API_VERSION)
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?", version):
        raise StripeError(400, f"Invalid Stripe API version: {version}")


async def _pairs(request: Request) -> Pairs:
    if request.method != "POST":
        return list(request.query_params.multi_items())
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_BYTES_MAX:
            raise StripeError(413, "The request is too large.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if raw and kind != "application/x-www-form-urlencoded":
        message = "Invalid request (check that your POST content type is application/x-www-form-urlencoded)."
        raise StripeError(400, message)
    try:
        return parse_qsl(raw.decode(), keep_blank_values=True, strict_parsing=bool(raw), errors="strict")
    except ValueError as unreadable:
        raise StripeError(400, "Invalid request: the form can't be read.") from unreadable


def _json(status: int, body: Json, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, headers, media_type="application/json")


def _request_id(world: StripeStandIn) -> str:
    return world.books.new_id("req")
