"""Stripe's webhooks: believed only when signed, stored before they are worked on, credited once however they come."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from deploy.local.processes import PLAIN_HTTP
from deploy.local.stack import Stack
from deploy.local.stripe.webhooks import sign
from schemas.facts import CreditsToppedUp
from tests.support.api import Api, an_api
from tests.support.desk import KEY, Desk, assert_books_agree, facts, has, new_team, nobody_looks, working
from tests.support.serving import connected, store, used
from tests.support.waiting import PATIENCE_SECONDS, until

SECRET, NEXT_SECRET = "whsec_now", "whsec_next"  # the stand-in's own
PATH = "/v1/stripe/webhook"


@pytest.fixture
async def api(stack: Stack, database: str) -> AsyncIterator[Api]:
    """The API as it runs in production, with two secrets, as while one replaces the other."""
    async with an_api(stack, database, stripe_key=KEY, stripe_webhook_secret=f"{SECRET},{NEXT_SECRET}") as running:
        yield running


def event(event_id: str = "evt_1", **changes: Any) -> bytes:
    """An event of Stripe's, of which nothing is believed but what it is about."""
    usual = {
        "id": event_id, "object": "event", "type": "payment_intent.succeeded", "livemode": False, "created": 1_790_000_000,
        "data": {"object": {"id": "pi_1", "object": "payment_intent", "amount": 10**9, "metadata": {}}},
    }  # fmt: skip
    return json.dumps(usual | changes).encode()


async def post(api: Api, body: bytes, signature: str | None) -> httpx2.Response:
    """What anybody on the internet may try."""
    headers = {} if signature is None else {"stripe-signature": signature}
    async with httpx2.AsyncClient(
        base_url=api.url, trust_env=False, verify=PLAIN_HTTP, timeout=PATIENCE_SECONDS
    ) as stranger:
        return await stranger.post(PATH, content=body, headers=headers)


async def inbox(api: Api) -> list[tuple[str, int]]:
    """Which events are stored, and how often each came."""
    return [(row["event_id"], row["deliveries"]) for row in await api.connection.fetch("SELECT * FROM stripe_inbox")]


@pytest.mark.parametrize("secret", [SECRET, NEXT_SECRET])
async def test_an_event_is_stored_once_and_answered_every_time_it_comes(api: Api, secret: str) -> None:
    for _ in range(100):
        answer = await post(api, event(), sign(secret, event(), int(time.time())))
        assert (answer.status_code, answer.json()) == (200, {"received": "evt_1"})

    assert await inbox(api) == [("evt_1", 100)]


async def test_a_thin_event_is_told_what_to_set_up_instead_and_counted(api: Api) -> None:
    thin = json.dumps({
        "id": "evt_test_1", "object": "v2.core.event", "type": "v1.payment_intent.succeeded", "livemode": False,
        "created": "2026-11-30T08:00:00.000Z", "related_object": {"id": "pi_1", "type": "payment_intent"},
    }).encode()  # fmt: skip
    answer = await post(api, thin, sign(SECRET, thin, int(time.time())))
    unsigned = await post(api, thin, sign("whsec_other", thin, int(time.time())))

    assert (answer.status_code, answer.json()["code"]) == (400, "thin_event")
    assert "destination with the payload style Snapshot" in answer.json()["detail"]
    assert unsigned.json()["code"] == "signature_wrong"
    assert await inbox(api) == []
    assert api.health.registry.get_sample_value("creditwell_stripe_thin_events_total") == 1


async def test_what_stripe_did_not_sign_just_now_for_us_is_refused_and_not_stored(api: Api) -> None:
    now, body = int(time.time()), event()
    altered = body.replace(b"pi_1", b"pi_2")
    live = event(livemode=True)
    for attempt, signature, code in [
        (body, None, "signature_missing"),
        (body, "t=1,v1=", "signature_missing"),
        (body, sign("whsec_wrong", body, now), "signature_wrong"),
        (altered, sign(SECRET, body, now), "signature_wrong"),
        (body, sign(SECRET, body, now - 301), "too_old"),
        (body, sign(SECRET, body, now + 3_600), "from_the_future"),
        (live, sign(SECRET, live, now), "wrong_mode"),
        (b"[]", sign(SECRET, b"[]", now), "unreadable"),
    ]:
        answer = await post(api, attempt, signature)
        assert (answer.status_code, answer.json()["code"]) == (400, code)

    assert await inbox(api) == []


async def test_a_body_larger_than_any_event_is_refused_before_it_is_read(api: Api) -> None:
    body = event() + b" " * (256 * 1024)

    answer = await post(api, body, sign(SECRET, body, int(time.time())))

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_what_its_head_gives_away_is_refused_before_a_byte_of_the_body_comes(api: Api) -> None:
    now, right = int(time.time()), "0" * 64
    for headers, status, code in [
        ({}, 400, "signature_missing"),
        ({"stripe-signature": f"t={now},v1=no hash"}, 400, "signature_missing"),
        ({"stripe-signature": f"t={now - 3600},v1={right}"}, 400, "too_old"),
        ({"stripe-signature": f"t={now + 3600},v1={right}"}, 400, "from_the_future"),
        ({"stripe-signature": f"t={now},v1={right}", "content-length": str(2**20)}, 413, "too_large"),
    ]:
        assert await answered_to_a_head({"content-length": "1000"} | headers, api) == (status, code)


async def answered_to_a_head(headers: dict[str, str], api: Api) -> tuple[int, str]:
    """Status and code for whoever sends nothing more."""
    address = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    lines = [f"POST {PATH} HTTP/1.1", "host: creditwell", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(PATIENCE_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
    writer.close()
    return int(head.split()[1]), json.loads(body)["code"]


@pytest.mark.parametrize("twist", ["as they come", "double", "hold", "lose"])
async def test_a_late_success_is_credited_once_by_webhook_or_without(
    twist: str, stack: Stack, database: str, desk: Desk, api: Api
) -> None:
    await desk.order("webhooks/address", url=f"{api.url}{PATH}", secret=SECRET)
    if twist != "as they come":
        await desk.order("webhooks", do=twist)
    async with connected(database) as connection, working(stack, database, desk):
        team = await new_team(connection, desk, cool_down_seconds=300)
        await desk.order("outcomes", outcome="processing")
        await store(connection, team, [used(300)])

        async def is_processing() -> str | None:
            intents = (await desk.books())["payment_intents"]
            return next((intent["id"] for intent in intents if intent["status"] == "processing"), None)

        intent_id = await until(is_processing)
        if twist != "lose":  # only a webhook can tell of it then
            await nobody_looks(connection, team)
        await desk.order(f"payment_intents/{intent_id}/settle", outcome="succeeded")
        if twist == "hold":
            await desk.order("webhooks/release", order="reversed")

        await until(lambda: has(connection, team, CreditsToppedUp))
        await assert_books_agree(connection, desk, team, charges=1)
        credited = [stored for stored in await facts(connection, team) if stored.type == "credits.topped_up.v1"]
        assert [(stored.source, stored.id) for stored in credited] == [("creditwell:stripe", intent_id)]
