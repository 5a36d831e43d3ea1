"""What a feature service without Kafka reports reaches Creditwell by its API, whatever happens to either of them."""

import asyncio
import json
import logging
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.local.stack import Stack
from schemas.emitter import Emitter
from services.api.tokens import TokenRole, mint
from tests.support.api import Api
from tests.support.proxy import Cut, Proxy, a_proxy
from tests.support.topics import TopicReader
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
IMAGE: dict[str, Any] = {"feature": "ai_image.generate", "quantity": 1, "attributes": {"tier": "standard"}}


@pytest.fixture
def source() -> str:
    """Of nobody else on the topic."""
    return f"/features/{secrets.token_hex(6)}"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def bearer(api: Api) -> str:
    return mint(api.settings, team=api.team_id, member="video", role=TokenRole.SERVICE, sources=("/features/*",))


def an_emitter(api: Api, source: str, spool: Path, **changed: Any) -> Emitter:
    about: dict[str, Any] = {"http": api.url, "token": bearer(api), "source": source, "spool": spool}
    return Emitter(**about | changed)


async def arrived(stack: Stack, source: str) -> list[dict[str, Any]]:
    """What is on the topic of this source, each event where it first came; other tests have sent what nobody can read.

    Who waits too long for an answer, on a machine that stands still, sends the same again: at least once is the promise.
    """
    reader = TopicReader(stack.kafka, "usage")
    try:
        values = [record.value or b"" for record in await reader.read_to_end()]
    finally:
        reader.close()
    events: dict[str, dict[str, Any]] = {}
    for event in (json.loads(value) for value in values if source.encode() in value):
        events.setdefault(event["id"], event)
    return list(events.values())


async def ids(stack: Stack, source: str) -> list[str]:
    return [event["id"] for event in await arrived(stack, source)]


async def test_reports_are_on_the_topic_as_if_they_had_been_sent_there(
    api: Api, stack: Stack, source: str, spool: Path
) -> None:
    async with an_emitter(api, source, spool) as emitter:
        receipts = [emitter.report(team=api.team_id, member="mem_1", **IMAGE) for _ in range(1_200)]
        emitter.void(team=api.team_id, usage=receipts[0], reason="no image came")
        assert await emitter.flush_async(60)
        metrics = emitter.metrics()

    events = await arrived(stack, source)
    assert (metrics.delivered, metrics.spooled, metrics.put_aside, metrics.trouble) == (1_201, 0, 0, None)
    assert [event["id"] for event in events[:-1]] == [receipt.id for receipt in receipts]
    assert events[0]["data"] == {**IMAGE, "quantity": "1", "member_id": "mem_1"}
    assert events[-1]["type"] == "usage.voided.v1"
    assert list(spool.glob("*.spool")) == []


