"""The MCP server, started as a client of MCP starts it, asked by the official client: figures of the API, and no changes."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent

from deploy.client.creditwell_client import AsyncClient
from services.api.tokens import TokenRole, mint
from tests.support.api import Api

ROOT = Path(__file__).parents[3]
SERVER = "from deploy.client.creditwell_client.mcp_server import main; main()"


@asynccontextmanager
async def a_session(api: Api, **environment: str) -> AsyncIterator[ClientSession]:
    """A client that has started the server for the API's team."""
    program = StdioServerParameters(
        command=sys.executable, args=["-c", SERVER, "--url", api.url, "--team", api.team_id], cwd=ROOT, env=environment
    )
    async with stdio_client(program) as (reads, writes), ClientSession(reads, writes) as session:
        await session.initialize()
        yield session


def token(api: Api, role: TokenRole) -> str:
    sources = ("/features/*",) if role is TokenRole.SERVICE else ()
    return mint(api.settings, team=api.team_id, member="mem_1", role=role, sources=sources)


def figures(result: CallToolResult) -> Any:
    assert not result.is_error, result.content
    return result.structured_content


def words(result: CallToolResult) -> str:
    assert result.is_error
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def test_every_tool_reads_and_gives_what_the_api_gives(api: Api) -> None:
    images = {"feature": "ai_image.generate", "quantity": "4", "attributes": {"tier": "standard"}}
    async with AsyncClient(api.url, token=token(api, TokenRole.SERVICE)) as credits:
        async with credits.hold(team=api.team_id, member="mem_1", items=[images]) as hold:
            hold.used(4)
    async with a_session(api, CREDITWELL_TOKEN=token(api, TokenRole.MEMBER)) as session:
        tools = (await session.list_tools()).tools
        balance = figures(await session.call_tool("balance", {}))
        usage = figures(await session.call_tool("usage", {"by": "feature", "days": 1}))
        (entry,) = (row for row in figures(await session.call_tool("activity", {}))["items"] if row["type"] == "usage")
        explained = figures(await session.call_tool("explain", {"entry": entry["id"]}))
        quoted = figures(await session.call_tool("quote", images))

    assert {tool.name for tool in tools} == {"balance", "usage", "activity", "explain", "quote"}
    assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
    assert balance["total"] == "2984"
    assert [item["credits"] for item in usage["items"]] == ["16"]
    assert (explained["id"], explained["credits"]) == (entry["id"], "-16")
    assert (quoted["credits"], quoted["allowed"]) == ("16", True)


async def test_it_may_do_what_its_caller_may_and_says_what_the_api_says(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("stale")
    async with a_session(api, CREDITWELL_TOKEN_FILE=str(file)) as session:
        assert "unauthenticated" in words(await session.call_tool("balance", {}))

        file.write_text(token(api, TokenRole.SERVICE) + "\n")  # it is read for each request
        assert figures(await session.call_tool("balance", {}))["total"] == "3000"
        assert "forbidden" in words(await session.call_tool("explain", {"entry": "0:1:0"}))
        assert "unknown_feature" in json.dumps(
            figures(await session.call_tool("quote", {"feature": "x.y", "quantity": "1"}))
        )
        assert "days" in words(await session.call_tool("usage", {"days": 2}))
