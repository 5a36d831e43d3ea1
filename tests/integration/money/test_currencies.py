"""Yen, which have no minor unit, and dinars of a thousand fils, which Stripe takes in tens: from the price to the books."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from deploy.local.stack import Stack
from projections.balance.state import ActivityKind
from schemas.cycles import cycle
from schemas.facts import ChargeRefunded, CreditsPurchased, CreditsToppedUp, PeriodSealed, PlanAssigned
from services.audit.sign_log import sign_log
from services.cli import app
from tests.integration.money.test_purchases import HOST, SECRET, Shop
from tests.support.api import Api, an_api
from tests.support.desk import KEY, a_desk, facts, working
from tests.support.heads import it_is
from tests.support.payments import refund


@dataclass(frozen=True)
class Sold:
    """A currency, prices in its minor units, and amounts as people write them."""

    currency: str
    pack: int
    unit_price: str
    top_up: int  # of 600 credits, rounded up
    refunded: int  # two fifths of the pack
    written: dict[str, str]


YEN = Sold(
    "jpy", pack=2_500, unit_price="1.332", top_up=800, refunded=1_000,
    written={"pack": "2500", "top_up": "800", "refunded": "1000", "charged": "3300", "kept": "2300", "nothing": "0"},
)  # fmt: skip
DINARS = Sold(
    "kwd", pack=7_750, unit_price="3.34", top_up=2_010, refunded=3_100,
    written={"pack": "7.750", "top_up": "2.010", "refunded": "3.100", "charged": "9.760", "kept": "6.660", "nothing": "0.000"},
)  # fmt: skip


def catalog_of(sold: Sold, folder: Path) -> str:
    """Ours, but all of it sold in this currency, too, and top-ups in no other."""
    ours = resources.files("schemas").joinpath("catalog.toml").read_text(encoding="utf-8")
    for was, becomes in {
        "prices = { ": f"prices = {{ {sold.currency} = {sold.pack}, ",
        'currency = "usd"': f'currency = "{sold.currency}"',
        'unit_price = "1"': f'unit_price = "{sold.unit_price}"',
    }.items():
        assert was in ours
        ours = ours.replace(was, becomes)
    path = folder / "catalog.toml"
    path.write_text(ours, encoding="utf-8")
    return str(path)


async def entry(api: Api, kind: ActivityKind) -> Any:
    """The one entry of this kind, with everything behind it."""
    (item,) = (await api.admin.get(f"{api.path}/activity?days=1&type={kind.value}")).json()["items"]
    return (await api.admin.get(f"{api.path}/entries/{item['id']}")).json()


async def sealed_statement(api: Api) -> Any:
    """The statement of the cycle that runs, as if it were over."""
    assigned = next(one for one in await facts(api.connection, api.team_id) if one.type == PlanAssigned.type)
    plan = assigned.fact()
    assert isinstance(plan, PlanAssigned)
    first = cycle(plan.anchor, plan.zone, 0)
    seal = PeriodSealed(plan_assigned_id=assigned.id, cycle=0, starts_at=first.starts_at, ends_at=first.ends_at)
    async with it_is(api.connection, first.ends_at, api.team_id):
        await api.tell(seal)
    await sign_log(api.connection, Ed25519PrivateKey.generate(), datetime.now(UTC))
    return (await api.client("finance", "*").get(f"{api.path}/statements/0")).json()


async def revenue(database: str, zone: str) -> Any:
    """What finance asks of the month, in a zone where it does not end meanwhile."""
    month = f"{datetime.now(ZoneInfo(zone)):%Y-%m}"
    settings = {"CREDITWELL_DATABASE": f"{database}?role=creditwell_reader", "CREDITWELL_BOOKS_ZONE": zone}
    said = await asyncio.to_thread(CliRunner().invoke, app, ["revenue", month, "--format", "json"], env=settings)
    assert said.exit_code == 0, said.output
    return json.loads(said.stdout)["currencies"]


@pytest.mark.parametrize("sold", [YEN, DINARS], ids=lambda sold: sold.currency)
async def test_a_price_is_charged_refunded_stated_and_booked_in_the_digits_of_its_currency(
    stack: Stack, database: str, tmp_path: Path, sold: Sold
) -> None:
    catalog, written = catalog_of(sold, tmp_path), sold.written
    async with (
        a_desk() as desk,
        an_api(
            stack, database, stripe_key=KEY, stripe_webhook_secret=SECRET, stripe_api=desk.url, cors_origins=HOST, catalog=catalog
        ) as api,
    ):  # fmt: skip
        async with working(stack, database, desk, catalog=catalog):
            await api.begin()
            shop = Shop(api, desk)
            await desk.order("webhooks/address", url=f"{api.url}/v1/stripe/webhook", secret=SECRET)
            page = await shop.bought(pack="mini")
            await shop.press(page)
            await shop.told_times(CreditsPurchased, 1)
            card = await shop.saving()
            await shop.press(card)
            assert (await shop.back(card, "payment-method"))["state"] == "saved"
            wanted = {"enabled": True, "threshold": "5500", "credits": "600", "max_per_month": 1}
            assert (await api.admin.put(f"{api.path}/top-up", json=wanted)).is_success
            await shop.told_times(CreditsToppedUp, 1)
            bought, topped_up = await entry(api, ActivityKind.PURCHASE), await entry(api, ActivityKind.TOP_UP)
            await refund(desk, bought["charge"]["payment_intent_id"], sold.refunded)
            await shop.told_times(ChargeRefunded, 1)
        refunded, top_up = await entry(api, ActivityKind.REFUND), (await api.admin.get(f"{api.path}/top-up")).json()
        intents = (await desk.books())["payment_intents"]
        # Nobody works any more: in the month that the statement ends in they might top up once more.
        statement, books = await sealed_statement(api), await revenue(database, api.zone)

    assert (page["amount"], page["currency"]) == (sold.pack, sold.currency)
    assert [(one["amount"], one["currency"]) for one in intents] == [
        (amount, sold.currency) for amount in (sold.pack, sold.top_up)
    ]
    assert [(one["charge"]["amount"], one["charge"]["currency"], one["credits"]) for one in (bought, topped_up)] == [
        (sold.pack, sold.currency, "2000"), (sold.top_up, sold.currency, "600"),
    ]  # fmt: skip
    assert (top_up["price"]["unit_price"], top_up["charged_this_month"]["amount"]) == (sold.unit_price, sold.top_up)
    assert refunded["credits"] == "-800"
    assert {(one["currency"], one["gross"], one["refunded"]) for one in statement["payments"]} == {
        (sold.currency, written["pack"], written["refunded"]), (sold.currency, written["top_up"], written["nothing"]),
    }  # fmt: skip
    assert set(books) == {sold.currency}
    booked = {
        "charged": "charged", "refunded": "refunded", "cash": "kept", "closing": "kept", "revenue": "nothing",
    }  # fmt: skip
    assert {name: books[sold.currency][name] for name in booked} == {
        name: written[said] for name, said in booked.items()
    }
