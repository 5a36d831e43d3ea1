"""The API keeps its own OpenAPI document, whatever it is asked: schemathesis goes over every operation, and along the document's links.

It sends what the document allows and what it forbids, as a caller whose role may use the route and as one without a token, and holds
each answer to the document: status, code, headers, media type and every member. The configuration and what schemathesis must know of
Creditwell stand in `tests/support/schemathesis.toml` and `schemathesis_hooks.py`. Everything behind the API is real, the
stand-in for Stripe included.

The usual run sends the same 2,360 requests every time, save along the links. A longer one, with other data each time, by hand:

    CREDITWELL_OPENAPI_EXAMPLES=300 .venv/bin/python -m pytest tests/integration/api/test_openapi.py
"""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.local.folders import ROOT
from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    ChargeRefunded,
    CreditsGranted,
    CreditsPurchased,
    CreditsToppedUp,
    TopUpActionRequired,
    TopUpFailed,
    TopUpSkipped,
    UsageRecorded,
)
from services.api.app import openapi_document
from services.credits.directory import DirectoryMember
from tests.conftest import a_database
from tests.integration.api.test_api_live import a_recorder
from tests.support.api import NO_LIMITS, Api, an_api, key
from tests.support.desk import KEY, Desk, a_desk, has, settings, working
from tests.support.openapi import brought
from tests.support.serving import store, used
from tests.support.waiting import until

CONFIG = ROOT / "tests" / "support" / "schemathesis.toml"
WEBHOOK_SECRET = "whsec_schemathesis"
HOST = "https://app.example.com"
Operation = tuple[str, str, dict[str, Any]]
MORE = os.environ.get("CREDITWELL_OPENAPI_EXAMPLES")

PAID = {"payment_intent_id": "pi_1", "charge_cents": 2_000, "currency": "usd", "charge_id": "ch_1"}
HISTORY: tuple[AnyFact, ...] = (
    CreditsPurchased(credits=2_000 * MICRO, pack="mini", receipt_url="https://pay.stripe.com/receipts/1", **PAID),
    CreditsToppedUp(credits=500 * MICRO, attempt_id="attempt_1", **PAID | {"payment_intent_id": "pi_2"}),
    CreditsGranted(credits=5 * MICRO, reason="welcome"),
    UsageRecorded(feature="ai_image.generate", quantity="2", credits=2 * MICRO, rate_card=1, attributes={"tier": "low"}),
    TopUpSkipped(ran_low_id="low_1", decision="1", reason="no_payment_method"),
    TopUpFailed(attempt_id="attempt_2", reason="declined_retry_later"),
)  # fmt: skip


@pytest.fixture(scope="module")
async def api(stack: Stack, template: str) -> AsyncIterator[Api]:
    """One team in which everything has happened once, and one whose bank wants to see the owner of the card."""
    async with a_database(stack, template) as database, a_desk() as desk:
        told = NO_LIMITS | {
            "stripe_key": KEY, "stripe_api": desk.url, "stripe_webhook_secret": WEBHOOK_SECRET, "cors_origins": HOST,
        }  # fmt: skip
        async with (
            an_api(stack, database, **told) as running,
            a_recorder(stack, running),
            working(stack, database, desk, "projector", "topup"),
        ):
            await running.begin()
            bought = (await running.tell(*HISTORY)).places[0]
            refund = ChargeRefunded(
                payment_intent_id="pi_1", lot=bought.position, refunded_cents=1_000, currency="usd",
                clawed_credits=1_000 * MICRO, charge_cents=2_000,
            )  # fmt: skip
            await running.tell(refund)
            await a_payment_waits_for_its_owner(running, desk, "team_2")
            yield running


async def a_payment_waits_for_its_owner(api: Api, desk: Desk, team: str) -> None:
    """A top-up was tried, and the bank wants somebody to confirm it."""
    await api.team(team, members=(DirectoryMember("mem_2", "Grace", "admin"),))
    card = await desk.card(team, "pm_card_authenticationRequired")
    await store(api.connection, team, [card, settings(), used(2_500)])
    await until(lambda: has(api.connection, team, TopUpActionRequired), what="the bank asks for the owner")


