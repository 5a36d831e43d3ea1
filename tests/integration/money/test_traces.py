"""A trace and a request's id of whoever used a feature lead to the charge that came of it, and to the host that was told."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send
from typer.testing import CliRunner

from schemas.facts import CreditsToppedUp
from schemas.topics import EVENTS
from services.cli import app
from services.cli.trouble import trail
from services.runtime.tracing.context import Trail, carrying
from services.runtime.tracing.sending import spans_sent
from tests.integration.publishing.test_notices import SECRET, host
from tests.support.collector import collecting
from tests.support.desk import Desk, has, settings, working
from tests.support.facts import zone_at_midday
from tests.support.serving import as_role, store
from tests.support.topics import TopicReader
from tests.support.usage import reported, structured
from tests.support.waiting import until
from tests.support.world import ServiceWorld, ends_of

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OF_A_REQUEST = "00-11111111111111111111111111111111-2222222222222222-01"
TRACE_ID, ASKED = TRACE[3:35], "render-7f3a.1"
CAUSED = (
    "usage.recorded.v1",
    "balance.ran_low.v1",
    "top_up.requested.v1",
    "top_up.intent_created.v1",
    "credits.topped_up.v1",
)
TRACES = """
    SELECT type, substr(traceparent, 4, 32) AS trace_id, request_id FROM facts LEFT JOIN traces USING (shard, position)
    WHERE team_id = $1 ORDER BY position
"""
IN_A_FACT = "SELECT count(*) FROM facts WHERE position(convert_to($1, 'UTF8') IN body) > 0"
DONE = {"top-up", "stripe PaymentIntent.create", "stripe PaymentIntent.confirm", "notice"}
LINKED = {"record usage", "publish facts"}
WRITTEN_DOWN = "SELECT state = 'delivered' FROM notices WHERE notice_id = $1"
CLAIMED = "SELECT count(*) = 64 FROM checkpoints WHERE reader = 'notices' AND owner <> ''"


def noting(asked: dict[str, dict[str, str]]) -> Callable[[ASGIApp], ASGIApp]:
    """Around the host: the headers with which it was told, by the notice."""

    def around(app: ASGIApp) -> ASGIApp:
        async def noted(scope: Scope, receive: Receive, send: Send) -> None:
            headers = {name.decode(): text.decode() for name, text in scope.get("headers", ())}
            asked[headers.get("webhook-id", "")] = headers
            await app(scope, receive, send)

        return noted

    return around


async def test_a_trace_and_the_id_of_a_request_go_from_a_usage_to_its_charge_and_its_notice(
    world: ServiceWorld, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    team, connection = f"team_{uuid4().hex}", world.connection
    asked, on_topic = dict[str, dict[str, str]](), dict[str, tuple[str | None, str | None]]()
    roles = {role: as_role(world.database, role) for role in ("recorder", "projector", "worker")}
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        reader = TopicReader(world.stack.kafka, EVENTS, await ends_of(world.stack.kafka, EVENTS))
        async with (
            host(around=noting(asked)) as (receiver, url),
            spans_sent("all", CollectorRegistry()),
            world.recorder(database=roles["recorder"]),
            world.projector(database=roles["projector"]),
            world.relay(database=roles["worker"], notice_url=url, notice_secret=SecretStr(SECRET)),
            working(world.stack, world.database, desk, "topup"),
        ):
            await until(lambda: connection.fetchval(CLAIMED))
            await world.team(team, zone=zone_at_midday())
            with carrying(Trail(OF_A_REQUEST)):
                await store(connection, team, [await desk.card(team, "pm_card_visa"), settings()])

            usage = structured(reported(team, "a", quantity="2100", traceparent=TRACE))
            await world.send(replace(usage, headers=(*usage.headers, ("x-request-id", ASKED.encode()))))
            await until(lambda: has(connection, team, CreditsToppedUp))

            async def told() -> str | None:
                """The id of the notice, once the host has it."""
                low = (name for name, notice in receiver.notices.items() if notice["type"] == "balance.ran_low.v1")
                return next(low, None)

            async def published() -> bool:
                """All that was caused is on the topic; by its type, with its trace."""
                for record in await reader.read_to_end():
                    if record.key == team.encode():
                        trace, id_ = (
                            record.headers.get(name, b"").decode() for name in ("traceparent", "x-request-id")
                        )
                        on_topic[json.loads(record.value or b"")["type"]] = trace[3:35] or None, id_ or None
                return on_topic.keys() >= {*CAUSED}

            async def collected() -> bool:
                return collector.of_trace(TRACE_ID) >= DONE and collector.linked_to(TRACE_ID) >= LINKED

            low = await until(told)
            await until(lambda: connection.fetchval(WRITTEN_DOWN, low))
            await until(published)
            await until(collected, what=f"{DONE} and {LINKED} are at the collector")
        reader.close()

    trails = {row["type"]: (row["trace_id"], row["request_id"]) for row in await connection.fetch(TRACES, team)}
    assert {kind: trails[kind] for kind in CAUSED} == dict.fromkeys(CAUSED, (TRACE_ID, ASKED))
    assert trails["top_up.configured.v1"] == (OF_A_REQUEST[3:35], None)
    assert trails["plan.assigned.v1"] == (None, None)
    assert (asked[low]["traceparent"][3:35], asked[low]["x-request-id"]) == (TRACE_ID, ASKED)
    assert on_topic == {kind: trail for kind, trail in trails.items() if kind in on_topic}
    # The log, and what stands upon a payment, are the same without it.
    for text in TRACE_ID, ASKED:
        assert not await connection.fetchval(IN_A_FACT, text)
        assert text not in str(await desk.books())
    # Whoever was told the id finds all of it.
    settings_of = {"CREDITWELL_DATABASE": as_role(world.database, "reader"), "CREDITWELL_INSECURE_DEV": "1"}
    for name in ASKED, TRACE_ID, TRACE:
        said = await asyncio.to_thread(CliRunner().invoke, app, ["trail", name, "--json"], env=settings_of)
        found = [(row["type"], row["notice_state"]) for row in json.loads(said.stdout)["items"]]
        assert [kind for kind, _ in found] == [*CAUSED]
        assert dict(found)["balance.ran_low.v1"] == "delivered"
        assert not json.loads(said.stdout)["more"]
    monkeypatch.setattr(trail, "FOUND_MAX", 1)
    first = await asyncio.to_thread(CliRunner().invoke, app, ["trail", ASKED], env=settings_of)
    assert "and more: these are the first 1" in first.stdout
    none = await asyncio.to_thread(CliRunner().invoke, app, ["trail", "nobody"], env=settings_of)
    assert (none.exit_code, none.stdout) == (1, "")
