"""An answer passes as it came, whatever its bytes are cut into, and its usage is read on the way."""

import gzip
import json
from typing import Any

import httpx2
import pytest

from deploy.client.creditwell_client.metering.answers import AnswerReading, AskedCall
from deploy.client.creditwell_client.metering.counts import PRICED
from deploy.client.creditwell_client.metering.meters import CallMeter
from deploy.client.creditwell_client.metering.transports import MeteredTransport
from tests.support.model_provider import events_of, vectors

STREAMED = vectors("openai")["chat, streamed"]
EVENTS = events_of(STREAMED, {"stream_options": {"include_usage": True}})
WITHOUT_USAGE = b"".join(events_of(STREAMED, {}))


class Usages:
    """What is read of answers."""

    def __init__(self) -> None:
        self.counted: list[dict[str, Any]] = []
        self.uncounted: list[str] = []

    def reading(self, *, is_stream: bool, hides_usage: bool = True) -> AnswerReading:
        return AnswerReading(
            AskedCall("openai", "gpt-5", hides_usage), is_stream=is_stream,
            on_usage=lambda _, usage: self.counted.append(usage),
            on_uncounted=lambda call: self.uncounted.append(call.reason),
        )  # fmt: skip


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=repr)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_a_stream_that_is_cut_anywhere_loses_the_usage_that_nobody_asked_for_and_nothing_else(
    size: int, end: bytes
) -> None:
    usages = Usages()
    reading = usages.reading(is_stream=True)
    sent = b"".join(EVENTS).replace(b"\n", end)

    passed = b"".join(reading.take(sent[at : at + size]) for at in range(0, len(sent), size)) + reading.rest()

    assert passed == WITHOUT_USAGE.replace(b"\n", end)
    assert [usage["prompt_tokens"] for usage in usages.counted] == [2006]
    assert usages.uncounted == []


def test_a_stream_whose_last_event_has_no_end_passes_whole() -> None:
    usages = Usages()
    reading = usages.reading(is_stream=True)

    passed = reading.take(b'data: {"choices":[1]}\n\ndata: {"choices":[2]}') + reading.rest()

    assert passed == b'data: {"choices":[1]}\n\ndata: {"choices":[2]}'
    assert usages.uncounted == ["the answer does not say what it used"]


def test_an_answer_is_reported_once_however_often_it_ends() -> None:
    usages = Usages()
    reading = usages.reading(is_stream=False)
    reading.take(b'{"usage": {"prompt_tokens": 8}}')

    reading.rest()
    reading.end()
    reading.end()

    assert usages.counted == [{"prompt_tokens": 8}]
    assert usages.uncounted == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"[" * 100_000, b'{"usage": 7}', b'{"usage": {}}'], ids=len)
def test_an_answer_that_says_nothing_of_usage_is_told_and_passes(body: bytes) -> None:
    usages = Usages()
    reading = usages.reading(is_stream=False)

    assert reading.take(body) + reading.rest() == body
    assert usages.uncounted == ["the answer does not say what it used"]


def test_an_answer_that_was_packed_is_unpacked_once() -> None:
    body = {"usage": {"prompt_tokens": 8, "total_tokens": 8}}
    packed = gzip.compress(json.dumps(body).encode())
    inner = httpx2.Client(
        transport=httpx2.MockTransport(
            lambda _: httpx2.Response(
                200, headers={"content-encoding": "gzip", "content-type": "application/json"}, content=packed
            )
        )
    )
    used: list[dict[str, int]] = []

    class Hold:
        def used(self, *, feature: str | None, attributes: object, **quantities: int) -> None:
            used.append(quantities)

    meter = CallMeter(Hold(), None, None, PRICED, None)
    with httpx2.Client(transport=MeteredTransport(inner, "openai", meter)) as client:
        answer = client.post("https://api.example.com/v1/embeddings", json={"model": "small", "input": "x"})

    assert answer.json() == body
    assert used == [{"input_token": 8}]
