"""Bodies: JSON in which no digit is lost.

Those that no model of the API judges are described by their model all the same.
"""

import json
import re
import zlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from fastapi_problem.error import Problem
from pydantic import BaseModel
from starlette.requests import Request

from services.api.answers import JSON
from services.api.middleware import BODY_MAX
from services.api.problems import problem

_SPACES = " \t\n\r"
# Takes NaN and half of a letter as they come: it only has to find where an entry ends.
_LENIENT = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
JSON_KIND = re.compile(r"application/(.+\+)?json").fullmatch


class ExactRequest(Request):
    """A request whose JSON is read with the digits that its numbers have: an amount never was a float."""

    async def body(self) -> bytes:
        """The body, unpacked where it came packed.

        Raises:
            Problem: `unsupported_media_type`, it is packed in another way than gzip; `too_large`; `invalid_request`, it
            is no gzip.
        """
        if not hasattr(self, "_unpacked"):
            self._unpacked = _unpacked(await super().body(), self.headers.get("content-encoding", ""))
        return self._unpacked

    async def json(self) -> Any:
        """What the body says.

        Raises:
            Problem: `unsupported_media_type`, nobody says that it is JSON; `invalid_request`, it is not.
        """
        if not hasattr(self, "_json"):
            kind = media_type_of(self)
            if not JSON_KIND(kind):
                raise problem(415, "unsupported_media_type", f"send Content-Type: {JSON}, not {kind or 'nothing'!r}")
            self._json = parse_json(await self.body(), parse_float=Decimal)
        return self._json

    async def canonical(self) -> bytes:
        """What was said, whatever the order of members and the spaces between them.

        The bytes themselves where nobody read them as JSON.
        """
        return repr(_in_order(self._json)).encode() if hasattr(self, "_json") else await self.body()


def _in_order(node: Any) -> Any:
    match node:
        case dict():
            return {name: _in_order(node[name]) for name in sorted(node)}
        case list():
            return [_in_order(one) for one in node]
        case _:
            return node


def _unpacked(body: bytes, encoding: str) -> bytes:
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _gunzip(body)
        case _:
            detail = f"send the body as it is or in gzip, not in {encoding!r:.80}"
            raise problem(415, "unsupported_media_type", detail, headers={"accept-encoding": "gzip"})


def _gunzip(body: bytes) -> bytes:
    """What was packed counts: some kB may say that they are gigabytes."""
    gzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = gzip.decompress(body, BODY_MAX + 1)
    except zlib.error as error:
        raise problem(422, "invalid_request", f"the body is not gzip: {error}") from error
    if len(unpacked) > BODY_MAX:
        raise problem(413, "too_large", f"a body has at most {BODY_MAX} bytes when it is unpacked")
    if not gzip.eof or gzip.unused_data:
        raise problem(422, "invalid_request", "the body is not one whole gzip member")
    return unpacked


def media_type_of(request: Request) -> str:
    """What the request says that its body is, without parameters; nothing where it does not say."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parse_json(body: bytes, *, parse_float: Callable[[str], Any] = float, name: str = "the body") -> Any:
    """What the body says. Raises Problem: invalid_request, it is not JSON in UTF-8."""
    try:
        return json.loads(body.decode("utf-8-sig"), parse_float=parse_float, parse_constant=_no_number)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise _no_json(name, error) from error


def entries_of(body: bytes) -> list[bytes]:
    """The entries of a list in their own bytes, where a strict reader stops at one: each is to be judged alone.

    Raises:
        Problem: invalid_request, nobody knows where an entry ends.
    """
    try:
        text, entries = body.decode().strip(_SPACES), []
        at, sign = 1, ","
        while sign == ",":
            begin = _past_spaces(text, at)
            _, end = _LENIENT(text, begin)
            entries.append(text[begin:end].encode())
            at = _past_spaces(text, end) + 1
            sign = text[at - 1 : at]
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise _no_json("the body", error) from error
    if sign != "]" or at != len(text):
        raise _no_json("the body", f"after entry {len(entries)} there is neither a comma nor the list's end")
    return entries


def _past_spaces(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACES:
        at += 1
    return at


def _no_json(name: str, why: object) -> Problem:
    return problem(422, "invalid_request", f"{name} is not JSON: {why}")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number in JSON")


def body_of(kinds: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The body for the OpenAPI document, as `openapi_extra`: a schema for each media type."""
    content = {kind: {"schema": schema} for kind, schema in kinds.items()}
    return {"requestBody": {"required": True, "content": content}}


def schema_of(model: type[BaseModel]) -> dict[str, str]:
    """Where the document describes a model that a body is held to; see `BY_NAME` in document.py."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}
