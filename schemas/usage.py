"""What feature services say: usage as CloudEvents, in structured or in binary mode, parsed at the door.

The usual case is one pass of a fast decoder made from the model. Whatever is not plainly right takes the slow way,
which asks the model, finds out what is wrong and says it in words that a feature team can act on. Of duplicate members
of a JSON object the last counts; members that are not known are not stored: nobody's prompt belongs in an immutable
log.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from .cloudevents import BadUsage, attributes_of, half_a_letter, is_binary, is_utf_8, load_json, trace_of, with_data
from .facts import QUANTITIES_MAX, Id, Name, Text, is_id
from .fast import struct_of
from .problems import advice, as_written
from .quantities import (
    ONE_OR_SEVERAL,
    Quantity,
    ReportedQuantities,
    canonical_quantities,
    canonical_quantity,
    exact_quantities,
    one_or_several,
)

ATTRIBUTES_MAX = 20
NAME_MAX = 128
_LIKE_A_QUANTITY = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII).fullmatch
_CANONICAL = re.compile(r"(?!0$)(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{0,8}[1-9])?", re.ASCII).fullmatch

Source = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x20\x7f]+$")]


class ReportedUsage(BaseModel):
    """The data of `usage.reported.v1`: what was used, never what it costs. It has `quantity` or `quantities`."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra={"oneOf": ONE_OR_SEVERAL})
    feature: Name
    quantity: Quantity | None = None
    member_id: Id | None = None
    attributes: Annotated[dict[Name, Name], Field(max_length=ATTRIBUTES_MAX)] | None = None
    hold_id: Name | None = None
    quantities: ReportedQuantities | None = None

    @model_validator(mode="after")
    def it_has_one_quantity_or_several(self) -> Self:
        """Raises ValueError."""
        one_or_several(self.quantity, self.quantities)
        return self


class VoidedUsage(BaseModel):
    """The data of `usage.voided.v1`: a usage of the same source is taken back."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    hold_id: ClassVar[None] = None  # a void settles no hold; every usage can be asked for its own
    usage_source: Source
    usage_id: Name
    reason: Text


class AmendedUsage(BaseModel):
    """The data of `usage.amended.v1`: how much a usage of the same source really was. All else of it stays."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra={"oneOf": ONE_OR_SEVERAL})
    hold_id: ClassVar[None] = None  # nor does an amendment
    usage_id: Name
    reason: Text
    quantity: Quantity | None = None
    quantities: ReportedQuantities | None = None

    @model_validator(mode="after")
    def it_has_one_quantity_or_several(self) -> Self:
        """Raises ValueError."""
        one_or_several(self.quantity, self.quantities)
        return self


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    specversion: Literal["1.0"]
    source: Source
    id: Name
    subject: Id
    time: Annotated[AwareDatetime, Field(strict=True)]
    traceparent: Annotated[str | None, Field(description="W3C trace context; what is none is dropped.")] = None


class UsageReported(_Event):
    """A feature did paid work for a team."""

    type: Literal["usage.reported.v1"]
    data: ReportedUsage


class UsageVoidReported(_Event):
    """A feature takes a reported usage back."""

    type: Literal["usage.voided.v1"]
    data: VoidedUsage


class UsageAmendReported(_Event):
    """A feature says how much a reported usage really was: it is taken back and recorded anew."""

    type: Literal["usage.amended.v1"]
    data: AmendedUsage


AnyUsage = UsageReported | UsageVoidReported | UsageAmendReported

# Members that are not known are passed over; of this one must be known that it is there.
FastUsage = msgspec.defstruct(
    "UsageReported", [("data_base64", object, None)], bases=(struct_of(UsageReported),), frozen=True, kw_only=True
)
_FAST = msgspec.json.Decoder(FastUsage).decode
_INSTANT = Annotated[datetime, msgspec.Meta(tz=True)]
_MODELS: dict[str, tuple[type[UsageReported | UsageVoidReported | UsageAmendReported], type[BaseModel]]] = {
    "usage.reported.v1": (UsageReported, ReportedUsage),
    "usage.voided.v1": (UsageVoidReported, VoidedUsage),
    "usage.amended.v1": (UsageAmendReported, AmendedUsage),
}
_PATHS = {name.rpartition(".")[0] for name in _MODELS}
_SEND = "send usage.reported.v1, usage.voided.v1 or usage.amended.v1"


