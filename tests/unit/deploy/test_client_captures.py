"""What a block of the Python client has used is neither lost nor held up, whatever an API, a disk or a token does."""

import asyncio
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from deploy.client.creditwell_client import AsyncClient, Client, HoldHasExpired, InvalidRequest, NoAnswer
from deploy.client.creditwell_client.calls import Answer, exchange
from deploy.client.creditwell_client.settling import ITEMS_MAX, Settlement
from tests.support.client_api import TAKEN, Reply, an_api
from tests.support.waiting import until

ITEMS = [{"feature": "chat", "quantity": "1", "attributes": {"model": "large"}}]
SOURCE = "/features/chat"


def no(status: int, code: str) -> Reply:
    return status, {"code": code, "detail": "no"}


def kept(hold: str) -> bytes:
    return Settlement.now("team_1", hold, None, ITEMS).dump()


def names(spool: Path) -> list[str]:
    return sorted(path.name for path in spool.glob("*.json"))


async def nothing_waits(spool: Path) -> None:
    async def none() -> bool:
        return all(name.endswith((".refused.json", ".damaged.json")) for name in names(spool))

    await until(none, what="nothing waits")


PASSING = {
    "a token that is over": no(401, "unauthenticated"),
    "a token of another role": no(403, "forbidden"),
    "a server that fails": no(500, "internal"),
    "a proxy's page": (404, b"<html>not here</html>"),
    "a redirection": (302, {}),
    "a page of a portal": (200, b"<html>sign in</html>"),
}


@pytest.mark.parametrize("passing", PASSING.values(), ids=PASSING.keys())
async def test_what_is_no_verdict_on_the_work_leaves_it_waiting_until_it_is_taken(
    passing: Reply, tmp_path: Path
) -> None:
    with an_api(passing, TAKEN) as api:
        async with AsyncClient(api.url, token="t", source=SOURCE, spool=tmp_path, patience_seconds=0) as client:
            async with client.hold(team="team_1", items=ITEMS) as hold:
                hold.used(1)
            await nothing_waits(tmp_path)

    assert names(tmp_path) == []
    assert len(api.captures) == 2


async def test_work_whose_hold_has_expired_is_reported_as_usage_without_a_spool_too_where_there_is_a_source() -> None:
    def in_a_thread(url: str) -> None:
        with Client(url, token="t", source=SOURCE) as client, client.hold(team="team_1", items=ITEMS) as hold:
            hold.used(1)

    with an_api(no(409, "hold_expired")) as api:
        async with AsyncClient(api.url, token="t", source=SOURCE) as client:
            async with client.hold(team="team_1", items=ITEMS) as hold:
                hold.used(1)
        await asyncio.to_thread(in_a_thread, api.url)
        assert [(event["id"], event["source"]) for event in api.reported] == [("h1:0", SOURCE), ("h2:0", SOURCE)]

        async with AsyncClient(api.url, token="t") as client:
            with pytest.raises(HoldHasExpired):
                async with client.hold(team="team_1", items=ITEMS) as hold:
                    hold.used(1)

    assert len(api.reported) == 2


async def test_one_that_is_damaged_or_not_taken_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"team": ')
    (tmp_path / "b.json").write_bytes(b'{"team": "team_1"}')
    (tmp_path / "c.json").write_bytes(kept("c").replace(b'"items": [', b'"items": [7, '))
    for hold in ("d", "e", "f"):
        (tmp_path / f"{hold}.json").write_bytes(kept(hold))
    with an_api(no(409, "hold_settled"), no(403, "forbidden"), TAKEN) as api:
        async with AsyncClient(api.url, token="t", source=SOURCE, spool=tmp_path):
            await nothing_waits(tmp_path)

    assert names(tmp_path) == ["a.damaged.json", "b.damaged.json", "c.damaged.json", "d.refused.json"]
    assert [hold for hold, _ in api.captures] == ["d", "e", "f", "e"]


