"""Usage by HTTP and its receipts, and the stream of what changes: the API together with Kafka and a recorder."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg
import httpx2
import pytest

from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import CreditsGranted
from services.runtime.health import Health
from services.runtime.settings_loading import load_settings
from services.usage import consuming
from tests.conftest import a_database
from tests.support.api import Api, Event, an_api, events, key
from tests.support.usage import reported
from tests.support.waiting import until
from tests.support.world import begin_at, ends_of

SOURCE = "/features/video"
BATCH = {"content-type": "application/cloudevents-batch+json"}


@pytest.fixture(scope="module")
async def running(stack: Stack, template: str) -> AsyncIterator[Api]:
    async with a_database(stack, template) as database, an_api(stack, database) as api, a_recorder(stack, api):
        yield api


@asynccontextmanager
async def a_recorder(stack: Stack, api: Api) -> AsyncIterator[None]:
    """One that begins at the end of what other tests have sent."""
    await begin_at(api.connection, await ends_of(stack.kafka))
    database = api.settings.needed("database").partition("?")[0]
    settings = load_settings(kafka=stack.kafka, database=database, insecure_dev=True)
    stop = asyncio.Event()
    recording = asyncio.create_task(consuming.serve(settings, stop, Health("recorder")))
    try:
        yield
    finally:
        stop.set()
        await recording


def usage(api: Api, name: str, **about: Any) -> dict[str, Any]:
    return reported(api.team_id, name, **({"source": SOURCE} | about))


async def receipt(api: Api, name: str, status: str = "applied", **counts: int) -> Any:
    """The receipt, once it says what is expected of it."""

    async def look() -> Any:
        answer = await api.service.get(f"{api.path}/receipts", params={"source": SOURCE, "id": name})
        said = answer.json()
        return said if said["status"] == status and counts.items() <= said.items() else None

    return await until(look)


async def test_usage_reported_by_http_is_acknowledged_recorded_and_has_a_receipt(api: Api) -> None:
    event = usage(api, "one", quantity="2", tier="standard")

    async def sent() -> httpx2.Response | None:
        """An API that has just started may not have found Kafka yet."""
        response = await api.service.post("/v1/usage", json=event)
        return response if response.status_code != 503 else None

    answer = await until(sent, what="the API has found Kafka")
    (pending,) = answer.json()["receipts"]

    applied = await receipt(api, "one")

    assert answer.status_code == 202
    assert (pending["status"], pending["source"], pending["id"]) == ("pending", SOURCE, "one")
    assert (applied["credits"], applied["duplicates"], applied["conflicts"]) == ("-8", 0, 0)
    balance = (await api.service.get(f"{api.path}/balance", params={"at_least": applied["position"]})).json()
    assert balance["total"] == "2992"
    assert (await api.service.get(pending["href"])).json() == applied


async def test_a_receipt_counts_what_came_after_the_first(api: Api) -> None:
    first = usage(api, "again")
    for event in (first, first, usage(api, "again", at=first["time"], quantity="9")):
        await api.service.post("/v1/usage", json=event)

    counted = await receipt(api, "again", duplicates=1, conflicts=1)

    assert counted["credits"] == "-1"


async def test_usage_that_the_recorder_refuses_has_a_receipt_that_says_why(api: Api) -> None:
    await api.service.post("/v1/usage", json=usage(api, "odd", feature="ai_smell.generate"))

    refused = await receipt(api, "odd", "refused")

    assert refused["reason"] == "unknown_feature"
    assert "ai_smell.generate" in refused["detail"]


async def test_what_has_not_been_seen_is_pending(api: Api) -> None:
    answer = await api.service.get(f"{api.path}/receipts", params={"source": SOURCE, "id": "never sent"})

    assert answer.json() == {
        "status": "pending", "position": None, "recorded_at": None, "credits": None, "reason": None, "detail": None,
        "duplicates": 0, "conflicts": 0, "corrects": None,
    }  # fmt: skip


async def test_a_batch_has_a_receipt_for_each_of_its_events(api: Api) -> None:
    batch = [usage(api, f"batch_{number}") for number in range(50)]

    answer = await api.service.post("/v1/usage", content=json.dumps(batch), headers=BATCH)

    assert answer.status_code == 202
    assert [one["id"] for one in answer.json()["receipts"]] == [event["id"] for event in batch]
    for event in batch:
        await receipt(api, event["id"])


async def test_a_number_is_judged_by_the_digits_that_were_sent(api: Api) -> None:
    body = json.dumps([usage(api, "exact", quantity="HERE")]).replace('"HERE"', "1.00000000000000000001")

    assert (await api.service.post("/v1/usage", content=body, headers=BATCH)).status_code == 202

    assert (await receipt(api, "exact", "refused"))["reason"] == "bad_quantity"


async def test_a_service_reports_for_its_own_team_and_as_its_own_source_alone(api: Api) -> None:
    wrong = [
        (usage(api, "a", subject="somebody_else"), "team_not_allowed"),
        (usage(api, "b", source="/labs/audio"), "source_not_allowed"),
        (usage(api, "c", source="creditwell:cycles"), "source_not_allowed"),
    ]
    for event, code in wrong:
        answer = await api.service.post("/v1/usage", content=json.dumps([usage(api, "fine"), event]), headers=BATCH)
        assert (answer.status_code, answer.json()["code"]) == (403, code)

    any_source = api.client("service", sources=("*",))
    ours = await any_source.post("/v1/usage", json=usage(api, "d", source="creditwell:cycles"))
    assert ours.status_code == 403
    # What comes behind it on the same way has been recorded, so it was never sent.
    assert (await api.service.post("/v1/usage", json=usage(api, "marker"))).status_code == 202
    await receipt(api, "marker")
    answer = await api.service.get(f"{api.path}/receipts", params={"source": SOURCE, "id": "fine"})
    assert answer.json()["status"] == "pending", "of a batch that may not be sent nothing is"


async def test_each_event_of_a_batch_is_judged_alone(api: Api) -> None:
    good = [usage(api, f"good_{number}") for number in range(3)]
    batch = [
        good[0], {name: value for name, value in usage(api, "x").items() if name != "id"}, good[1],
        7, good[2], usage(api, "z", comment="x" * 2**21),
    ]  # fmt: skip

    answer = await api.service.post("/v1/usage", content=json.dumps(batch), headers=BATCH)

    results = answer.json()["results"]
    assert answer.status_code == 207
    assert [result["index"] for result in results] == list(range(6))
    assert [(result["status"], result["code"]) for result in results] == [
        (202, None), (422, "invalid_request"), (202, None), (422, "invalid_request"), (202, None),
        (422, "too_large"),
    ]  # fmt: skip
    assert "event 2: id: is missing" in results[1]["detail"]
    for event, result in zip(good, [results[0], results[2], results[4]], strict=True):
        assert result["receipt"]["id"] == event["id"]
        await receipt(api, event["id"])


async def test_what_a_strict_reader_stops_at_takes_no_other_event_along(api: Api) -> None:
    batch = json.dumps([
        usage(api, "first"), usage(api, "cut", comment="\ud83d"), usage(api, "\ud83d"), usage(api, "x") | {"comment": float("nan")},
        usage(api, "last"),
    ])  # fmt: skip

    answer = await api.service.post("/v1/usage", content=f" {batch}\n", headers=BATCH)

    results = answer.json()["results"]
    assert [result["status"] for result in results] == [202, 202, 422, 422, 202]
    assert "event 3: id: " in results[2]["detail"]
    assert results[3]["detail"] == "event 4 is not JSON: NaN is not a number in JSON"
    for event_id in ("first", "cut", "last"):
        await receipt(api, event_id)


async def test_a_batch_of_which_nothing_can_be_sent_is_refused(api: Api) -> None:
    answer = await api.service.post("/v1/usage", content=b"[{}, 7]", headers=BATCH)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_body_in_gzip_is_read_and_so_is_a_byte_order_mark(api: Api) -> None:
    packed = gzip.compress(json.dumps(usage(api, "packed")).encode())
    answer = await api.service.post(
        "/v1/usage", content=packed, headers={"content-type": "application/json", "content-encoding": "GZip"}
    )
    assert answer.status_code == 202
    marked = b"\xef\xbb\xbf" + json.dumps([usage(api, "marked")]).encode()
    assert (await api.service.post("/v1/usage", content=marked, headers=BATCH)).status_code == 202

    await receipt(api, "packed")
    await receipt(api, "marked")


@pytest.mark.parametrize(
    ("made", "encoding", "status", "code"),
    [
        (lambda: gzip.compress(b" " * 5_000_000), "gzip", 413, "too_large"),
        (lambda: gzip.compress(b" " * 200_000_000, 1), "gzip", 413, "too_large"),
        (lambda: gzip.compress(b"{}")[:-4], "gzip", 422, "invalid_request"),
        (lambda: gzip.compress(b"{}") * 2, "gzip", 422, "invalid_request"),
        (lambda: b"{}", "gzip", 422, "invalid_request"),
        (lambda: b"{}", "zstd", 415, "unsupported_media_type"),
        (lambda: b"{}", "gzip, gzip", 415, "unsupported_media_type"),
    ],
    ids=["large", "a bomb", "cut", "two in a row", "not packed", "another coding", "packed twice"],
)
async def test_a_body_that_can_not_be_unpacked_is_refused(
    api: Api, made: Callable[[], bytes], encoding: str, status: int, code: str
) -> None:
    content = made()  # here, not when the file is read: gzip writes the time into it
    headers = {"content-type": "application/json", "content-encoding": encoding}
    for ask in (api.service.post("/v1/usage", content=content, headers=headers),
                api.member.post(f"{api.path}/quotes", content=content, headers=headers)):  # fmt: skip
        answer = await ask
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers.get("accept-encoding") == ("gzip" if status == 415 else None)


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 422, "invalid_request"), (b"[]", "application/json", 422, "invalid_request"),
        (b"7", "application/json", 422, "invalid_request"), (b'{"specversion": "1.0"}', "application/json", 422, "invalid_request"),
        (b'{"specversion": NaN}', "application/json", 422, "invalid_request"), (b"[" * 100_000, "application/json", 422, "invalid_request"),
        (b"\xff\xfe", "application/json", 422, "invalid_request"), (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"x" * 5_000_000, "application/json", 413, "too_large"),
    ],
)  # fmt: skip
async def test_what_is_no_event_is_refused_at_once(api: Api, content: bytes, kind: str, status: int, code: str) -> None:
    answer = await api.service.post("/v1/usage", content=content, headers={"content-type": kind})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"]


@asynccontextmanager
async def streaming(
    api: Api, client: httpx2.AsyncClient | None = None, **headers: str
) -> AsyncIterator[AsyncIterator[Event]]:
    """The team's stream."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (client or api.member).stream("GET", f"{api.path}/stream", headers=sent) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield events(response)


