"""An MCP server over the API: what a team has, what it used and why, and what work would cost. It changes nothing.

    CREDITWELL_TOKEN=… creditwell-mcp --url https://credits.example.com --team team_42

It speaks over standard input and output with whoever starts it, and asks the API with that caller's own token: who may
not see a figure there doesn't see it here. Needs the extra `creditwell-client[mcp]`.
"""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from . import requests
from .calls import ApiCall
from .clients import AsyncClient
from .errors import CreditwellError
from .sending import Token

TOKEN, TOKEN_FILE = "CREDITWELL_TOKEN", "CREDITWELL_TOKEN_FILE"
PATIENCE_SECONDS = 10.0  # somebody waits for the answer
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
INSTRUCTIONS = (
    "Credits of one team at Creditwell. Credits are decimal texts: show them as they are, and do not add them up as floats. "
    "A balance may be below zero. Nothing here changes anything."
)
By = Literal["feature", "member", "day", "attribute"]
Days = Annotated[Literal[1, 7, 30], Field(description="The last so many days.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(
        "creditwell-mcp", description="Credits of a team for an MCP client. Reads, and changes nothing.",
        epilog=f"The caller's token is in {TOKEN}, or in the file that {TOKEN_FILE} names, read for each request.",
    )  # fmt: skip
    parser.add_argument("--url", required=True, help="the API, such as https://credits.example.com")
    parser.add_argument("--team", required=True, help="the team that is asked about")
    chosen = parser.parse_args(arguments)
    token = _token()
    if token is None:
        sys.exit(f"creditwell-mcp: there is no token: set {TOKEN} or {TOKEN_FILE}")
    new_server(chosen.url, chosen.team, token).run("stdio")


def new_server(url: str, team: str, token: Token) -> MCPServer:
    """The server with its tools, for one team."""
    credits = AsyncClient(url, token=token, patience_seconds=PATIENCE_SECONDS)

    @asynccontextmanager
    async def closing(_: MCPServer) -> AsyncIterator[None]:
        async with credits:
            yield

    server = MCPServer("creditwell", instructions=INSTRUCTIONS, lifespan=closing, log_level="WARNING")

    async def ask(call: ApiCall[Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await credits.send(call)
        except CreditwellError as no:
            raise ToolError(str(no)) from no
        return answer

    _add_tools(server, team, ask)
    return server


def _add_tools(server: MCPServer, team: str, ask: Callable[[ApiCall[Any]], Awaitable[dict[str, Any]]]) -> None:
    """What may be asked of one team; nothing that changes anything."""

    @server.tool(annotations=READS)
    async def balance() -> dict[str, Any]:
        """What the team has: total, of each kind, held for running work, available, and when the next refill comes."""
        return await ask(requests.balance(team))

    @server.tool(annotations=READS)
    async def usage(by: By = "feature", days: Days = 30, attribute: str | None = None) -> dict[str, Any]:
        """Credits and uses of the last days, added up; `attributes` are those that usage is counted by."""
        return await ask(requests.usage(team, by, days, attribute))

    @server.tool(annotations=READS)
    async def activity(days: Days = 30, cursor: str | None = None) -> dict[str, Any]:
        """Entries of the credit activity, newest first, a page at a time; `explain` takes the `id` of one."""
        return await ask(requests.activity(team, days, cursor))

    @server.tool(annotations=READS)
    async def explain(entry: str) -> dict[str, Any]:
        """Why an entry of the activity is what it is: rate card, formula, quantities, and which credits paid."""
        return await ask(requests.entry(team, entry))

    @server.tool(annotations=READS)
    async def quote(
        feature: str,
        quantity: str | None = None,
        quantities: dict[str, str] | None = None,
        attributes: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """What work would cost now, and whether the team may do it. It reserves nothing.

        Give `quantity`, or `quantities` by name.
        """
        item = {"feature": feature, "quantity": quantity, "quantities": quantities, "attributes": attributes}
        return await ask(requests.quote(team, [{name: value for name, value in item.items() if value is not None}]))


def _token() -> Token | None:
    """The caller's, as a text, or as what reads it anew."""
    if file := os.environ.get(TOKEN_FILE):
        return lambda: Path(file).read_text("utf-8").strip()
    return os.environ.get(TOKEN) or None
