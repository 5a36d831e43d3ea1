"""Stripe's own word on what we send and on what our stand-in answers.

`stripe-mock` is Stripe's: it knows the published parameters of every request and refuses all others. It is a Go module,
built once into the checkout's state folder; where Go is absent or the module can't be had, these tests are skipped, and
say so. Its newest specification is of 2026-08-26; what changed in the requests that we send by 2026-10-28, the version
that our library speaks, is one parameter, and is written into the copy that it is started with (`newer`).
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import jsonschema_rs
import pytest

from deploy.local.folders import STATE
from deploy.local.stripe import create_app, running
from services.money.stripe_client import Charges
from tests.support.absent import absent
from tests.support.waiting import PATIENCE_SECONDS

MODULE, VERSION = "github.com/stripe/stripe-mock", "v0.203.0"
HOME = STATE / "stripe-mock" / VERSION
KEY = "sk_test_123"
OURS = {"Authorization": f"Bearer {KEY}"}
SOON = datetime(2026, 11, 23, tzinfo=UTC)
ATTEMPT = UUID("0198c1f2-0000-7000-8000-000000000000")
BUILD_SECONDS = 600  # with nothing in the cache, on a machine with much else to do

Json = dict[str, Any]
Question = Callable[[Charges], Awaitable[object]]

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
    pytest.mark.timeout(BUILD_SECONDS + 300),
]


async def _list(charges: Charges, **bounds: Any) -> None:
    async for _ in charges.list_intents(created_after=SOON, **bounds):
        pass


async def _list_reversals(listed: AsyncIterator[object]) -> None:
    async for _ in listed:
        pass


def _create(charges: Charges, **more: Any) -> Awaitable[object]:
    return charges.create_intent(
        attempt_id=ATTEMPT,
        team_id="team_42",
        customer_id="cus_1",
        payment_method_id="pm_1",
        charge_cents=2_000,
        currency="usd",
        **more,
    )


def _confirm(charges: Charges, **more: Any) -> Awaitable[object]:
    return charges.confirm("pi_1", attempt_id=ATTEMPT, try_number=1, **more)


def _checkout(charges: Charges, **more: Any) -> Awaitable[object]:
    return charges.create_checkout(
        purchase_id="purchase_1",
        team_id="team_42",
        customer_id="cus_1",
        name="Standard",
        amount_cents=5_000,
        currency="usd",
        success_url="https://host.example/usage?checkout={CHECKOUT_SESSION_ID}",
        cancel_url="https://host.example/usage",
        **more,
    )


def _card_checkout(charges: Charges) -> Awaitable[object]:
    return charges.create_card_checkout(
        change_id="change_1",
        team_id="team_42",
        customer_id="cus_1",
        success_url="https://host.example/usage",
        cancel_url="https://host.example/usage",
    )


# Every question that we can ask, with every parameter that it can carry.
QUESTIONS: dict[str, list[Question]] = {
    "create_intent": [_create, lambda charges: _create(charges, metadata={"team": "x"}, try_number=2)],
    "confirm": [
        _confirm,
        lambda charges: _confirm(
            charges, off_session=False, payment_method_id="pm_1", return_url="https://host.example"
        ),
    ],
    "cancel": [lambda charges: charges.cancel("pi_1")],
    "saved_card": [lambda charges: charges.saved_card("pm_1")],
    "retrieve": [lambda charges: charges.retrieve("pi_1")],
    "list_intents": [
        _list,
        lambda charges: _list(charges, created_before=SOON, customer_id="cus_1"),
        lambda charges: _list(charges, customer_id="cus_1", whole=False),
    ],
    "find_intents": [lambda charges: charges.find_intents(ATTEMPT, customer_id="cus_1", created_after=SOON)],
    "disputes_of": [lambda charges: charges.disputes_of("pi_1")],
    "list_refunded": [lambda charges: _list_reversals(charges.list_refunded(created_after=SOON))],
    "list_moves": [
        lambda charges: _list_reversals(charges.list_moves(created_after=SOON)),
        lambda charges: _list_reversals(charges.list_moves(created_after=SOON, payout="po_1")),
    ],
    "moves_of": [lambda charges: charges.moves_of("pi_1")],
    "list_disputed": [lambda charges: _list_reversals(charges.list_disputed(created_after=SOON))],
    "ensure_customer": [
        lambda charges: charges.ensure_customer("team_42"),
        lambda charges: charges.ensure_customer("team_42", attempt="after:cus_0"),
    ],
    "card_of": [lambda charges: charges.card_of("cus_1")],
    "has_card": [lambda charges: charges.has_card("cus_1", "pm_1")],
    "use_card": [lambda charges: charges.use_card("cus_1", "pm_1")],
    "create_checkout": [
        _checkout,
        lambda charges: _checkout(charges, save_card=True, automatic_tax=True, try_number=2),
    ],
    "create_card_checkout": [_card_checkout],
    "find_checkout": [lambda charges: charges.find_checkout("pi_1")],
    "expire_checkout": [lambda charges: charges.expire_checkout("cs_test_1")],
    "retrieve_checkout": [lambda charges: charges.retrieve_checkout("cs_test_1")],
}


def build() -> Path:
    """The folder of stripe-mock's program and its specification; without Go or the module the test is skipped, or fails under CI."""
    go = shutil.which("go")
    if go is None:
        absent(
            "stripe-mock is a Go module, and there is no Go here: no request was held against Stripe's specification"
        )
    if not (HOME / "spec3.json").exists():
        HOME.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "GOBIN": str(HOME), "GOTOOLCHAIN": "local"}
        run(go, "install", f"{MODULE}@{VERSION}", environment=environment)
        told = json.loads(run(go, "mod", "download", "-json", f"{MODULE}@{VERSION}", environment=environment))
        specification = json.loads((Path(told["Dir"]) / "embedded/openapi/spec3.json").read_text())
        (HOME / "spec3.json").write_text(json.dumps(newer(specification)))
    return HOME