async def wanted(stream: AsyncIterator[Event], type: str) -> Event:
    """The next event of a type."""
    async for event in stream:
        if event.type == type:
            return event
    raise AssertionError(f"the stream ended without {type}")


async def test_the_stream_tells_the_balance_at_once_and_again_when_it_changes(api: Api) -> None:
    async with streaming(api) as stream:
        first = await wanted(stream, "balance")
        await api.tell(CreditsGranted(credits=5 * MICRO, reason="welcome"))
        news, second = await wanted(stream, "activity"), await wanted(stream, "balance")

    assert (first.data["total"], second.data["total"]) == ("3000", "3005")
    assert [(item["type"], item["credits"]) for item in news.data["items"]] == [("grant", "5")]
    assert second.id == second.data["position"]


async def test_usage_is_in_the_stream_soon_after_it_was_reported(api: Api) -> None:
    async with streaming(api) as stream:
        await wanted(stream, "balance")
        await api.service.post("/v1/usage", json=usage(api, "live"))
        news = await wanted(stream, "activity")

    assert (news.data["items"][0]["description"], news.data["items"][0]["credits"]) == ("AI image", "-1")


async def test_who_comes_back_gets_what_was_missed_and_nothing_twice(api: Api) -> None:
    async with streaming(api) as stream:
        seen = await wanted(stream, "balance")
    for number in range(3):
        await api.tell(CreditsGranted(credits=(number + 1) * MICRO, reason="missed"))

    assert seen.id is not None
    async with streaming(api, last_event_id=seen.id) as stream:
        news = await wanted(stream, "activity")
        balance = await wanted(stream, "balance")
        await api.tell(CreditsGranted(credits=9 * MICRO, reason="new"))
        more = await wanted(stream, "activity")

    assert [item["credits"] for item in news.data["items"]] == ["3", "2", "1"]
    assert balance.data["total"] == "3006"
    assert [item["credits"] for item in more.data["items"]] == ["9"]