async def test_a_token_that_can_not_be_had_for_a_moment_loses_nothing(tmp_path: Path) -> None:
    fails = threading.Event()

    def token() -> str:
        if fails.is_set():
            raise OSError("no token now")
        return "t"

    with an_api() as api:
        async with AsyncClient(api.url, token=token, source=SOURCE, spool=tmp_path, patience_seconds=0) as client:
            async with client.hold(team="team_1", items=ITEMS, ttl=1) as hold:
                hold.used(1)
                fails.set()
                with pytest.raises(NoAnswer, match="no token now"):
                    await client.balance("team_1")
            assert names(tmp_path) == ["h1.json"]
            fails.clear()
            await nothing_waits(tmp_path)

    assert len(api.captures) == 1


async def test_a_block_that_is_cancelled_again_and_again_is_settled_all_the_same(tmp_path: Path) -> None:
    with an_api() as api:
        api.answers.clear()
        async with AsyncClient(api.url, token="t", source=SOURCE, spool=tmp_path) as client:
            began = asyncio.Event()

            async def stream() -> None:
                async with client.hold(team="team_1", items=ITEMS) as hold:
                    hold.used(1)
                    began.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(stream())
            await began.wait()
            while not task.done():  # as the scope of a request does, whose client has gone
                task.cancel()
                await asyncio.sleep(0)
            await until(_is_set(api.hears), what="the capture arrives")
            assert names(tmp_path) == ["h1.json"]
            api.answers.set()

    assert names(tmp_path) == []
    assert [body["items"] for _, body in api.captures] == [ITEMS]


def _is_set(event: threading.Event) -> Callable[[], Any]:
    async def is_set() -> bool:
        return event.is_set()

    return is_set


def test_a_spool_that_can_not_be_written_does_not_keep_work_from_being_captured(tmp_path: Path) -> None:
    with (
        an_api() as api,
        Client(api.url, token="t", source=SOURCE, spool=tmp_path) as client,
        client.hold(team="team_1", items=ITEMS) as hold,
    ):
        hold.used(1)
        (tmp_path / "h1.part").mkdir()  # nothing can be written there

    assert len(api.captures) == 1
    assert hold.captured is not None


def test_more_than_a_capture_may_have_is_added_up_exactly() -> None:
    with an_api() as api, Client(api.url, token="t") as client:
        with client.hold(team="team_1", items=ITEMS) as hold:
            for _ in range(ITEMS_MAX + 1):
                hold.used("0.1")
                hold.used(input_token=2, output_token="0.000000001")
            hold.used(1, attributes={"model": "small"})

    assert api.captures[0][1]["items"] == [
        {**ITEMS[0], "quantity": "10.1"},
        {"feature": "chat", "attributes": {"model": "large"},
         "quantities": {"input_token": "202", "output_token": "0.000000101"}},
        {"feature": "chat", "attributes": {"model": "small"}, "quantity": "1"},
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", ["", "x", "-1", "NaN", "1e12", "0.0000000001", True])
def test_a_quantity_that_a_capture_can_not_have_is_refused_where_it_is_said(wrong: Any) -> None:
    with an_api() as api, Client(api.url, token="t") as client:
        hold = client.hold(team="team_1", items=ITEMS)
        with pytest.raises(ValueError, match=r"input_token: .+ is no quantity"):
            hold.used(input_token=wrong)
        with hold:
            hold.used(Decimal("1E-7"))
        with pytest.raises(RuntimeError, match="one for each block"):
            hold.__enter__()

    assert api.captures[0][1]["items"][0]["quantity"] == "0.0000001"


def test_what_is_refused_for_good_is_said_and_kept(tmp_path: Path) -> None:
    with an_api(no(422, "unknown_feature")) as api:
        with Client(api.url, token="t", source=SOURCE, spool=tmp_path) as client:
            with pytest.raises(InvalidRequest), client.hold(team="team_1", items=ITEMS) as hold:
                hold.used(1)

    assert names(tmp_path) == ["h1.refused.json"]


def test_an_api_that_is_busy_is_not_asked_without_a_pause_even_where_it_says_so() -> None:
    steps = exchange(30.0)
    assert next(steps) is None

    assert (steps.send(Answer(503, retry_after=0.0)) or 0) > 0