def parse_usage(value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> AnyUsage:
    """The usage in a Kafka record: the model, or the fast struct that has the same fields; `type` tells which it is.

    Raises:
        BadUsage: it is not usage; the reason is one of empty_value, not_json, wrong_shape, bad_quantity,
            unknown_type, unknown_version.
    """
    if not value:
        raise BadUsage("empty_value", "the record has no value; send a CloudEvent")
    if headers and is_binary(headers):
        return _parse_slowly({**attributes_of(headers), "data": load_json(value)})
    try:
        event: UsageReported = _FAST(value)  # type: ignore[assignment]  # it has the fields of the model
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _parse_slowly(with_data(load_json(value)))
    # The fast decoder does not look at the letters of members that nobody knows.
    right = _plainly_right(event) and (value.isascii() or is_utf_8(value))
    return event if right else _parse_slowly(with_data(load_json(value)))


_REMEMBERED_MAX = 100_000
_sources: set[str] = set()  # what was right before, and comes again with every usage; nothing that is wrong, or long
_ids: set[str] = set()
_names: set[str] = set()


def _plainly_right(event: UsageReported) -> bool:
    """True for what the model would take as it is; of the rest it finds out itself."""
    data = event.data
    member, hold, attributes = data.member_id, data.hold_id, data.attributes
    return (
        (event.source in _sources or _like_a_source(event.source))
        and 0 < len(event.id) <= NAME_MAX
        and event.id.isprintable()
        and (event.subject in _ids or _like_an_id(event.subject))
        and (data.feature in _names or _like_a_name(data.feature))
        and (
            (data.quantity is not None and data.quantities is None and _CANONICAL(data.quantity) is not None)
            or (data.quantity is None and data.quantities is not None and _put_in_order(data.quantities))
        )
        and (member is None or member in _ids or _like_an_id(member))
        and (hold is None or (0 < len(hold) <= NAME_MAX and hold.isprintable()))
        and (not attributes or _are_names(attributes))
        and event.data_base64 is None  # type: ignore[attr-defined]  # the struct's alone
    )


def _put_in_order(quantities: dict[str, str]) -> bool:
    """Put quantities in the form in which they are stored: by name, none of 0. False where a second look is due."""
    if not 0 < len(quantities) <= QUANTITIES_MAX:
        return False
    before, is_in_order = "", True
    for name, quantity in quantities.items():
        if not _LIKE_A_QUANTITY(name) or (quantity != "0" and _CANONICAL(quantity) is None):
            return False
        is_in_order = is_in_order and before < name and quantity != "0"
        before = name
    if not is_in_order:
        stored = sorted(pair for pair in quantities.items() if pair[1] != "0")
        quantities.clear()
        quantities.update(stored)
    return bool(quantities)


def _are_names(attributes: Mapping[str, str]) -> bool:
    if len(attributes) > ATTRIBUTES_MAX:
        return False
    for name, value in attributes.items():
        if not ((name in _names or _like_a_name(name)) and (value in _names or _like_a_name(value))):
            return False
    return True


def _like_a_name(text: str) -> bool:
    return 0 < len(text) <= NAME_MAX and text.isprintable() and _remember(_names, text)


def _like_a_source(text: str) -> bool:
    return 0 < len(text) <= NAME_MAX and text.isprintable() and " " not in text and _remember(_sources, text)


def _like_an_id(text: str) -> bool:
    return 0 < len(text) <= NAME_MAX and text.isprintable() and is_id(text) and _remember(_ids, text)


def _remember(texts: set[str], text: str) -> bool:
    if len(texts) >= _REMEMBERED_MAX:
        texts.clear()
    texts.add(text)
    return True


def _usual(event: UsageReported | UsageAmendReported) -> AnyUsage:
    data = event.data
    one = None if data.quantity is None else canonical_quantity(data.quantity)
    several = None if data.quantities is None else canonical_quantities(data.quantities)
    if one == "0" or several == {}:
        named = {"subject": event.subject, "source": event.source, "id": event.id}
        detail = "quantity: 0 is nothing" if several is None else "quantities: all of them are 0, which is nothing"
        raise BadUsage("bad_quantity", f"{detail}; report only what was used", named)
    return event.model_copy(update={"data": data.model_copy(update={"quantity": one, "quantities": several})})


def _parse_slowly(event: Any) -> AnyUsage:
    if not isinstance(event, dict):
        raise BadUsage("wrong_shape", "the value is not a JSON object; send a CloudEvent")
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in _MODELS:
        raise _unknown(kind, event)
    model, data_model = _MODELS[kind]
    data = event.get("data")
    if isinstance(data, dict) and not data.keys().isdisjoint(("quantity", "quantities")):
        event = {**event, "data": _exact(data, event)}
    if isinstance(time := event.get("time"), str):
        event = {**event, "time": _time_of(time)}
    # What stands in other members, were it no text at all, is nobody's concern.
    members = {name: event[name] for name in model.model_fields if name in event}
    members["traceparent"] = trace_of(members.get("traceparent"))
    if isinstance(data := event.get("data"), dict):
        members["data"] = {name: data[name] for name in data_model.model_fields if name in data}
    try:
        usage = model.model_validate_json(json.dumps(members, default=_number))
    except ValidationError as error:
        raise _explained(error, event, members) from None
    except RecursionError:
        raise BadUsage("wrong_shape", "the event is nested too deeply", event) from None
    return usage if isinstance(usage, UsageVoidReported) else _usual(usage)


def _time_of(text: str) -> str:
    """An instant as the fast decoder reads it, where it does: of more than six places, the same microsecond."""
    try:
        instant: datetime = msgspec.convert(text, _INSTANT, strict=False)
    except (msgspec.ValidationError, ValueError):
        return text
    return instant.isoformat(timespec="microseconds")


def _number(number: Any) -> float:
    """A number stays one, so that the model sees that it is no text. What is no float either is wrong all the same."""
    return max(-sys.float_info.max, min(sys.float_info.max, float(number)))


def _unknown(kind: Any, event: dict[str, Any]) -> BadUsage:
    if kind is None:
        return BadUsage("wrong_shape", f"type is missing; {_SEND}", event)
    name = str(kind)[:128]
    if name.rpartition(".")[0] in _PATHS:
        return BadUsage("unknown_version", f"{name} is not known here; send version v1", event)
    return BadUsage("unknown_type", f"{name} is not known; {_SEND}", event)


def _exact(data: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    try:
        return exact_quantities(data)
    except ValueError as error:
        raise BadUsage("bad_quantity", str(error)[:300], event) from None


def _explained(error: ValidationError, event: dict[str, Any], members: dict[str, Any]) -> BadUsage:
    if (halved := half_a_letter(members)) is not None:
        path, text = halved
        detail = f"{'.'.join(path)[:120]}: {as_written(text)} has half of a letter; cut texts between letters"
        return BadUsage("wrong_shape", detail[:300], event)
    first = error.errors(include_url=False)[0]
    where = ".".join(str(step) for step in first["loc"][:4])[:120]
    return BadUsage("wrong_shape", f"{where}: {advice(first)}"[:300] if where else advice(first)[:300], event)
