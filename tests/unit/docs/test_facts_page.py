"""The consumer on the page about facts loses none of them when it dies."""

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import aiokafka
import pytest

PAGE = Path(__file__).parents[3] / "docs/facts.md"
RECORDS = [
    b'{"shard":7,"position":1}',
    b'{"shard":7,"position":2}',
    b'{"shard":7,"position":2}',
    b'{"shard":8,"position":1}',
]


class Topic:
    """A topic of four records, of which one was published twice."""

    def __init__(self, *_: str, **options: Any) -> None:
        self.options = options
        OPENED.append(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def __aiter__(self) -> AsyncIterator[SimpleNamespace]:
        for value in RECORDS:
            yield SimpleNamespace(value=value)


OPENED: list[Topic] = []


async def test_it_gives_each_fact_once_and_leaves_to_its_caller_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", Topic)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    page: dict[str, Any] = {}
    exec(compile(block, str(PAGE), "exec"), page)

    async with aclosing(page["facts"]("kafka:9092", "analytics", {7: 1})) as reading:
        given = [(fact["shard"], fact["position"]) async for fact in reading]

    assert given == [(7, 2), (8, 1)]
    assert OPENED.pop().options["enable_auto_commit"] is False, (
        "Kafka commits what was given, whether or not it is kept"
    )
