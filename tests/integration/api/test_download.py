"""A download of the activity goes at its reader's pace: nothing is read ahead, nothing is held open, and who leaves is not served."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from deploy.local.stack import Stack
from schemas.facts import NewFact
from services.api.routes import activity
from services.api.tokens import TokenRole, mint
from services.read_models.activity import ActivityRow, Filter, read_all
from services.store.append import append
from services.store.protocols import Reads
from tests.integration.api.test_api_reads import projected, used
from tests.support.api import Api, a_database, an_api
from tests.support.waiting import until

ROWS, AT_ONCE = 40_000, 5_000
AHEAD_MAX = ROWS // 2  # four megabytes: so much Linux takes off a server's hands before anybody has read it

LONG_AGO = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'creditwell-api' AND xact_start < clock_timestamp() - interval '300 milliseconds'
"""


@pytest.fixture(scope="module")
async def api(stack: Stack, template: str) -> AsyncIterator[Api]:
    """An API with a team of much activity, each entry a long line."""
    async with a_database(stack, template) as database, an_api(stack, database) as api:
        await api.begin()
        usage = used(member="m" * 128)
        for first in range(0, ROWS, AT_ONCE):
            facts = [
                NewFact(api.team_id, "/features/test", f"bulk_{first + n}", datetime.now(UTC), usage)
                for n in range(AT_ONCE)
            ]
            async with api.connection.transaction():
                await append(api.connection, facts)
        await projected(api)
        yield api


@dataclass
class Served:
    """How far the API has read for a download, and whether it still does."""

    rows: int = 0
    over: bool = False


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """Looks on while the API reads."""
    seen = Served()

    async def looked_on(connection: Reads, team_id: str, wanted: Filter) -> AsyncIterator[list[ActivityRow]]:
        try:
            async for rows in read_all(connection, team_id, wanted):
                seen.rows += len(rows)
                yield rows
        finally:
            seen.over = True

    monkeypatch.setattr(activity, "read_all", looked_on)
    return seen


@asynccontextmanager
async def download(api: Api) -> AsyncIterator[socket.socket]:
    """A connection on which the download was asked for, with hardly any room for what comes."""
    token = mint(api.settings, team=api.team_id, member="mem_1", role=TokenRole.MEMBER)
    address = urlsplit(api.url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (address.hostname, address.port))
        request = (
            f"GET {api.path}/activity HTTP/1.1\r\nHost: creditwell\r\nAuthorization: Bearer {token}\r\n"
            "Accept: text/csv\r\nConnection: close\r\n\r\n"
        )
        await loop.sock_sendall(client, request.encode())
        yield client


async def test_a_download_waits_for_a_client_that_does_not_read_and_holds_nothing_open(
    api: Api, served: Served
) -> None:
    async with download(api) as client:
        await stands_still(served)

        assert 0 < served.rows < AHEAD_MAX
        assert not served.over
        assert await api.connection.fetchval(LONG_AGO) == 0

        lines = 0
        while piece := await asyncio.get_running_loop().sock_recv(client, 2**20):
            lines += piece.count(b"m" * 128)
    assert served.rows == ROWS + 1, "every usage, and the refill that came with the plan"
    assert lines > 0.9 * ROWS, "but for those that two pieces share"


async def test_a_download_ends_when_its_client_goes_away(api: Api, served: Served) -> None:
    async with download(api):
        await stands_still(served)

    async def over() -> bool:
        return served.over

    await until(over, what="the API has noticed")
    assert served.rows < AHEAD_MAX


async def stands_still(served: Served) -> None:
    """Returns when the API has begun and then read nothing for a while."""
    before = 0
    while served.rows != before or not served.rows:
        before = served.rows
        await asyncio.sleep(0.5)