async def test_the_stream_says_nothing_of_other_teams(api: Api) -> None:
    await api.team("loud_team")
    async with streaming(api) as stream:
        await wanted(stream, "balance")
        for _ in range(3):
            await api.tell(CreditsGranted(credits=MICRO, reason="theirs"), team="loud_team")
        await api.tell(CreditsGranted(credits=2 * MICRO, reason="ours"))
        news = await wanted(stream, "activity")

    assert [item["detail"] for item in news.data["items"]] == ["ours"]


async def test_the_stream_ends_when_its_token_does(api: Api) -> None:
    short = api.client("member", lasts=timedelta(hours=1))
    async with streaming(api, short) as stream:
        await wanted(stream, "balance")
        with api.clock.later(timedelta(hours=1)):
            await api.tell(CreditsGranted(credits=MICRO, reason="too late"))  # or it would look at the clock in a while
            told = [event.type async for event in stream]

    assert told == ["end"]


async def test_a_process_that_is_told_to_stop_ends_its_streams_and_finishes(stack: Stack, database: str) -> None:
    async with an_api(stack, database) as api:
        await api.begin()
        async with streaming(api) as stream:
            await wanted(stream, "balance")
            stopping = asyncio.create_task(finish(api))
            rest = [event async for event in stream]
            await stopping

    assert rest == []


async def test_a_process_that_is_told_to_stop_finishes_the_requests_that_are_under_way(
    stack: Stack, database: str
) -> None:
    async with an_api(stack, database) as api:
        await api.begin()
        async with api.connection.transaction():
            await api.connection.execute("LOCK TABLE shard_heads IN EXCLUSIVE MODE")
            grant = {"credits": "5", "reason": "late, but in time"}
            asking = asyncio.create_task(api.operator.post(f"{api.path}/grants", json=grant, headers=key()))
            await until(partial(waits_for_a_lock, database), what="the grant waits for its shard")
            stopping = asyncio.create_task(finish(api))
            await asyncio.sleep(0.2)
            assert not asking.done()
        answer = await asking
        await stopping

    assert answer.status_code == 201, answer.text


async def waits_for_a_lock(database: str) -> bool:
    """True while a session of the API waits for another one."""
    connection = await asyncpg.connect(database)
    try:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(await connection.fetchval(waiting))
    finally:
        await connection.close()


async def finish(api: Api) -> None:
    """What SIGTERM does."""
    api.stop.set()
    await api.serving
