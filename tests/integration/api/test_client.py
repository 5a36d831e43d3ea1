"""The client of Python against the API: a block of work costs what it used, once, whatever dies on the way."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.client.creditwell_client import (
    AsyncClient,
    CaptureSpoolInUse,
    Client,
    Exhausted,
    InvalidRequest,
    NoAnswer,
    NotFound,
    Unauthenticated,
)
from deploy.client.creditwell_client.settling import Settlement
from services.api.tokens import TokenRole, mint
from tests.support.api import Api, key
from tests.support.proxy import Cut, Plan, a_proxy
from tests.support.waiting import until

SOURCE = "/features/chat"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FOUR_IMAGES = [{"feature": "ai_image.generate", "quantity": "4", "attributes": {"tier": "standard"}}]  # 4 credits each
ROOT = Path(__file__).parents[3]

DIES = """
import os, signal, sys
from deploy.client.creditwell_client import Client
url, token, spool, team = sys.argv[1:]
items = [{"feature": "ai_image.generate", "quantity": "4", "attributes": {"tier": "standard"}}]

def at_the_capture():
    if client.captures.pending():
        os.kill(os.getpid(), signal.SIGKILL)
    return token

client = Client(url, token=at_the_capture, source="/features/chat", spool=spool)
with client.hold(team=team, member="mem_1", items=items) as hold:
    hold.used(3)
"""


def token(api: Api) -> str:
    return mint(api.settings, team=api.team_id, member="chat", role=TokenRole.SERVICE, sources=("/features/*",))


@asynccontextmanager
async def a_client(api: Api, url: str = "", **options: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url or api.url, **({"token": token(api)} | options)) as client:
        yield client


@pytest.fixture
async def credits(api: Api) -> AsyncIterator[AsyncClient]:
    async with a_client(api) as client:
        yield client


async def traces_of_holds(api: Api) -> list[tuple[str, str | None]]:
    """What became of a team's holds, each with the trace of whoever asked for it."""
    rows = await api.connection.fetch(
        "SELECT type, traceparent FROM facts LEFT JOIN traces USING (shard, position)"
        " WHERE team_id = $1 AND type LIKE 'hold.%' ORDER BY position",
        api.team_id,
    )
    return [tuple(row) for row in rows]


async def left(api: Api) -> tuple[str, str]:
    """Of the 3,000 credits of plan Pro, and what is held."""
    balance = (await api.service.get(f"{api.path}/balance")).json()
    return balance["total"], balance["held"]


async def test_a_block_costs_what_it_used_and_the_rest_is_free_again(api: Api, credits: AsyncClient) -> None:
    async with credits.hold(team=api.team_id, member="mem_1", items=FOUR_IMAGES) as hold:
        assert await left(api) == ("3000", "16")
        hold.used(1)
        hold.used(2, attributes={"tier": "high"})

    assert hold.captured is not None
    assert (hold.captured["state"], hold.captured["captured"]) == ("settled", "34")
    assert await left(api) == ("2966", "0")


async def test_what_comes_of_a_block_is_in_the_trace_of_whoever_asked(api: Api, credits: AsyncClient) -> None:
    def work() -> None:
        with Client(api.url, token=token(api), traceparent=lambda: TRACE) as others:
            with others.hold(team=api.team_id, items=FOUR_IMAGES) as hold:
                hold.used(1)

    async with a_client(api, traceparent=lambda: TRACE) as traced:
        async with traced.hold(team=api.team_id, items=FOUR_IMAGES) as hold:
            hold.used(1)
    await asyncio.to_thread(work)
    async with credits.hold(team=api.team_id, items=FOUR_IMAGES) as hold:
        hold.used(1)

    assert await traces_of_holds(api) == [
        ("hold.placed.v1", TRACE), ("hold.captured.v1", TRACE), ("hold.placed.v1", TRACE), ("hold.captured.v1", TRACE),
        ("hold.placed.v1", None), ("hold.captured.v1", None),
    ]  # fmt: skip


async def test_threads_have_the_same(api: Api) -> None:
    def work() -> list[str]:
        with Client(api.url, token=token(api)) as credits:
            with credits.hold(team=api.team_id, items=FOUR_IMAGES) as hold:
                hold.used("3")
            assert credits.affordable(api.team_id, FOUR_IMAGES)
            return [credits.balance(api.team_id)["total"], credits.quote(api.team_id, FOUR_IMAGES)["credits"]]

    assert await asyncio.to_thread(work) == ["2988", "16"]


