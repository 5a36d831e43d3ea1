"""The client of TypeScript in Node against the API: a block of work costs what it used, once, whatever dies on the way."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.local.demo.stage import IMAGES
from deploy.local.processes import PLAIN_HTTP
from services.api.tokens import TokenRole, mint
from tests.integration.api.test_client import TRACE, traces_of_holds
from tests.support.api import Api, key
from tests.support.calls import USED, publish_chat
from tests.support.client_api import an_api
from tests.support.node import NODE, PROGRAMS, need_node, run_node, serving_node
from tests.support.proxy import Cut, Plan, a_proxy
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.unit.deploy.test_client_captures import no

SOURCE = "/features/chat"
FOUR_IMAGES = [{"feature": "ai_image.generate", "quantity": "4", "attributes": {"tier": "standard"}}]  # 4 credits each


@pytest.fixture(scope="module", autouse=True)
def node() -> None:
    need_node()


@pytest.fixture(scope="module", autouse=True)
async def tokens_have_a_price(running: Api) -> None:
    """Before the API looks at its cards for the first time; it looks again after ten seconds."""
    await publish_chat(running.connection)


def service(api: Api) -> str:
    return mint(api.settings, team=api.team_id, member="chat", role=TokenRole.SERVICE, sources=("/features/*",))


def told(api: Api, does: str, **options: Any) -> dict[str, Any]:
    return {"url": api.url, "token": service(api), "team": api.team_id, "does": does} | options


async def run(api: Api, does: str, **options: Any) -> Any:
    return await asyncio.to_thread(run_node, "client.mjs", told(api, does, **options))


async def left(api: Api) -> tuple[str, str]:
    """Of the 3,000 credits of plan Pro, and what is held."""
    balance = (await api.service.get(f"{api.path}/balance")).json()
    return balance["total"], balance["held"]


def files(spool: Path) -> list[str]:
    return sorted(path.name for path in spool.iterdir())


async def test_a_block_costs_what_it_used_gives_what_it_made_and_the_rest_is_free_again(api: Api) -> None:
    done = await run(api, "block", trace=TRACE)

    assert (done["result"], done["during"]) == ("answer", "16")
    assert {*await traces_of_holds(api)} == {("hold.placed.v1", TRACE), ("hold.captured.v1", TRACE)}
    assert (done["captured"]["state"], done["captured"]["captured"]) == ("settled", "34")
    assert (done["after"]["total"], done["after"]["held"]) == ("2966", "0")
    assert done["late"] == ["TypeError", False]  # a block that is over uses nothing more without a word


async def test_a_block_that_fails_costs_nothing_but_what_it_had_used(api: Api) -> None:
    failed = ["RangeError", False]

    assert await run(api, "failures") == [failed, "3000", "0", failed, "2996", "0"]


async def test_a_hold_is_made_longer_while_its_block_runs(api: Api) -> None:
    assert await run(api, "longer") is True


async def test_errors_are_known_by_what_to_do_about_them(api: Api) -> None:
    assert await run(api, "errors") == {
        "exhausted": ["Exhausted", 402, "exhausted"],
        "affordable": [False, True],
        "unknown": ["InvalidRequest", 422, "unknown_feature"],
        "elsewhere": ["NotFound", 404, "unknown_team"],
        "stranger": ["Unauthenticated", 401, "unauthenticated"],
        "alone": ["NoAnswer", True],
        "fraction": ["TypeError", False],
        "unclear": ["TypeError", False],
    }


async def test_reads_are_a_member_s_too(api: Api) -> None:
    await run(api, "once")
    member = mint(api.settings, team=api.team_id, member="mem_1", role=TokenRole.MEMBER)

    done = await run(api, "reads", token=member)

    assert done["kinds"].count("usage") == 1
    assert done["topUp"]["state"] == "off"


async def test_an_answer_that_is_lost_is_asked_for_again_and_the_work_counts_once(api: Api) -> None:
    async with a_proxy(api.url) as proxy:
        proxy.plan = Plan(b"/capture", Cut.ANSWERED)
        captured = await run(api, "once", url=f"http://127.0.0.1:{proxy.listens_on}")
        assert proxy.happened.is_set()

    assert captured["captured"] == "16"
    assert await left(api) == ("2984", "0")


async def test_work_of_a_process_that_was_killed_is_captured_by_the_next_one_once(api: Api, tmp_path: Path) -> None:
    spooling = {"source": SOURCE, "spool": str(tmp_path)}
    died = await asyncio.to_thread(
        subprocess.run, [NODE, PROGRAMS / "client.mjs"], input=json.dumps(told(api, "dies", **spooling)).encode()
    )
    assert died.returncode == -signal.SIGKILL
    assert await left(api) == ("3000", "16")
    assert len(files(tmp_path)) == 2  # the work, and the name of the dead

    assert await run(api, "takes", **spooling) == 0

    assert files(tmp_path) == []
    assert await left(api) == ("2988", "0")


async def test_work_that_ends_while_the_api_is_away_is_captured_when_it_is_back(api: Api, tmp_path: Path) -> None:
    async with a_proxy(api.url) as proxy:
        proxy.plan = Plan(b"/capture", Cut.UNHEARD, away_seconds=0.5)
        url = f"http://127.0.0.1:{proxy.listens_on}"
        captured = await run(api, "once", url=url, source=SOURCE, spool=str(tmp_path), patienceSeconds=0)

    assert captured is None
    assert await left(api) == ("2984", "0")


async def test_without_a_spool_it_is_reported_too_where_there_is_a_source(api: Api) -> None:
    with an_api(no(409, "hold_expired")) as stand_in:
        assert await run(api, "once", url=stand_in.url, source=SOURCE) is None

    assert [(event["id"], event["source"]) for event in stand_in.reported] == [("h1:0", SOURCE)]


async def test_work_whose_hold_has_expired_meanwhile_is_reported_as_usage(api: Api, tmp_path: Path) -> None:
    body = {"items": FOUR_IMAGES, "ttl_seconds": 1, "member_id": "mem_1"}
    placed = (await api.service.post(f"{api.path}/holds", json=body, headers=key())).json()
    work = {"team": api.team_id, "hold": placed["id"], "member": "mem_1", "items": FOUR_IMAGES, "key": "capture:1"}
    kept = work | {"at": placed["expires_at"]}
    (tmp_path / f"{placed['id']}.json").write_text(json.dumps(kept))
    ends_at = datetime.fromisoformat(placed["expires_at"])
    await until(lambda: api.connection.fetchval("SELECT clock_timestamp() > $1", ends_at), what="the hold has expired")

    assert await run(api, "takes", source=SOURCE, spool=str(tmp_path)) == 0

    assert files(tmp_path) == []
    receipt = await api.service.get(f"{api.path}/receipts", params={"source": SOURCE, "id": f"{placed['id']}:0"})
    assert receipt.json()["status"] == "pending"


async def test_what_the_api_will_never_take_or_nobody_can_read_is_kept_for_a_person(api: Api, tmp_path: Path) -> None:
    (tmp_path / "torn.json").write_text('{"hold": "to')

    assert await run(api, "refused", source=SOURCE, spool=str(tmp_path)) == ["InvalidRequest", 422, "unknown_feature"]

    refused, torn = files(tmp_path)
    assert refused.endswith(".refused.json")
    assert torn == "torn.damaged.json"


async def test_a_token_that_does_not_count_is_nothing_against_the_work(api: Api, tmp_path: Path) -> None:
    kept = {"team": api.team_id, "hold": "h", "member": None, "items": FOUR_IMAGES, "at": "", "key": "capture:h"}
    (tmp_path / "h.json").write_text(json.dumps(kept))

    await run(api, "waits", token="none", source=SOURCE, spool=str(tmp_path))

    assert files(tmp_path) == ["h.json"]


async def test_a_call_of_a_model_is_held_and_captured_in_tokens(api: Api) -> None:
    items = [{"feature": "ai_chat.answer", "attributes": {"model": "large"}, "quantities": USED}]

    async def has_a_price() -> bool:
        answer = await api.service.post(f"{api.path}/quotes", json={"items": items})
        return answer.status_code == 200 and bool(answer.json()["allowed"])

    await until(has_a_price, what="the API knows the card")

    assert await run(api, "tokens") == ["0.75", "0.51"]


async def test_the_demos_image_service_costs_what_its_images_cost(api: Api) -> None:
    with serving_node(IMAGES, "0", api.url, api.team_id, SOURCE, token=service(api)) as address:
        async with httpx2.AsyncClient(trust_env=False, verify=PLAIN_HTTP, timeout=PATIENCE_SECONDS) as client:
            made = await client.post(f"{address}/images", json={"member": "mem_1", "tier": "standard"})
            refused = await client.post(f"{address}/images", json={"member": "mem_1", "tier": "high"})

    assert (made.status_code, made.json()) == (200, {"credits": "4"})
    assert refused.json()["code"] == "top_ups_required"
    assert await left(api) == ("2996", "0")


async def test_a_spool_is_one_living_clients_and_names_a_source(api: Api, tmp_path: Path) -> None:
    # Of a process that has ended; on Linux its pid belongs to another by now, and elsewhere to none.
    dead = tmp_path / ("lock---1-1" if sys.platform == "linux" else "lock---99999999-1")
    dead.touch()
    os.utime(dead, (0, 0))

    assert await run(api, "spools", source=SOURCE, spool=str(tmp_path)) == {
        "inUse": ["CaptureSpoolInUse", True],
        "inAnotherProcess": True,
        "reopened": None,
        "sourceless": ["TypeError", False],
        "inBrowsers": ["TypeError", False],
    }