def run(*command: str, environment: dict[str, str]) -> str:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=True
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
        said = failure.stderr or b""
        last = (said if isinstance(said, str) else said.decode()).strip().splitlines()[-1:]
        absent(f"stripe-mock could not be built with `{' '.join(command[1:])}`: {failure}; its last line: {last}")
    return done.stdout


def newer(specification: Json) -> Json:
    """The specification with what Stripe changed on 2026-09-30: types of payment methods are allowed, no more listed.

    https://docs.stripe.com/changelog/endive/2026-09-30/remove-payment-method-types-checkout-sessions
    """
    for path in ("/v1/checkout/sessions", "/v1/payment_intents", "/v1/setup_intents"):
        form = specification["paths"][path]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
        properties = form["schema"]["properties"]
        properties.setdefault("allowed_payment_method_types", properties["payment_method_types"])
        del properties["payment_method_types"]
    return specification


@pytest.fixture(scope="module")
def specification() -> Json:
    found: Json = json.loads((build() / "spec3.json").read_text())
    return found


@pytest.fixture(scope="module")
async def stripe_mock() -> AsyncIterator[str]:
    """The address of a stripe-mock that runs."""
    folder = build()
    command = [str(folder / "stripe-mock"), "-http-addr", "127.0.0.1:", "-spec", str(folder / "spec3.json")]
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield await asyncio.wait_for(announced(child), PATIENCE_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        await child.communicate()


async def announced(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    said = ""
    async for line in child.stdout:
        said += line.decode()
        listening = re.search(r"Listening for HTTP at address: (\S+)", said)
        if listening:
            return f"http://{listening[1]}"
    pytest.fail(f"stripe-mock ended before it listened: {said}")


def test_every_question_that_we_can_ask_is_tried() -> None:
    asked = {name for name in dir(Charges) if not name.startswith("_")} - {"ask", "close", "each"}

    assert asked == set(QUESTIONS)


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, asked in QUESTIONS.items() for number in range(len(asked))]
)
async def test_stripe_accepts_every_request_that_we_send(stripe_mock: str, name: str, number: int) -> None:
    async with Charges(KEY, api_base=stripe_mock, timeout_seconds=PATIENCE_SECONDS) as charges:
        await QUESTIONS[name][number](charges)


@pytest.mark.parametrize("field", ["colour", "payment_method_types[]"])
async def test_stripe_refuses_what_it_does_not_know(stripe_mock: str, field: str) -> None:
    form = {"amount": "500", "currency": "usd", field: "card"}
    async with httpx2.AsyncClient(base_url=stripe_mock, headers=OURS, timeout=PATIENCE_SECONDS) as http:
        response = await http.post("/v1/payment_intents", data=form)

    assert response.status_code == httpx2.codes.BAD_REQUEST


async def test_what_the_stand_in_answers_has_the_shape_that_stripe_publishes(specification: Json) -> None:
    answered = await answers()

    kinds = {body["object"] for body in answered}
    validators = {kind: validator(specification, kind) for kind in kinds}
    faults = [
        f"{body['object']} {body['id']}: {fault.instance_path} {fault.message[:200]}"
        for body in answered
        for fault in validators[body["object"]].iter_errors(body)
    ]

    assert kinds >= {
        "balance_transaction",
        "charge",
        "checkout.session",
        "customer",
        "dispute",
        "event",
        "payment_intent",
        "payment_method",
        "refund",
        "setup_intent",
    }
    assert faults == []