async def test_a_block_that_fails_costs_nothing_but_what_it_had_used(api: Api, credits: AsyncClient) -> None:
    async def fail_after(images: int) -> None:
        async with credits.hold(team=api.team_id, items=FOUR_IMAGES) as hold:
            if images:
                hold.used(images)
            raise ZeroDivisionError

    for images, expected in ((0, "3000"), (1, "2996")):
        with pytest.raises(ZeroDivisionError):
            await fail_after(images)
        assert await left(api) == (expected, "0")


async def test_a_block_that_is_cancelled_is_captured_as_far_as_it_came(api: Api, credits: AsyncClient) -> None:
    began = asyncio.Event()

    async def stream() -> None:
        async with credits.hold(team=api.team_id, items=FOUR_IMAGES) as hold:
            hold.used(2)
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stream())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await left(api) == ("2992", "0")


async def test_a_hold_is_made_longer_while_its_block_runs(api: Api, credits: AsyncClient) -> None:
    async with credits.hold(team=api.team_id, items=FOUR_IMAGES, ttl=6) as hold:
        path = f"{api.path}/holds/{hold.id}"
        ends_at = (await api.service.get(path)).json()["expires_at"]

        async def longer() -> bool:
            return bool((await api.service.get(path)).json()["expires_at"] > ends_at)

        await until(longer, what="the hold ends later")


async def test_errors_are_known_by_what_to_do_about_them(api: Api, credits: AsyncClient) -> None:
    too_many = [{"feature": "ai_image.generate", "quantity": "1000", "attributes": {"tier": "standard"}}]
    with pytest.raises(Exhausted) as no:
        async with credits.hold(team=api.team_id, items=too_many):
            raise AssertionError
    assert (no.value.status, no.value.code) == (402, "exhausted")
    assert not await credits.affordable(api.team_id, too_many)
    with pytest.raises(InvalidRequest, match="unknown_feature"):
        async with credits.hold(team=api.team_id, items=[{"feature": "ai_smell.generate", "quantity": "1"}]):
            raise AssertionError
    with pytest.raises(NotFound):
        await credits.balance("somebody_elses")
    async with a_client(api, token="none") as stranger:
        with pytest.raises(Unauthenticated):
            await stranger.balance(api.team_id)
    async with a_client(api, url="http://127.0.0.1:9", patience_seconds=0) as alone:
        with pytest.raises(NoAnswer):
            await alone.balance(api.team_id)


async def test_what_is_used_is_said_in_a_way_that_can_be_priced(api: Api, credits: AsyncClient) -> None:
    hold = credits.hold(team=api.team_id, items=[*FOUR_IMAGES, *FOUR_IMAGES])

    with pytest.raises(ValueError, match="say one quantity"):
        hold.used(1, input_token=2)
    with pytest.raises(ValueError, match="say of which"):
        hold.used(1)


async def test_an_answer_that_is_lost_is_asked_for_again_and_the_work_counts_once(api: Api) -> None:
    async with a_proxy(api.url) as proxy, a_client(api, url=f"http://127.0.0.1:{proxy.listens_on}") as credits:
        async with credits.hold(team=api.team_id, items=FOUR_IMAGES) as hold:
            hold.used(4)
            proxy.plan = Plan(b"/capture", Cut.ANSWERED)
        assert proxy.happened.is_set()

    assert hold.captured is not None
    assert await left(api) == ("2984", "0")