@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name)
async def test_an_api_that_goes_away_and_comes_back_loses_nothing(
    api: Api, stack: Stack, source: str, spool: Path, cut: Cut, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_proxy(api.url) as proxy:
        url = f"http://127.0.0.1:{proxy.listens_on}"
        async with an_emitter(api, source, spool, http=url) as emitter:
            sent = [emitter.report(team=api.team_id, **IMAGE).id]
            assert await emitter.flush_async(60)
            proxy.cut_next(b"/v1/usage", cut, away_seconds=3_600)
            sent += [emitter.report(team=api.team_id, **IMAGE).id for _ in range(50)]
            await until(lambda: said(emitter), what="the emitter has met nobody")
            sent += [emitter.report(team=api.team_id, **IMAGE).id for _ in range(50)]
            await proxy.happened.wait()
            proxy.away_until = 0
            assert await emitter.flush_async(60)
            assert emitter.metrics().trouble is None

    assert set(await ids(stack, source)) == set(sent)
    assert [record.levelno for record in caplog.records if "reports wait in" in record.message] == [logging.WARNING]


async def test_a_connection_that_the_api_has_ended_is_no_trouble(
    api: Api, stack: Stack, source: str, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_proxy(api.url) as proxy:
        async with an_emitter(api, source, spool, http=f"http://127.0.0.1:{proxy.listens_on}") as emitter:
            sent = [emitter.report(team=api.team_id, **IMAGE).id]
            assert await emitter.flush_async(60)
            proxy.cut_next(b"/v1/usage", Cut.UNHEARD)
            sent += [emitter.report(team=api.team_id, **IMAGE).id]
            assert await emitter.flush_async(60)
            assert proxy.happened.is_set()

    assert await ids(stack, source) == sent
    assert "reports wait in" not in caplog.text


async def said(emitter: Emitter) -> bool:
    return emitter.metrics().trouble is not None


KILLED = """
import sys
from schemas.emitter import Emitter
url, token, team, source, spool = sys.argv[1:]
emitter = Emitter(http=url, token=token, source=source, spool=spool)
for number in range(1_000_000):
    print(emitter.report(team=team, feature="ai_image.generate", quantity=1).id, flush=True)
"""


async def test_kill_9_loses_nothing_that_was_reported(api: Api, stack: Stack, source: str, spool: Path) -> None:
    def reported_until_killed() -> list[str]:
        command = [sys.executable, "-c", KILLED, api.url, bearer(api), api.team_id, source, str(spool)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [process.stdout.readline().strip() for _ in range(300)]
            process.kill()
            return [*told, *process.stdout.read().split()]

    told = await asyncio.to_thread(reported_until_killed)
    if len(told[-1]) < 36:  # killed in the middle of saying it
        told.pop()

    async with an_emitter(api, source, spool) as again:
        assert await again.flush_async(60)
    reached = set(await ids(stack, source))
    assert set(told) <= reached
    assert len(reached) <= len(told) + 1


async def test_what_the_api_will_never_take_is_put_aside_and_the_others_go_on(
    api: Api, stack: Stack, source: str, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = an_emitter(api, source, spool, http="http://127.0.0.1:1", exit_timeout_seconds=0)
    wanted = [away.report(team=api.team_id, **IMAGE).id for _ in range(20)]
    away.report(team="somebody_elses", id="not-ours", **IMAGE)
    away.spool.append(b"team", json.dumps({"id": "of-another-age", "source": source}).encode(), 0)
    wanted += [away.report(team=api.team_id, **IMAGE).id for _ in range(20)]
    await away.close_async()

    async with an_emitter(api, source, spool) as emitter:
        assert await emitter.flush_async(60)
        metrics = emitter.metrics()

    assert (metrics.delivered, metrics.put_aside, metrics.spooled) == (40, 2, 0)
    assert set(await ids(stack, source)) == set(wanted)
    kept = [json.loads(line) for line in (spool / "refused.jsonl").read_text().splitlines()]
    assert sorted((line["event"]["id"], line["status"], line["code"]) for line in kept) == [
        ("not-ours", 403, "team_not_allowed"),
        ("of-another-age", 422, "invalid_request"),
    ]
    assert "report not-ours of team somebody_elses was refused, and is kept in" in caplog.text


async def test_a_token_that_does_not_count_is_nothing_against_the_reports(
    api: Api, stack: Stack, source: str, spool: Path
) -> None:
    tokens = ["worn-out"]
    async with an_emitter(api, source, spool, token=lambda: tokens[-1]) as emitter:
        sent = emitter.report(team=api.team_id, **IMAGE).id
        await until(lambda: said(emitter), what="the API has said that it does not count")
        assert "unauthenticated" in (emitter.metrics().trouble or "")
        tokens.append(bearer(api))
        assert await emitter.flush_async(60)

    assert await ids(stack, source) == [sent]


async def test_an_emitter_that_waits_for_an_answer_can_be_closed_and_its_spool_opened_again(
    api: Api, source: str, spool: Path
) -> None:
    async with a_proxy(api.url) as proxy:
        proxy.stall()
        emitter = an_emitter(api, source, spool, http=f"http://127.0.0.1:{proxy.listens_on}")
        emitter.report(team=api.team_id, **IMAGE)
        await until(lambda: stands_still(proxy), what="the API stands still before the answer")

        assert await emitter.close_async(0) is False
        assert not emitter.spool.open
        assert emitter.metrics().trouble is None  # an end that was asked for is no trouble
        again = an_emitter(api, source, spool, http="http://127.0.0.1:1", exit_timeout_seconds=0)
        assert again.metrics().spooled == 1
        await again.close_async()


async def stands_still(proxy: Proxy) -> bool:
    return proxy.stalled > 0
