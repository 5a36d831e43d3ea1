"""Nobody asks too often: people, services, addresses that fail to sign in, and streams, each within its own limit."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

import httpx2
import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from deploy.local.processes import PLAIN_HTTP
from deploy.local.stack import Stack
from deploy.local.stripe.webhooks import sign
from schemas.credits import MICRO
from schemas.facts import CreditsGranted
from services.api.models import examples
from services.api.rate_limits import DOWNLOADS_MAX
from services.api.routes.webhook import WEBHOOK_LANES
from services.api.serving import CONNECTIONS
from services.api.tokens import TokenRole, mint
from services.store.connect import Connection
from tests.conftest import a_database
from tests.support.api import Api, an_api, in_a_while
from tests.support.holds import WAITING, wait_for_locks
from tests.support.limits import LimitsClock, limits_clock
from tests.support.openapi import resolve
from tests.support.usage import reported
from tests.support.waiting import PATIENCE_SECONDS, until

ORIGIN = "https://app.example.com"
# Small: a person's request comes back after 10 s, a service's after 0.2 s.
PEOPLE, SERVICES, FAILED, STREAMS = 6, 5, 6, 2
HERE = {"x-forwarded-for": "198.51.100.7"}  # an address, as a proxy on this machine names it
SECRET = "whsec_now"
STRIPE_EVENT = json.dumps(examples.STRIPE_EVENT).encode()
BATCH = {"content-type": "application/cloudevents-batch+json"}


@pytest.fixture(scope="module", autouse=True)
def clock() -> Iterator[LimitsClock]:
    with limits_clock() as clock:
        yield clock


@pytest.fixture(scope="module")
async def running(stack: Stack, template: str) -> AsyncIterator[Api]:
    async with (
        a_database(stack, template) as database,
        an_api(
            stack, database, cors_origins=ORIGIN, api_person_requests_per_minute=PEOPLE,
            stripe_webhook_secret=SECRET, api_service_requests_per_second=SERVICES, api_failed_sign_ins_per_minute=FAILED,
            api_forged_webhooks_per_minute=FAILED, api_streams_per_caller=STREAMS,
        ) as api,
    ):  # fmt: skip
        yield api


async def ask(client: httpx2.AsyncClient, **headers: str) -> httpx2.Response:
    """Anything at all."""
    return await client.get("/v1/packs", headers=headers)


async def ask_too_often(client: httpx2.AsyncClient, **headers: str) -> tuple[int, httpx2.Response]:
    """How many requests were let in until one was sent away, and what that one was told."""
    for let_in in range(200):
        answer = await ask(client, **headers)
        if answer.status_code == 429:
            return let_in, answer
    raise AssertionError("nobody was sent away")


async def test_who_asks_too_often_is_told_the_limit_and_when_to_come_back(api: Api) -> None:
    let_in, answer = await ask_too_often(api.member, origin=ORIGIN)

    assert let_in == PEOPLE
    assert answer.headers["retry-after"] == "10"
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["status"], answer.json()["code"]) == (429, "too_many_requests")
    assert answer.json()["detail"] == "one person may ask 6 times a minute; ask again in 10 seconds"
    assert "Retry-After" in answer.headers["access-control-expose-headers"]


async def test_one_persons_requests_are_nobody_elses(api: Api) -> None:
    await ask_too_often(api.member)

    assert (await ask(api.client("member", member="mem_9"))).status_code == 200, "another of the same team"
    assert (await ask(api.client("member", team="elsewhere"))).status_code == 200, "the same name in another team"
    assert (await ask(api.admin)).status_code == 200, "the same name in another role"


async def test_a_new_token_does_not_begin_anew(api: Api) -> None:
    await ask_too_often(api.member)

    fresh = api.client("member", lasts=timedelta(hours=2))

    assert fresh.headers["authorization"] != api.member.headers["authorization"]
    assert (await ask(fresh)).status_code == 429


async def test_whatever_is_asked_counts_also_what_is_refused(api: Api) -> None:
    for _ in range(PEOPLE // 2):
        assert (await api.member.get("/v1/teams/another_team/balance")).status_code == 404
        assert (await api.member.put(f"{api.path}/top-up", json={})).status_code == 403

    assert (await api.member.get(f"{api.path}/balance")).status_code == 429


async def test_a_service_has_a_limit_of_its_own_and_may_go_on_when_it_was_told_to(api: Api, clock: LimitsClock) -> None:
    let_in, answer = await ask_too_often(api.service)
    wait = int(answer.headers["retry-after"])

    assert let_in == SERVICES
    assert answer.json()["detail"] == "one service may ask 5 times a second; ask again in 1 second"
    assert wait == 1
    clock.pass_by(wait)
    for _ in range(SERVICES):
        assert (await ask(api.service)).status_code == 200, "a second later all of it has come back"


async def test_a_batch_of_usage_counts_once(api: Api) -> None:
    batch = [reported(api.team_id, f"one of many {number}") for number in range(4 * SERVICES)]

    answer = await api.service.post("/v1/usage", content=json.dumps(batch), headers=BATCH)

    assert (answer.status_code, len(answer.json()["receipts"])) == (202, 4 * SERVICES)


async def test_an_address_that_fails_to_sign_in_too_often_is_sent_away_and_who_has_a_token_is_not(api: Api) -> None:
    async with httpx2.AsyncClient(
        base_url=api.url, trust_env=False, verify=PLAIN_HTTP, timeout=PATIENCE_SECONDS
    ) as stranger:
        cut_short = api.member.headers["authorization"][:-9]
        tokens: tuple[dict[str, str], ...] = ({}, {"authorization": "Bearer nonsense"}, {"authorization": cut_short})
        for number in range(FAILED):
            assert (await ask(stranger, **HERE, **tokens[number % 3])).status_code == 401
        for token in tokens:
            answer = await ask(stranger, **HERE, **token)
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
            detail = "one address may fail to sign in 6 times a minute; ask again in 10 seconds"
            assert (answer.json()["detail"], answer.headers["retry-after"]) == (detail, "10")

        elsewhere = await ask(stranger, **{"x-forwarded-for": "198.51.100.8"})
    assert elsewhere.status_code == 401
    assert (await ask(api.member, **HERE)).status_code == 200, "a token that this process has never seen"


async def test_who_forges_webhooks_too_often_is_sent_away_and_what_stripe_signed_is_not(api: Api) -> None:
    there, event = {"x-forwarded-for": "198.51.100.9"}, STRIPE_EVENT
    async with httpx2.AsyncClient(
        base_url=api.url, trust_env=False, verify=PLAIN_HTTP, timeout=PATIENCE_SECONDS
    ) as stranger:

        async def post(**signature: str) -> httpx2.Response:
            return await stranger.post("/v1/stripe/webhook", content=event, headers=there | signature)

        now = int(time.time())
        forged = {"stripe-signature": sign("whsec_wrong", event, now)}
        genuine = {"stripe-signature": sign(SECRET, event, now)}
        late = {"stripe-signature": sign(SECRET, event, now - 3600)}

        assert [(await post(**late)).json()["code"] for _ in range(2 * FAILED)] == ["too_old"] * 2 * FAILED
        assert [(await post(**[forged, {}][n % 2])).status_code for n in range(FAILED)] == [400] * FAILED
        for signature in (forged, {}):
            answer = await post(**signature)
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
            assert answer.headers["retry-after"] == "10"
        assert [(await post(**genuine)).status_code for _ in range(2 * FAILED)] == [200] * 2 * FAILED
        assert (await ask(stranger, **there)).status_code == 401, "who signs in is counted by itself"


async def test_many_webhooks_at_once_are_all_kept_and_keep_nobody_from_a_balance(api: Api) -> None:
    now = int(time.time())
    events = [json.dumps(examples.STRIPE_EVENT | {"id": f"evt_rush_{n}"}).encode() for n in range(40)]
    async with api.connection.transaction():
        await api.connection.execute("LOCK TABLE stripe_inbox IN EXCLUSIVE MODE")  # as while something holds it up
        rush = [
            asyncio.create_task(
                api.member.post("/v1/stripe/webhook", content=event, headers={"stripe-signature": sign(SECRET, event, now)})
            )
            for event in events
        ]  # fmt: skip
        await wait_for_locks(api.connection, WEBHOOK_LANES)
        balance = await api.client("member", member="mem_rush").get(f"{api.path}/balance")
        assert balance.status_code == 200, "two of the sessions wait, whatever Stripe sends"
        assert not any(task.done() for task in rush)
    answers = await asyncio.gather(*rush)

    assert {answer.status_code for answer in answers} == {200}
    assert await api.connection.fetchval("SELECT count(*) FROM stripe_inbox WHERE event_id LIKE 'evt_rush_%'") == 40


async def test_nobody_but_a_known_proxy_is_believed_who_asks(stack: Stack, template: str) -> None:
    async with (
        a_database(stack, template) as database,
        an_api(stack, database, api_failed_sign_ins_per_minute=1, api_proxies="192.0.2.7,2001:db8::/32") as api,
        httpx2.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN_HTTP, timeout=PATIENCE_SECONDS) as stranger,
    ):
        answers = [await ask(stranger, **{"x-forwarded-for": f"198.51.100.{number}"}) for number in (1, 2)]

    assert [answer.status_code for answer in answers] == [401, 429]


@pytest.fixture(scope="module")
async def _running_streams(stack: Stack, template: str) -> AsyncIterator[Api]:
    async with a_database(stack, template) as database, an_api(stack, database, api_streams_per_caller=STREAMS) as api:
        yield api


@pytest.fixture
async def streams(_running_streams: Api) -> Api:
    """An API that lets everybody ask, but for two streams at once at most."""
    await _running_streams.begin()
    return _running_streams


@asynccontextmanager
async def a_stream(api: Api, client: httpx2.AsyncClient) -> AsyncIterator[httpx2.Response]:
    """A stream that has said something; or why there is none."""
    async with client.stream("GET", f"{api.path}/stream") as response:
        lines = response.aiter_lines()  # with nothing that holds it, it would be closed, and the stream with it
        await (anext(lines) if response.status_code == 200 else response.aread())
        yield response


async def has_room(api: Api) -> bool:
    """True if the member may have another stream."""
    async with a_stream(api, api.member) as response:
        return response.status_code == 200


async def test_so_many_streams_are_open_at_once_and_no_more(streams: Api) -> None:
    async with a_stream(streams, streams.member) as first, a_stream(streams, streams.member) as second:
        assert (first.status_code, second.status_code) == (200, 200)
        async with a_stream(streams, streams.member) as third:
            assert (third.status_code, third.json()["code"]) == (429, "too_many_requests")
            assert third.json()["detail"] == "one caller may have 2 streams open at once; ask again in 5 seconds"
            assert third.headers["retry-after"] == "5"
        async with a_stream(streams, streams.client("member", member="mem_9")) as anothers:
            assert anothers.status_code == 200


async def test_a_stream_makes_room_when_its_reader_hangs_up(streams: Api) -> None:
    async with a_stream(streams, streams.member), a_stream(streams, streams.member):
        assert not await has_room(streams)

    await until(partial(has_room, streams))


async def test_a_stream_makes_room_when_its_token_ends(streams: Api) -> None:
    short = streams.client("member", lasts=timedelta(hours=1))
    async with short.stream("GET", f"{streams.path}/stream") as ending, a_stream(streams, streams.member):
        lines = ending.aiter_lines()
        await anext(lines)
        assert not await has_room(streams)
        with streams.clock.later(timedelta(hours=1)):
            await streams.tell(
                CreditsGranted(credits=MICRO, reason="too late")
            )  # or it would look at the clock in a while
            assert "event: end" in [line async for line in lines]

        await until(partial(has_room, streams))


async def test_a_stream_that_is_refused_takes_no_room(streams: Api) -> None:
    for _ in range(STREAMS):
        answer = await streams.member.get(f"{streams.path}/stream", headers={"last-event-id": "63:1"})
        assert answer.status_code == 422, answer.text

    assert await has_room(streams)


async def test_metrics_count_who_was_sent_away_and_name_no_team(api: Api) -> None:
    def counted(name: str, **labels: str) -> float:
        return api.health.registry.get_sample_value(name, labels) or 0

    def now() -> list[float]:
        return [
            counted("creditwell_http_too_many_requests_total", limit="people"),
            counted("creditwell_http_seconds_count", route="/v1/packs", method="GET", status="429"),
        ]

    before = now()
    await ask_too_often(api.member)
    await ask(api.member)

    assert [after - old for after, old in zip(now(), before, strict=True)] == [2, 2]
    assert api.team_id.encode() not in generate_latest(api.health.registry)
    assert b"mem_1" not in generate_latest(api.health.registry)


async def test_every_route_that_needs_a_token_says_in_the_openapi_document_that_it_may_be_too_often(api: Api) -> None:
    document = (await api.member.get("/openapi.json")).json()
    answers = [
        resolve(document, said["responses"]["429"])
        for methods in document["paths"].values()
        for said in methods.values()
        if said["security"]
    ]

    assert len(answers) > 30
    for answer in answers:
        assert resolve(document, answer["headers"]["Retry-After"])["schema"] == {"type": "integer", "minimum": 1}
        assert "application/problem+json" in answer["content"]


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/stripe/webhook", "/v1/teams/{team}/holds"])
async def test_who_hangs_up_in_the_middle_of_a_body_is_nobodys_mistake(
    api: Api, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = urlsplit(api.url)
    token = mint(api.settings, team=api.team_id, member="mem_1", role=TokenRole.SERVICE)
    head = (
        f"POST {path.format(team=api.team_id)} HTTP/1.1\r\nHost: creditwell\r\nAuthorization: Bearer {token}\r\n"
        f"Stripe-Signature: {sign(SECRET, b'', int(time.time()))}\r\n"
        "Content-Type: application/json\r\nIdempotency-Key: 1\r\nContent-Length: 100\r\n\r\n{"
    )
    with capture_logs() as lines:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.2)  # the API waits for the rest
        writer.close()

        async def told() -> bool:
            return any(line["event"] == "the client hung up" for line in lines)

        await until(told, what="the API has seen it")

    assert [line for line in lines if line["log_level"] != "debug" and "path" in line] == []
    assert [record for record in caplog.records if record.exc_info] == []


@asynccontextmanager
async def locked(api: Api, table: str) -> AsyncIterator[Connection]:
    """Nobody reads this projection while the block runs."""
    async with api.connection.transaction():
        await api.connection.execute(f"LOCK TABLE {table}_v1 IN ACCESS EXCLUSIVE MODE")
        yield api.connection


@pytest.mark.parametrize(
    ("path", "accept", "table"),
    [
        ("balance?at={now}", "application/json", "balance_snapshots"),
        ("activity", "text/csv", "activity_rows"),
        ("activity?type=dispute", "application/json", "activity_rows"),
        ("activity?member=x", "application/json", "activity_rows"),
    ],
    ids=["balances of the past", "downloads", "one type of activity", "one member's activity"],
)
async def test_what_is_dear_waits_for_its_like_and_keeps_nobody_from_a_balance(
    streams: Api, path: str, accept: str, table: str
) -> None:
    address = f"{streams.path}/{path.format(now=in_a_while(seconds=-1)).replace('+', '%2B')}"
    many = [streams.client("member", member=f"mem_{n}") for n in range(2 * CONNECTIONS)]
    async with locked(streams, table) as holder:
        asking = [asyncio.create_task(one.get(address, headers={"accept": accept})) for one in many]
        await wait_for_locks(holder, 1)

        assert (await streams.client("member", member="mem_x").get(f"{streams.path}/balance")).status_code == 200
        assert await holder.fetchval(WAITING) == 1

    assert {answer.status_code for answer in await asyncio.gather(*asking)} <= {200, 404}


async def test_one_caller_has_only_some_downloads_open_at_once(streams: Api) -> None:
    async with locked(streams, "activity_rows"), AsyncExitStack() as stack:

        async def download(client: httpx2.AsyncClient) -> httpx2.Response:
            request = client.stream("GET", f"{streams.path}/activity", headers={"accept": "text/csv"})
            return await stack.enter_async_context(request)

        assert [(await download(streams.member)).status_code for _ in range(DOWNLOADS_MAX)] == [200] * DOWNLOADS_MAX
        refused = await download(streams.member)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert "4 downloads open at once" in json.loads(await refused.aread())["detail"]
        assert (await download(streams.client("member", member="mem_9"))).status_code == 200
        assert (await streams.member.get(f"{streams.path}/packs")).status_code != 429

    async def has_room() -> bool:
        answer = await streams.member.get(f"{streams.path}/activity", headers={"accept": "text/csv"})
        return answer.status_code == 200

    await until(has_room, what="a download that has ended makes room")