async def test_work_of_a_process_that_was_killed_is_captured_by_the_next_one_once(api: Api, tmp_path: Path) -> None:
    said = [sys.executable, "-c", DIES, api.url, token(api), str(tmp_path), api.team_id]
    died = await asyncio.to_thread(subprocess.run, said, cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    assert await left(api) == ("3000", "16")

    async with a_client(api, source=SOURCE, spool=tmp_path) as credits:
        assert credits.captures is not None
        await until(lambda: nothing_waits(credits), what="the spool is empty")

    assert await left(api) == ("2988", "0")


async def nothing_waits(credits: AsyncClient) -> bool:
    return credits.captures is not None and credits.captures.pending() == 0


async def test_work_that_ends_while_the_api_is_away_is_captured_when_it_is_back(api: Api, tmp_path: Path) -> None:
    async with a_proxy(api.url) as proxy:
        url = f"http://127.0.0.1:{proxy.listens_on}"
        async with a_client(api, url=url, source=SOURCE, spool=tmp_path, patience_seconds=0) as credits:
            async with credits.hold(team=api.team_id, items=FOUR_IMAGES) as hold:
                hold.used(4)
                proxy.plan = Plan(b"/capture", Cut.UNHEARD, away_seconds=0.5)
            assert hold.captured is None
            await until(lambda: nothing_waits(credits), what="the spool is empty")

    assert await left(api) == ("2984", "0")


async def test_work_whose_hold_has_expired_meanwhile_is_reported_as_usage(api: Api, tmp_path: Path) -> None:
    body = {"items": FOUR_IMAGES, "ttl_seconds": 1, "member_id": "mem_1"}
    placed = (await api.service.post(f"{api.path}/holds", json=body, headers=key())).json()
    kept = Settlement.now(api.team_id, placed["id"], "mem_1", FOUR_IMAGES)
    (tmp_path / f"{placed['id']}.json").write_bytes(kept.dump())
    ends_at = datetime.fromisoformat(placed["expires_at"])
    await until(lambda: api.connection.fetchval("SELECT clock_timestamp() > $1", ends_at), what="the hold has expired")

    async with a_client(api, source=SOURCE, spool=tmp_path) as credits:
        await until(lambda: nothing_waits(credits), what="the spool is empty")

    assert list(tmp_path.glob("*.json")) == []
    assert await left(api) == ("3000", "0")  # until a recorder has seen what Kafka has
    receipt = await api.service.get(f"{api.path}/receipts", params={"source": SOURCE, "id": f"{placed['id']}:0"})
    assert receipt.json()["status"] == "pending"


async def test_what_the_api_will_never_take_is_kept_for_a_person(api: Api, tmp_path: Path) -> None:
    async with a_client(api, source=SOURCE, spool=tmp_path) as credits:
        with pytest.raises(InvalidRequest, match="unknown_feature"):
            async with credits.hold(team=api.team_id, items=FOUR_IMAGES) as hold:
                hold.used(1, feature="ai_smell.generate")

    assert [path.name for path in tmp_path.glob("*.json")] == [f"{hold.id}.refused.json"]


async def test_a_token_that_does_not_count_is_nothing_against_the_work_and_what_can_t_be_read_stops_no_other(
    api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    placed = (await api.service.post(f"{api.path}/holds", json={"items": FOUR_IMAGES}, headers=key())).json()
    kept = Settlement.now(api.team_id, placed["id"], None, FOUR_IMAGES)
    (tmp_path / f"{placed['id']}.json").write_bytes(kept.dump())
    (tmp_path / "before.json").write_text('{"team": "te')
    tokens = ["worn-out"]

    async with a_client(api, source=SOURCE, spool=tmp_path, token=lambda: tokens[-1]) as credits:

        async def waits() -> bool:
            return "unauthenticated" in caplog.text

        await until(waits, what="the API has said that the token does not count")
        tokens.append(token(api))
        await until(lambda: nothing_waits(credits), what="the spool is empty")

    assert [path.name for path in tmp_path.glob("*.json")] == ["before.damaged.json"]
    assert await left(api) == ("2984", "0")


async def test_a_spool_is_one_clients_and_names_a_source(api: Api, tmp_path: Path) -> None:
    async with a_client(api, source=SOURCE, spool=tmp_path):
        with pytest.raises(CaptureSpoolInUse, match="one of its own"):
            AsyncClient(api.url, token="", source=SOURCE, spool=tmp_path)
    with pytest.raises(ValueError, match="a source"):
        AsyncClient(api.url, token="", spool=tmp_path)


async def test_reads_are_typed_and_paged(api: Api, credits: AsyncClient) -> None:
    for _ in range(3):
        async with credits.hold(team=api.team_id, items=FOUR_IMAGES) as hold:
            hold.used(1)
    async with a_client(
        api, token=mint(api.settings, team=api.team_id, member="mem_1", role=TokenRole.MEMBER)
    ) as member:
        entries = [item["type"] async for item in member.activity(api.team_id, days=1)]
        assert (await member.top_up(api.team_id))["state"] == "off"

    assert entries.count("usage") == 3
    assert (await credits.receipt(api.team_id, source=SOURCE, id="never"))["status"] == "pending"