SETTINGS = {"enabled": True, "threshold": "500", "credits": "500"}
ASKED: dict[str, Any] = {
    "post_hold": {"credits": "1.5"}, "post_extend": {"ttl_seconds": 1_200}, "post_capture": {"credits": "0.5"},
    "post_grant": {"credits": "5", "reason": "welcome"}, "post_adjustment": {"credits": "-1", "reason": "counted twice"},
    "post_quote": {"items": [{"feature": "ai_image.generate", "quantity": "1", "attributes": {"tier": "low"}}]},
    "post_purchase": {"pack": "mini"}, "post_payment_method": {}, "post_confirmation": {}, "post_simulation": SETTINGS, "put_top_up": SETTINGS,
    "put_limit": {"daily": "500"}, "put_member": {"name": "Grace", "role": "admin"}, "put_team": {"name": "Northlight"},
    "put_plan": {"plan": "pro"},
    "post_usage": {
        "specversion": "1.0", "type": "usage.reported.v1", "source": "/features/test", "id": "usage_1", "subject": "team_1",
        "time": "2026-11-23T10:15:30Z", "data": {"feature": "ai_image.generate", "quantity": "1"},
    },
}  # fmt: skip
# What is about one that was there before.
ABOUT_ONE = ("/extend", "/capture", "/release", "/approve", "/reject", "/correct")


async def test_the_document_is_there_before_anybody_asks_for_it(api: Api) -> None:
    assert openapi_document.cache_info().currsize == 1, "made at the start"

    answer = await api.member.get("/openapi.json", headers={"authorization": ""})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == openapi_document()


async def test_every_link_of_a_good_answer_leads_to_another_one(api: Api) -> None:
    document = (await api.member.get("/openapi.json")).json()
    operations = operations_of(document)
    followed = set()
    for name, (_, path, said) in operations.items():
        for title, link in links_of(said).items():
            if title == "next" or path.endswith(("/{id}", *ABOUT_ONE, "/statements")):
                continue  # the last page has no next one, a new team no statement; and a hold leads to what is about it
            if name == "delete_member":
                await ask(api, operations["put_member"], {"team": "team_1", "member": "mem_2"})
            team = "team_2" if name == "post_confirmation" else "team_1"
            begins = {"team": team} | ({"member": "mem_2"} if "{member}" in path else {})
            first = await ask(api, operations[name], begins)
            assert first.is_success, f"{name}: {first.text}"
            then = await ask(api, operations[link["operationId"]], brought(link, begins, first.request, first))
            assert then.is_success, f"{name}, {title}: {then.text}"
            followed.add((name, title))

    assert {("post_hold", "extend"), ("post_usage", "receipt"), ("get_top_up", "change")} < followed
    assert len(followed) > 25


def operations_of(document: dict[str, Any]) -> dict[str, Operation]:
    """Method, path and description of each operation, by its id."""
    return {
        said["operationId"]: (method, path, said)
        for path, methods in document["paths"].items()
        for method, said in methods.items()
    }


def links_of(said: dict[str, Any]) -> dict[str, Any]:
    """Where an operation's good answer leads."""
    good = next(answer for status, answer in said["responses"].items() if status < "300")
    links: dict[str, Any] = good.get("links", {})
    return links


async def ask(api: Api, operation: Operation, given: dict[str, Any]) -> httpx2.Response:
    """An operation with these parameters, as somebody who may."""
    method, path, said = operation
    name = said["operationId"]
    role = next(role for role in ("service", "admin", "operator") if role in said["x-roles"])
    places = {
        parameter["name"]: parameter["in"] for parameter in said.get("parameters", ()) if parameter["name"] in given
    }
    headers = {name: given[name] for name, place in places.items() if place == "header"} | key(secrets.token_hex(8))
    body = given.get("body", ASKED.get(name))
    return await api.client(role, "*" if role == "operator" else given["team"], member="mem_2", sources=("*",)).request(
        method.upper(), path.format(**given), params={name: given[name] for name, place in places.items() if place == "query"},
        headers=headers, **({} if method == "get" or body is None else {"json": body}),
    )  # fmt: skip


async def schemathesis(api: Api, folder: Path, *arguments: str) -> None:
    """Run it; an AssertionError with all that it says if it found anything."""
    environment = {
        **os.environ, "CREDITWELL_STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET, "PYTHONPATH": str(ROOT), "NO_PROXY": "*",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis"),  # its table of characters takes seconds to make
    }  # fmt: skip
    seed = secrets.randbits(32)
    drawn = ("--generation-deterministic",) if MORE is None else ("--max-examples", MORE, "--seed", str(seed))
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{api.url}/openapi.json",
        "--no-color", *drawn, *arguments,
        cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
    print(said.decode())
    assert running.returncode == 0, said.decode()


@pytest.mark.timeout(0 if MORE else 1_200)
async def test_whatever_is_asked_the_answer_is_one_that_the_document_has(api: Api, tmp_path: Path) -> None:
    await schemathesis(api, tmp_path, "--phases", "examples,coverage,fuzzing")


@pytest.mark.timeout(0 if MORE else 1_200)
async def test_links_lead_on_and_along_them_every_answer_is_documented_too(api: Api, tmp_path: Path) -> None:
    await schemathesis(api, tmp_path, "--phases", "stateful")
