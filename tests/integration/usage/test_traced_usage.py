"""A trace that comes with a usage is kept beside its fact, and decides nothing."""

import re
from datetime import UTC, datetime
from pathlib import Path

from services.store.beside.traces import KEPT, OldTraces
from tests.support.serving import as_role, connected
from tests.support.usage import Message, amended, binary, reported, structured, voided
from tests.support.waiting import until
from tests.support.world import ServiceWorld

ONE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-00"
PAGE = Path(__file__).parents[3] / "docs/tracing.md"
(SHOWN,) = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
TRACES = """
    SELECT facts.id, type, traceparent FROM facts LEFT JOIN traces USING (shard, position)
    WHERE team_id = 'team_1' AND type LIKE 'usage.%' ORDER BY position
"""


def traced(id: str, trace: object, at: datetime, *, quantity: str = "1") -> Message:
    return structured(reported("team_1", id, at=at, quantity=quantity, traceparent=trace))


async def test_the_same_usage_with_another_trace_is_a_repetition_and_a_trace_changes_no_byte(
    world: ServiceWorld,
) -> None:
    await world.team("team_1")
    at = datetime.now(UTC)
    plain = structured(reported("team_1", "plain", at=at))

    async with world.recorder(database=as_role(world.database, "recorder")) as recorder:
        odd = traced("odd", "mem_7", at), traced("odder", 7, at)
        await world.send(traced("a", ONE, at), traced("a", OTHER, at), plain, *odd)
        await world.recorded()
        await world.send(traced("a", OTHER, at), traced("plain", OTHER, at), traced("a", ONE, at, quantity="2"))
        await world.send(structured(voided("team_1", "v", of="odd") | {"traceparent": OTHER}))
        await world.send(structured(amended("team_1", "m", of="odder", quantity="3") | {"traceparent": ONE}))
        await world.send(binary(reported("team_1", "b") | {"traceparent": ONE}))
        await world.recorded()

        async def malformed_are_counted() -> bool:
            figure = "creditwell_usage_traces_total", {"outcome": "malformed"}
            return recorder.health.registry.get_sample_value(*figure) == 2

        await until(malformed_are_counted)

    async with connected(as_role(world.database, "reader")) as reader:
        assert [row["team_id"] for row in await reader.fetch(SHOWN)] == ["team_1"] * 3
    kept = {(row["id"], row["type"]): row["traceparent"] for row in await world.connection.fetch(TRACES)}
    assert {id: trace for (id, _), trace in kept.items() if trace is not None} == {
        "a": ONE,
        "v": OTHER,
        "m": ONE,
        "b": ONE,
    }
    assert (await world.repeats("a"), await world.repeats("plain")) == ((2, 1), (1, 0))
    assert await world.reasons() == ["conflict"]
    bodies = {fact.id: fact.body for fact in await world.facts("team_1", type="usage.recorded.v1")}
    assert bodies["a"] == bodies["plain"] == bodies["odd"]


async def test_traces_are_let_go_when_their_time_is_over(world: ServiceWorld) -> None:
    await world.connection.execute(
        "INSERT INTO traces VALUES (1, 1, $1, NULL, now() - $2::interval), (1, 2, $1, NULL, now())", ONE, KEPT
    )

    async with connected(as_role(world.database, "worker")) as worker:
        assert not await OldTraces().forget(worker)

    assert [row["position"] for row in await world.connection.fetch("SELECT position FROM traces")] == [2]
