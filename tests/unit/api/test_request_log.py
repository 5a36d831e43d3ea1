"""Each request is one line in the log, under the id with which whatever was said meanwhile is found."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import structlog
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from services.api.middleware import RequestMiddleware, team_hash
from services.api.tokens import Caller, TokenRole
from services.runtime.logs import configure_logs
from services.runtime.settings_loading import load_settings

ROUTE = "/v1/teams/{team}/balance"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MEMBER = Caller("team_42", "mem_7", TokenRole.MEMBER, (), datetime(2026, 12, 1, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """Logging as it was, afterwards."""
    root, access = logging.getLogger(), logging.getLogger("access")
    handlers, level, own = root.handlers[:], root.level, access.level
    yield
    root.handlers[:], root.level = handlers, level
    access.setLevel(own)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def ask(
    route: str,
    status: int = 200,
    caller: Caller | None = MEMBER,
    registry: CollectorRegistry | None = None,
    **headers: str,
) -> None:
    """One request of an application that says something of its own."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        scope["route"], scope["state"] = SimpleNamespace(path=route), {"caller": caller}
        structlog.get_logger("services.money").debug("meanwhile")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx2.ASGITransport(RequestMiddleware(app, registry or CollectorRegistry()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://probe") as client:
        await client.get("/v1/teams/team_42/balance", headers={"x-request-id": "req-1", **headers})


async def test_a_request_is_one_line_with_its_id_and_without_the_teams_name(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(load_settings(log_format="json", log_levels="services.money=debug"), "api")

    await ask(ROUTE)

    meanwhile, line = lines(capsys)
    assert (meanwhile["event"], meanwhile["request_id"]) == ("meanwhile", "req-1")
    assert line.pop("ms") >= 0
    assert "team_42" not in str(line)
    assert {name: line[name] for name in sorted(line.keys() - {"at"})} == {
        "event": "request", "level": "info", "method": "GET", "process": "api", "request_id": "req-1", "role": "member",
        "route": ROUTE, "status": 200, "team": team_hash("team_42"),
    }  # fmt: skip


async def test_probes_that_went_well_are_left_out_and_the_level_of_these_lines_is_their_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(load_settings(log_format="json", log_levels="access=warning"), "api")

    await ask("/readyz", caller=None)
    await ask("/readyz", 503, caller=None)
    await ask(ROUTE)
    await ask(ROUTE, 404)
    await ask(ROUTE, 503)

    assert [(line["route"], line["status"]) for line in lines(capsys)] == [("/readyz", 503), (ROUTE, 503)]


async def test_what_is_said_while_a_request_is_answered_has_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(load_settings(log_format="json", log_levels="services.money=debug"), "api")

    await ask(ROUTE, traceparent=TRACE)

    assert [line["trace_id"] for line in lines(capsys)] == [TRACE[3:35]] * 2


async def test_a_trace_that_is_none_is_dropped_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(load_settings(log_format="json"), "api")
    registry = CollectorRegistry()

    await ask(ROUTE, registry=registry, traceparent="mem_7")

    assert not any("trace_id" in line for line in lines(capsys))
    assert registry.get_sample_value("creditwell_http_traces_malformed_total") == 1
