"""Usage written in every way that JSON allows, and what the two decoders make of it.

Whatever both take must mean the same.
"""

import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import usage
from schemas.cloudevents import BadUsage, load_json, with_data
from schemas.digests import digest_of_report
from schemas.usage import AnyUsage, parse_usage

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ODD = st.sampled_from(
    ["", " ", "a b", "a/b", "..", "x" * 128, "x" * 129, "é", "\u200b", "\u2028", "\x00", "mem_1", "\U0001f600"]
)
NUMBERS = st.sampled_from(["1", "1.0", "1.5", "0", "-1", "1e3", "1E-2", "123456789012345", "0.000000001", "true"])
RAW = st.one_of(NUMBERS, st.sampled_from(["null", "[]", "{}", '""', '"1"', '"\\ud800"', '"\\u0041"']))
QUANTITIES = st.one_of(
    st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4})?", fullmatch=True).map(json.dumps),
    st.sampled_from(['"012.500"', '"0"', '"1."', '".5"', '"1e3"', '" 1"', '"1000000000000"', '"٣"', "null"]),
    NUMBERS,
)
SEVERAL = st.one_of(
    st.dictionaries(st.sampled_from(["a", "input_token", "A", "é", "x" * 64, "x" * 65]), QUANTITIES, max_size=3).map(
        lambda several: written([*several.items()])
    ),
    st.just('{"a": "1", "a": "2"}'), RAW,
)  # fmt: skip
TIMES = st.builds(
    "{}-{}-{}{}{}:{}:{}{}{}".format,
    st.sampled_from(["2026", "0001", "9999", "1970", "2024"]), st.sampled_from(["01", "02", "11", "12", "13"]),
    st.sampled_from(["01", "28", "29", "31"]), st.sampled_from(["T", "t", " ", "_"]), st.sampled_from(["00", "10", "23", "24"]),
    st.sampled_from(["00", "59", "60"]), st.sampled_from(["00", "30", "59", "60"]),
    st.sampled_from(["", ".1", ".123456", ".1234565", ".1234567", ".9999999", ".999999999", ".", ",5"]),
    st.sampled_from(["Z", "z", "+00:00", "-00:00", "+05:30", "-12:00", "+14:00", "+0530", "+23:59", "+24:00", "", " Z"]),
).map(json.dumps)  # fmt: skip
VALUES = st.one_of(
    TEXT.map(json.dumps), ODD.map(json.dumps), ODD.map(lambda text: json.dumps(text, ensure_ascii=False)), RAW
)
ATTRIBUTES = st.one_of(
    RAW, st.dictionaries(st.one_of(TEXT, ODD), st.one_of(TEXT, ODD), max_size=3).map(json.dumps),
    st.just('{"tier": "low", "tier": "high"}'), st.just('{"tier": 1.5}'), st.just('{"tier": null}'),
)  # fmt: skip
RIGHT = {
    "specversion": '"1.0"', "type": '"usage.reported.v1"', "source": '"/features/test"', "id": '"1"', "subject": '"team_1"',
    "time": '"2026-11-23T10:15:30.123456Z"',
}  # fmt: skip
RIGHT_DATA = {"feature": '"ai_image.generate"', "quantity": '"1"', "attributes": '{"tier": "low"}'}
CHANGES = st.one_of(
    st.tuples(st.sampled_from([*RIGHT, "extra", "data_base64", "datacontenttype"]), VALUES),
    st.tuples(st.just("time"), TIMES),
)
DATA_CHANGES = st.one_of(
    st.tuples(st.just("quantity"), QUANTITIES), st.tuples(st.just("quantities"), SEVERAL), st.tuples(st.just("attributes"), ATTRIBUTES),
    st.tuples(st.sampled_from(["feature", "member_id", "hold_id", "prompt"]), VALUES),
)  # fmt: skip


def written(members: list[tuple[str, str]]) -> str:
    """A JSON object of these members, duplicates and all."""
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in members) + "}"


@st.composite
def events(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, str]], str]:
    """An event in structured mode; its attributes and its data, of which some are wrong, odd or there twice."""
    data = written(draw(st.permutations([*RIGHT_DATA.items(), *draw(st.lists(DATA_CHANGES, max_size=2))])))
    attributes = draw(st.permutations([*RIGHT.items(), *draw(st.lists(CHANGES, max_size=2))]))
    return written([*attributes, ("data", data)]).encode("utf-8"), attributes, data


def meaning(event: AnyUsage) -> tuple[Any, ...]:
    """What is recorded of it, and what a repetition is told by; at the ends of time the door refuses it before that."""
    digest = digest_of_report(event) if 1 < event.time.year < 9999 else None
    return event.type, event.source, event.id, event.subject, event.time, digest


def read_fast(value: bytes) -> tuple[Any, ...] | None:
    """As the fast decoder has it, where it decides."""
    try:
        event = usage._FAST(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return meaning(event) if usage._plainly_right(event) else None  # type: ignore[arg-type]


def read_slowly(value: bytes) -> tuple[Any, ...] | None:
    """As the model has it."""
    try:
        return meaning(usage._parse_slowly(with_data(load_json(value))))
    except BadUsage:
        return None


def read_binary(attributes: list[tuple[str, str]], data: str) -> tuple[Any, ...] | None:
    """The same event in binary mode, whose attributes are text; None where they can't be."""
    event = json.loads(written(attributes))
    if not all(isinstance(value, str) for value in event.values()):
        return None
    try:
        headers = [(f"ce_{name}", value.encode()) for name, value in event.items()]
        return meaning(parse_usage(data.encode(), headers))
    except (BadUsage, UnicodeEncodeError):
        return None


def check_decoders(examples: int) -> None:
    """AssertionError with the smallest event that two decoders take for two things."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(events())
    def agree(event: tuple[bytes, list[tuple[str, str]], str]) -> None:
        value, attributes, data = event
        fast, slow, binary = read_fast(value), read_slowly(value), read_binary(attributes, data)
        assert fast is None or fast == slow, "what the fast decoder takes the model takes as well"
        assert slow is None or binary is None or slow == binary

    agree()
