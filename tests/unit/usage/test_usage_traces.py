"""A trace comes with the event or with its record, a request's id with the record; both are kept of what becomes a fact, and of nothing else."""

from datetime import UTC, datetime

import pytest
from aiokafka import ConsumerRecord

from schemas.facts import NewFact, UsageRecorded
from services.runtime.tracing.context import Trail
from services.store.append import Ready, make_ready
from services.store.identities import Identity
from services.usage.door import ParsedUsage, parse
from services.usage.traces import UsageTraces, traces_of_usage
from tests.support.usage import SOURCE, binary, reported, structured

ONE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-00"
HEADER = ("traceparent", ONE.encode())
ME = Identity("team_1", SOURCE, "a")


def usage(*headers: tuple[str, bytes], id: str = "a", **event: object) -> ParsedUsage:
    message = structured(reported("team_1", id, **event))  # type: ignore[arg-type]
    parsed = parse(ConsumerRecord("usage", 0, 0, 0, 0, message.key, message.value, None, 0, 0, headers))
    assert isinstance(parsed, ParsedUsage)
    return parsed


def fact(id: str = "a") -> Ready:
    used = UsageRecorded(feature="ai_image.generate", quantity="1", credits=1, rate_card=1)
    return make_ready(NewFact("team_1", SOURCE, id, datetime(2026, 11, 23, tzinfo=UTC), used))


@pytest.mark.parametrize(
    ("parsed", "trace"),
    [
        (usage(), None),
        (usage(("content-type", b"application/json")), None),
        (usage(traceparent=ONE), ONE),
        (usage(HEADER), ONE),
        (usage(("other", b"x"), HEADER), ONE),
        (usage(HEADER, traceparent=OTHER), OTHER),
    ],
    ids=["none", "another header", "of the event", "of the record", "behind a header", "the event's own"],
)
def test_the_events_own_trace_comes_before_that_of_its_record(parsed: ParsedUsage, trace: str | None) -> None:
    assert traces_of_usage([parsed], [fact()]) == UsageTraces({ME: Trail(trace)} if trace else {}, 0)


def test_an_event_in_headers_has_its_trace_there() -> None:
    message = binary(reported("team_1", "a", traceparent=ONE))
    parsed = parse(ConsumerRecord("usage", 0, 0, 0, 0, message.key, message.value, None, 0, 0, message.headers))
    assert isinstance(parsed, ParsedUsage)

    assert traces_of_usage([parsed], [fact()]).kept == {ME: Trail(ONE)}


def test_what_is_no_trace_is_counted_and_dropped() -> None:
    wrong = [usage(traceparent="mem_7"), usage(traceparent=7), usage(("traceparent", b"\xff\x00"))]

    assert traces_of_usage(wrong, [fact()]) == UsageTraces({}, 3)


def test_of_what_came_twice_the_first_trace_is_kept_and_of_what_is_stored_already_none() -> None:
    came = [usage(traceparent=ONE), usage(traceparent=OTHER), usage(id="stored before", traceparent=OTHER)]

    assert traces_of_usage(came, [fact()]) == UsageTraces({ME: Trail(ONE)}, 0)


def test_the_id_of_a_request_stands_in_a_header_of_the_record_beside_a_trace_or_alone() -> None:
    asked = ("x-request-id", b"checkout-7f3a")
    sent = [usage(asked), usage(asked, id="b", traceparent=ONE), usage(HEADER, asked, id="c")]
    wrong = [usage(("x-request-id", text), id="d") for text in (b"", b"ana@mail.example", b"x" * 65, b"\xff")]

    assert traces_of_usage([*sent, *wrong], [fact(), *map(fact, "bcd")]) == UsageTraces(
        {ME: Trail(None, "checkout-7f3a")}
        | {Identity("team_1", SOURCE, id_): Trail(ONE, "checkout-7f3a") for id_ in "bc"},
        0,
    )