async def test_the_stand_in_answers_with_no_member_that_stripe_does_not_publish(specification: Json) -> None:
    schemas = specification["components"]["schemas"]
    newer_members = {"allowed_payment_method_types", "payment_record", "source"}

    unknown = {
        (body["object"], name)
        for body in await answers()
        for name in body
        if name not in schemas[body["object"]]["properties"] and name not in newer_members
    }

    assert unknown == set()


def validator(specification: Json, kind: str) -> jsonschema_rs.Draft7Validator:
    """Checks an object against the published schema, in which OpenAPI's `nullable` is said as JSON Schema says it."""
    schemas = nullable(specification["components"]["schemas"])
    return jsonschema_rs.Draft7Validator({"$ref": f"#/components/schemas/{kind}", "components": {"schemas": schemas}})


def nullable(schema: Any) -> Any:
    if isinstance(schema, list):
        return [nullable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # A field called `nullable` would be a schema, not true.
    told = {name: nullable(part) for name, part in schema.items() if not name.startswith("x-") and name != "nullable"}
    if "x-stripeBypassValidation" in schema:
        told.pop("enum", None)
    return {"anyOf": [told, {"type": "null"}]} if schema.get("nullable") is True else told


async def answers() -> list[Json]:
    """Each kind of object of the stand-in, in each state that a scenario of everything leads it to."""
    app = create_app(secret_key=KEY)
    async with (
        running(app) as url,
        httpx2.AsyncClient(base_url=url, headers=OURS, timeout=PATIENCE_SECONDS) as http,
        Charges(KEY, api_base=url, timeout_seconds=PATIENCE_SECONDS) as charges,
    ):
        await play(http, charges)
        found: list[Json] = []
        for path in ("charges", "checkout/sessions", "customers", "disputes", "events", "payment_intents"):
            found += (await http.get(f"/v1/{path}", params={"limit": 100})).json()["data"]
        for path in ("balance_transactions", "refunds", "setup_intents"):
            found += (await http.get(f"/v1/{path}", params={"limit": 100})).json()["data"]
        for customer in [body for body in found if body["object"] == "customer"]:
            found += (await http.get(f"/v1/customers/{customer['id']}/payment_methods")).json()["data"]
        return found


async def play(http: httpx2.AsyncClient, charges: Charges) -> None:
    """Cards that pay, decline, ask for their owner and are disputed; a refund; a Checkout of each kind, used."""
    customer = await charges.ensure_customer("team_42")
    outcomes = {
        "pm_card_visa": "processing",
        "pm_card_mastercard": "succeeded",
        "pm_card_chargeCustomerFail": "lost_card",
        "pm_card_authenticationRequired": "requires_action",
        "pm_card_createDispute": "succeeded",
        "pm_card_createDisputeInquiry": "succeeded",
    }
    for name, outcome in outcomes.items():
        form = {"customer": customer}
        method = (await http.post(f"/v1/payment_methods/{name}/attach", data=form)).json()["id"]
        await http.post("/_control/outcomes", json={"outcome": outcome, "payment_method": method})
        asked = {"amount": 2_000, "currency": "usd", "customer": customer, "payment_method": method, "confirm": "true"}
        made = await http.post("/v1/payment_intents", data={**asked, "return_url": "https://host.example"})
        if name == "pm_card_mastercard":
            await http.post("/v1/refunds", data={"payment_intent": made.json()["id"], "amount": 500})
    for opened in (await _checkout_for(charges, customer, "payment"), await _checkout_for(charges, customer, "setup")):
        await http.post(opened, data={"action": "pay", "card": "pm_card_visa"})
    await _checkout_for(charges, customer, "open")


async def _checkout_for(charges: Charges, customer: str, what: str) -> str:
    host = "https://host.example"
    if what == "setup":
        opened = await charges.create_card_checkout(
            change_id="1", team_id="team_42", customer_id=customer, success_url=host, cancel_url=host
        )
    else:
        opened = await charges.create_checkout(
            purchase_id=what,
            team_id="team_42",
            customer_id=customer,
            name="Mini",
            amount_cents=2_000,
            currency="usd",
            save_card=True,
            automatic_tax=True,
            success_url=host,
            cancel_url=host,
        )
    return opened.url or ""
