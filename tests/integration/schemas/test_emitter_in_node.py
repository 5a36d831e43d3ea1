"""What a service in Node reports with the emitter of @creditwell/client reaches Creditwell, whatever happens to either."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.local.stack import Stack
from tests.integration.schemas.test_emitter_by_http import arrived, bearer, ids
from tests.support.api import Api
from tests.support.node import NODE, PROGRAMS, need_node, run_node
from tests.support.proxy import Cut, a_proxy


@pytest.fixture(scope="module", autouse=True)
def node() -> None:
    need_node()


@pytest.fixture
def source() -> str:
    """Of nobody else on the topic."""
    return f"/features/{secrets.token_hex(6)}"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def told(api: Api, source: str, spool: Path, does: str, **options: Any) -> dict[str, Any]:
    about = {"url": api.url, "token": bearer(api), "team": api.team_id, "source": source, "spool": str(spool)}
    return about | {"does": does} | options


async def run(told_: dict[str, Any]) -> Any:
    return await asyncio.to_thread(run_node, "emitter.mjs", told_)


def begun(told_: dict[str, Any]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [NODE, PROGRAMS / "emitter.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(told_))
    process.stdin.close()
    return process


async def test_reports_voids_and_amendments_are_on_the_topic_in_their_order(
    api: Api, stack: Stack, source: str, spool: Path
) -> None:
    done = await run(told(api, source, spool, "reports", count=1_200))

    events = await arrived(stack, source)
    metrics = done["metrics"]
    assert (metrics["delivered"], metrics["spooled"], metrics["trouble"]) == (1_203, 0, None)
    assert [event["id"] for event in events] == [*done["ids"], "call", "fix", "void"]
    assert events[0]["data"] == {
        "feature": "ai_image.generate", "quantity": "1", "attributes": {"tier": "standard"},
    }  # fmt: skip
    assert [(event["type"], event["data"].get("quantities")) for event in events[-3:]] == [
        ("usage.reported.v1", {"input_token": "1200", "output_token": "350"}),
        ("usage.amended.v1", {"input_token": "1100"}),
        ("usage.voided.v1", None),
    ]
    traces = [event["traceparent"] for event in events if "traceparent" in event]
    assert traces == ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]
    assert sorted(path.name for path in spool.iterdir()) == ["delivered"]


async def test_kill_9_loses_nothing_that_was_reported(api: Api, stack: Stack, source: str, spool: Path) -> None:
    def reported_until_killed() -> list[str]:
        with begun(told(api, source, spool, "forever")) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(300)]
            process.kill()
            return [*lines, *process.stdout]

    lines = await asyncio.to_thread(reported_until_killed)
    said = [json.loads(line) for line in lines if line.endswith("\n")]  # the last one may be half said

    metrics = await run(told(api, source, spool, "takes"))

    reached = set(await ids(stack, source))
    assert (metrics["spooled"], metrics["damaged"]) == (0, 0)
    assert set(said) <= reached
    assert len(reached) <= len(said) + 1


@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name)
async def test_an_api_that_goes_away_and_comes_back_loses_nothing(
    api: Api, stack: Stack, source: str, spool: Path, cut: Cut
) -> None:
    async with a_proxy(api.url) as proxy:
        process = begun(told(api, source, spool, "through", count=20, url=f"http://127.0.0.1:{proxy.listens_on}"))
        with process:
            assert process.stdout is not None
            assert json.loads(await asyncio.to_thread(process.stdout.readline)) == "ready"
            proxy.cut_next(b"/v1/usage", cut, away_seconds=3_600)
            assert json.loads(await asyncio.to_thread(process.stdout.readline)) == "away"
            await proxy.happened.wait()
            proxy.away_until = 0
            done = json.loads(await asyncio.to_thread(process.stdout.readline))

    assert (done["arrived"], done["trouble"]) == (True, None)
    assert set(await ids(stack, source)) == set(done["ids"])


async def test_a_full_disk_takes_no_report_and_spoils_none(api: Api, stack: Stack, source: str, spool: Path) -> None:
    done = await run(told(api, source, spool, "full"))

    is_full, words = done["error"]
    assert is_full
    assert "reports wait" in words
    assert "no space left" in words
    assert await ids(stack, source) == done["ids"]
    assert (done["metrics"]["damaged"], done["metrics"]["spooled"]) == (0, 0)


async def test_what_the_api_will_never_take_is_put_aside_and_a_worn_token_is_nothing_against_it(
    api: Api, stack: Stack, source: str, spool: Path
) -> None:
    *wanted, not_ours = await run(told(api, source, spool, "leaves", count=20, url="http://127.0.0.1:1"))
    torn = "00000000 1 {}\n"
    with next(spool.glob("*.jsonl")).open("a") as file:
        file.write(torn)

    metrics = await run(told(api, source, spool, "takes", tokens=["worn-out", bearer(api)]))

    assert (metrics["delivered"], metrics["putAside"], metrics["spooled"], metrics["damaged"]) == (20, 1, 0, 1)
    assert await ids(stack, source) == wanted
    (kept,) = [json.loads(line) for line in (spool / "refused.jsonl").read_text().splitlines()]
    assert (kept["event"]["id"], kept["status"], kept["code"]) == (not_ours, 403, "team_not_allowed")
    assert [path.read_text().endswith(torn) for path in spool.glob("*.damaged")] == [True]


async def test_what_nobody_would_take_is_not_reported(api: Api, source: str, spool: Path) -> None:
    words = await run(told(api, source, spool, "wrong"))

    assert words == ["quantity", "quantity", "quantity", "quantity", "feature", "usage", "reason"]


@pytest.mark.skipif(sys.platform != "linux", reason="where pids have namespaces")
async def test_a_process_of_another_container_has_the_spool_for_as_long_as_it_says_so(
    api: Api, source: str, spool: Path
) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    other = spool / f"lock-{boot}-1-{os.getpid()}-1"
    spool.mkdir()
    other.touch()
    ahead = time.time() + 3_600  # however slow this machine is, it spoke a moment ago
    os.utime(other, (ahead, ahead))

    with pytest.raises(AssertionError, match="is in use by a process of another container, machine or user"):
        await run(told(api, source, spool, "takes"))
    assert other.exists()

    os.utime(other, (0, 0))
    assert (await run(told(api, source, spool, "takes")))["spooled"] == 0
    assert not other.exists()
