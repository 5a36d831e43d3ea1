"""A download of the activity goes at its reader's pace: nothing is read ahead, nothing is held open, and who leaves is not served."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

import pytest

from deploy.local.stack import Stack
from schemas.facts import NewFact
from services.api.tokens import TokenRole, mint
from services.store.append import append
from tests.conftest import a_database
from tests.integration.api.test_api_reads import projected, used
from tests.support.api import Api, an_api
from tests.support.proxy import Proxy, a_proxy
from tests.support.waiting import until

ROWS, AT_ONCE = 40_000, 5_000
MEMBER = "m" * 128
ROW_BYTES = 500  # as PostgreSQL sends a row, or somewhat more
AHEAD_BYTES = ROWS * ROW_BYTES // 2  # seven megabytes Linux takes off a server's hands before anybody has read them
STILL_BYTES = 100 * ROW_BYTES  # a fifth of a page; the API has other questions, too

LONG_AGO = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = 'creditwell-api' AND xact_start < clock_timestamp() - interval '300 milliseconds'
"""


@pytest.fixture(scope="module")
async def database(stack: Stack, template: str) -> AsyncIterator[str]:
    """Of this module."""
    async with a_database(stack, template) as database:
        yield database


@pytest.fixture(scope="module")
async def proxy(database: str) -> AsyncIterator[Proxy]:
    """Between API and PostgreSQL: what the API reads passes here."""
    async with a_proxy(database) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def api(stack: Stack, database: str, proxy: Proxy) -> AsyncIterator[Api]:
    """An API with a team of much activity, each entry a long line."""
    async with an_api(stack, proxy.url(database)) as api:
        await api.begin()
        usage = used(member=MEMBER)
        for first in range(0, ROWS, AT_ONCE):
            facts = [
                NewFact(api.team_id, "/features/test", f"bulk_{first + n}", datetime.now(UTC), usage)
                for n in range(AT_ONCE)
            ]
            async with api.connection.transaction():
                await append(api.connection, facts)
        await projected(api)
        yield api


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


async def test_a_download_waits_for_a_client_that_does_not_read_and_holds_nothing_open(api: Api, proxy: Proxy) -> None:
    before = proxy.answered_bytes
    async with download(api) as client:
        await stands_still(proxy)

        assert proxy.answered_bytes - before < AHEAD_BYTES
        assert downloads(api) == 1
        await until(partial(holds_nothing_open, api), what="nothing is held open")

        body = bytearray()
        while piece := await asyncio.get_running_loop().sock_recv(client, 2**20):
            body += piece
    assert proxy.answered_bytes - before > 2 * AHEAD_BYTES
    assert body.count(MEMBER.encode()) == ROWS, "every usage"
    assert body.count(b",refill,") == 1, "and the refill that came with the plan"


async def test_a_download_ends_when_its_client_goes_away(api: Api, proxy: Proxy) -> None:
    before = proxy.answered_bytes
    async with download(api):
        await stands_still(proxy)

    async def over() -> bool:
        return downloads(api) == 0

    await until(over, what="the API has noticed")
    assert proxy.answered_bytes - before < AHEAD_BYTES


async def holds_nothing_open(api: Api) -> bool:
    """No transaction of the API has been open for a while; what a download holds it would hold until it is read."""
    return bool(await api.connection.fetchval(LONG_AGO) == 0)


def downloads(api: Api) -> float | None:
    """How many are open."""
    return api.health.registry.get_sample_value("creditwell_http_open", {"kind": "downloads"})


async def stands_still(proxy: Proxy) -> None:
    """Returns when the API has begun and then read nothing for a while."""
    begin = before = proxy.answered_bytes
    while proxy.answered_bytes > before + STILL_BYTES or before < begin + STILL_BYTES:
        before = proxy.answered_bytes
        await asyncio.sleep(0.5)
