"""CloudEvents as they come: which format a record has, and what its parts say.

Which format it is tell the rules of the standard (https://github.com/cloudevents/spec, Kafka binding §3): a content
type that begins with `application/cloudevents` is structured, whatever else is there; else `ce_specversion` or
`ce_type` makes it binary. A type is judged as it was sent: a number is no text, whole or not.
"""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from .problems import as_written

BINARY_PREFIX = "ce_"
BINARY = ("ce_specversion", "ce_type")
STRUCTURED = b"application/cloudevents"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # a reader may ignore it: RFC 8259 §8.1
TEXTS_DEEP = 2  # data.attributes.tier
TRACEPARENT = "traceparent"  # an extension of events, a header of records and of requests: all mean the same
NO_TRACE = ""  # what is there, and is none
REQUEST_ID = "x-request-id"  # a header of requests, records and notices: what a caller of the API calls his request
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}(?P<context>-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})", re.ASCII
).match
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII).fullmatch
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]").search
_JSON_TYPE = re.compile(r"\s*([^;\s]+/)?([^;\s/]+\+)?json\s*(;.*)?", re.IGNORECASE | re.DOTALL).fullmatch


class BadUsage(Exception):
    """A record that is not usage. `reason` is a stable code, `detail` says what to change."""

    def __init__(self, reason: str, detail: str, event: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.event = event or {}


def trace_of(text: object) -> str | None:
    """A W3C trace context as its version 00 writes it, in 55 characters; NO_TRACE where what is there is none.

    Of a version that is not known yet the part counts that version 00 has, as the standard wants it. None stays None.
    """
    if text is None:
        return None
    match = _TRACEPARENT(text) if isinstance(text, str) else None
    if match is None:
        return NO_TRACE
    rest = match.string[match.end() :]
    if rest and (match.string.startswith("00") or not rest.startswith("-")):
        return NO_TRACE
    return f"00{match['context']}"


def request_id_of(text: str) -> str | None:
    """What somebody calls his request, if it may be called so: no person's name or address is written like that."""
    return text if _REQUEST_ID(text) else None


def is_binary(headers: Sequence[tuple[str, bytes]]) -> bool:
    """True for an event whose attributes are headers and whose data is the value."""
    has_attributes = False
    for name, text in headers:
        lowered = name.lower()
        if lowered == "content-type" and text and text.lstrip().lower().startswith(STRUCTURED):
            return False
        has_attributes = has_attributes or lowered in BINARY
    return has_attributes


def attributes_of(headers: Sequence[tuple[str, bytes]]) -> dict[str, str]:
    """The context attributes of a CloudEvent in binary mode. Raises BadUsage: wrong_shape, one is not UTF-8."""
    try:
        return {
            name.lower()[len(BINARY_PREFIX) :]: (text or b"").decode()
            for name, text in headers
            if name.lower().startswith(BINARY_PREFIX)
        }
    except UnicodeDecodeError as error:
        raise BadUsage("wrong_shape", f"a ce_ header is not UTF-8: {error}"[:300]) from None


def with_data(event: Any) -> Any:
    """The event with its `data`, where it was sent as `data_base64`.

    Raises:
        BadUsage: wrong_shape or not_json; the detail names the member.
    """
    if not isinstance(event, dict) or event.get("data_base64") is None:
        return event
    if event.get("data") is not None:
        raise BadUsage("wrong_shape", "data, data_base64: an event has one of them; send data", event)
    kind, packed = event.get("datacontenttype"), event["data_base64"]
    if kind is not None and not (isinstance(kind, str) and _JSON_TYPE(kind)):
        raise BadUsage("not_json", f"datacontenttype: {as_written(kind)} is not JSON; send data"[:300], event)
    try:
        data = b64decode(packed, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise BadUsage("wrong_shape", "data_base64: is not text in base64; send data", event) from None
    try:
        return {**event, "data": load_json(data)}
    except BadUsage as bad:
        raise BadUsage(bad.reason, f"data_base64: {bad.detail}"[:300], event) from None


def load_json(value: bytes) -> Any:
    """What the bytes say, with the digits that its numbers have. Raises BadUsage: not_json."""
    if value[:1] == b"\0":
        detail = "the value begins with NUL, as serializers with a schema registry write it; send JSON as it is"
        raise BadUsage("not_json", detail)
    try:
        return json.loads(
            value.removeprefix(BYTE_ORDER_MARK).decode(), parse_float=Decimal, parse_constant=_no_constant
        )
    except RecursionError:
        raise BadUsage("not_json", "the value is nested too deeply") from None
    except (ValueError, ArithmeticError) as error:
        raise BadUsage("not_json", f"the value is not JSON in UTF-8: {error}"[:300]) from None


def is_utf_8(value: bytes) -> bool:
    """True for bytes that are text."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def half_a_letter(node: Any, path: tuple[str, ...] = ()) -> tuple[tuple[str, ...], str] | None:
    """A text with a surrogate alone, and the way to it: JavaScript writes one for a text that was cut within a letter.

    It looks no deeper than usage has texts.
    """
    if isinstance(node, str):
        return (path, node) if _LONE_SURROGATE(node) else None
    if not isinstance(node, dict) or len(path) > TEXTS_DEEP:
        return None
    inner = (half_a_letter(part, (*path, name)) for name, value in node.items() for part in (name, value))
    return next((halved for halved in inner if halved is not None), None)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
