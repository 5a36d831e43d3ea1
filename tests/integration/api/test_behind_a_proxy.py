"""What stands between may change headers: conditional writes and reads, packed bodies, errors and streams come through.

`make test` runs it through a stand-in that changes what nginx changes, `make outside-checks` through a real nginx.
"""

import gzip
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.stack import Stack
from tests.conftest import a_database
from tests.support.api import Api, an_api, events
from tests.support.changing_proxy import a_changing_proxy
from tests.support.nginx import an_nginx
from tests.support.usage import reported

PROXY = "nginx" if os.environ.get("OUTSIDE_CHECKS") else "stand-in"
WANTED = {"enabled": True, "threshold": "1000", "credits": "5000"}


@pytest.fixture(scope="module")
async def running(stack: Stack, template: str) -> AsyncIterator[Api]:
    async with a_database(stack, template) as database, an_api(stack, database) as api:
        yield api


@pytest.fixture(scope="module")
async def address(running: Api, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    folder: Path = tmp_path_factory.mktemp("proxy")
    async with an_nginx(running.url, folder) if PROXY == "nginx" else a_changing_proxy(running.url) as address:
        yield address


@pytest.fixture
async def api(running: Api, address: str) -> AsyncIterator[Api]:
    """As its callers see it: through the proxy."""
    through = replace(running, url=address, clients={})
    await through.begin()
    running.teams, running.told = through.teams, through.told
    yield through
    for client in through.clients.values():
        await client.aclose()


async def test_settings_that_were_seen_through_a_proxy_are_saved_unless_somebody_else_has(api: Api) -> None:
    path = f"{api.path}/top-up"
    seen = await api.admin.get(path)
    assert (seen.headers["etag"], seen.headers["content-encoding"]) == ('W/"0"', "gzip")

    saved = await api.admin.put(path, json=WANTED, headers={"if-match": seen.headers["etag"]})
    again = await api.admin.put(path, json=WANTED | {"threshold": "2000"}, headers={"if-match": seen.headers["etag"]})

    assert (saved.status_code, again.status_code, again.json()["code"]) == (200, 412, "changed_meanwhile")
    assert saved.headers["etag"] == (await api.admin.get(path)).headers["etag"]
    for other in ('W/"0", ' + saved.headers["etag"], "*"):
        newest = await api.admin.put(path, json=WANTED, headers={"if-match": other})
        assert newest.status_code == 200
        saved = newest


async def test_a_file_of_the_page_is_sent_once(api: Api) -> None:
    first = await api.member.get("/usage/session.js")
    tag = first.headers["etag"]

    for header in (tag, f"W/{tag}", f'"another", {tag}', "*"):
        again = await api.member.get("/usage/session.js", headers={"if-none-match": header})
        assert (again.status_code, again.content) == (304, b""), header
    changed = await api.member.get("/usage/session.js", headers={"if-none-match": '"another"'})
    assert (changed.status_code, changed.content) == (200, first.content)


async def test_what_hosts_load_leads_to_files_that_are_kept_for_ever(api: Api) -> None:
    leads = await api.member.get("/usage/creditwell.js")
    path = f"/usage/{leads.headers['location']}"
    kept = await api.member.get(path)
    of_another_build = await api.member.get(f"/usage/{'0' * 16}/creditwell.js")

    assert (leads.status_code, leads.headers["cache-control"]) == (307, "no-cache")
    assert re.fullmatch(r"/usage/[0-9a-f]{16}/creditwell\.js", path)
    assert (kept.status_code, "immutable" in kept.headers["cache-control"]) == (200, True)
    assert (of_another_build.content, of_another_build.headers["cache-control"]) == (kept.content, "no-cache")
    assert (await api.member.get(path.replace("creditwell", "nothing"))).status_code == 404


async def test_usage_that_is_packed_comes_through(api: Api) -> None:
    usage = gzip.compress(json.dumps(reported(api.team_id, "packed") | {"source": "/features/video"}).encode())
    headers = {"content-type": "application/cloudevents+json", "content-encoding": "gzip"}

    answer = await api.service.post("/v1/usage", content=usage, headers=headers)

    assert answer.status_code == 202, answer.text


async def test_what_goes_wrong_is_told_as_without_a_proxy(api: Api) -> None:
    answer = await api.member.get("/v1/teams/another/balance")

    assert answer.status_code in (403, 404)
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["status"] == answer.status_code


async def test_a_stream_tells_while_it_is_open(api: Api) -> None:
    async with api.member.stream("GET", f"{api.path}/stream") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        async for event in events(stream):
            assert event.type == "balance"
            break


async def test_a_download_comes_whole(api: Api) -> None:
    answer = await api.member.get(f"{api.path}/activity", headers={"accept": "text/csv"})

    assert answer.status_code == 200
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"].startswith("text/csv")
    assert len(answer.text.splitlines()) > 1
