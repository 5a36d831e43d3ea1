"""A trace context is W3C's, to the letter; and what is none costs nobody his usage."""

import json
from typing import Any

import pytest

from schemas.cloudevents import NO_TRACE, trace_of
from schemas.digests import digest_of_report
from schemas.usage import parse_usage
from tests.support.usage import binary, reported, structured

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
WRONG = [
    "", "00", TRACE.upper(), TRACE[:-1], f"{TRACE}0", f"{TRACE}-", f" {TRACE}", f"{TRACE}\n", f"ff{TRACE[2:]}", f"0g{TRACE[2:]}",
    f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", f"cc{TRACE[2:]}x",
    TRACE.replace("4", "٤"), 7, True, [TRACE], {"traceparent": TRACE}, "\ud800", "x" * 100_000,
]  # fmt: skip


def test_a_context_is_written_as_version_00_writes_it() -> None:
    assert trace_of(TRACE) == TRACE
    assert trace_of(f"cc{TRACE[2:]}-what-comes-later") == TRACE
    assert trace_of(f"cc{TRACE[2:]}") == TRACE
    assert trace_of(None) is None


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_what_is_none_is_told_from_nothing_at_all(text: object) -> None:
    assert trace_of(text) == NO_TRACE


@pytest.mark.parametrize("text", [TRACE, *WRONG], ids=range(len(WRONG) + 1))
@pytest.mark.parametrize("kind", ["usage.reported.v1", "usage.voided.v1"])
def test_no_usage_is_refused_for_its_trace_or_is_another_one_by_it(kind: str, text: Any) -> None:
    data: dict[str, Any] = (
        {} if kind == "usage.reported.v1" else {"data": {"usage_source": "/a", "usage_id": "b", "reason": "c"}}
    )
    plain = reported("team_1", "a", type=kind, at="2026-11-23T10:00:00Z", **data)
    traced = json.dumps(plain | {"traceparent": text}).encode()

    event = parse_usage(traced, ())

    assert (trace_of(event.traceparent) or None) == (TRACE if text == TRACE else None)
    assert digest_of_report(event) == digest_of_report(parse_usage(json.dumps(plain).encode(), ()))


def test_both_modes_have_it_and_a_usage_without_one_has_none() -> None:
    traced = reported("team_1", "a", traceparent=TRACE)

    for message in (structured(traced), binary(traced)):
        assert parse_usage(message.value, message.headers).traceparent == TRACE
    assert parse_usage(json.dumps(reported("team_1", "a")).encode(), ()).traceparent is None
