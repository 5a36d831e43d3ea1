"""A call of a model on the page: one row whatever it used, and behind it what each part of it cost."""

import csv
import io
import re
from collections.abc import AsyncIterator

import msgspec
import pytest
from playwright.async_api import expect

from deploy.local.stack import Stack
from schemas.facts import UsageRecorded
from tests.conftest import a_database
from tests.support.api import Api, an_api
from tests.support.calls import USED, publish_chat
from tests.support.page import Visit
from tests.support.serving import connected

CALL = UsageRecorded(
    feature="ai_chat.answer", quantity=None, quantities=USED, credits=510_000, rate_card=2, member_id="mem_1",
    attributes={"model": "large"},
)  # fmt: skip


@pytest.fixture(scope="module")
async def running(stack: Stack, template: str) -> AsyncIterator[Api]:
    """An API of its own, where a card prices the tokens of two models, and usage is counted by model."""
    async with a_database(stack, template) as database:
        async with connected(database) as connection:
            await publish_chat(connection)
            counted = await connection.fetchval("SELECT format('usage_counted_v%s', max(version)) FROM projections")
            await connection.execute(f"INSERT INTO {counted} VALUES ('model')")
        async with an_api(stack, database) as api:
            yield api


async def test_a_call_of_a_model_is_one_row_that_says_what_each_of_its_tokens_cost(visit: Visit) -> None:
    page = await visit.open()
    await visit.api.tell(CALL)

    row = visit.entries.filter(has_text="Chat answer")
    await expect(row).to_contain_text("1,200 input tokens, 800 cached input tokens, 350 output tokens")
    await expect(row).to_contain_text("−0.51")
    await expect(row).to_have_count(1)
    await row.get_by_role("button").click()
    why = visit.activity.locator(".explanation")
    await expect(why).to_contain_text(re.compile(r"Chat answer, large · per 1,000,000 tokens · rate card 2"))
    await expect(why.locator(".part")).to_have_text([
        "1,200 input tokens × 125 per 1,000,000 = 0.15 credits",
        "800 cached input tokens × 12.5 per 1,000,000 = 0.01 credits",
        "350 output tokens × 1,000 per 1,000,000 = 0.35 credits",
    ])  # fmt: skip
    await expect(why).to_contain_text("together 0.51 credits")

    await page.get_by_role("button", name="See rate card").click()
    card = page.get_by_role("region", name="Rate card")
    await expect(card.get_by_role("row").filter(has_text="Large, cached input tokens")).to_contain_text("12.5")
    await card.get_by_label("Feature").select_option(label="Chat answer · Large")
    await card.get_by_label("How many output tokens").fill("2000")
    await expect(card.get_by_role("status")).to_have_text(
        "1,000 input tokens, 1,000 cached input tokens, 2,000 output tokens = 2.1375 credits"
    )


async def test_the_chart_adds_up_by_what_usage_is_counted_by(visit: Visit) -> None:
    small = msgspec.structs.replace(CALL, attributes={"model": "small"}, credits=40_500, member_id="mem_2")
    await visit.api.tell(CALL, small, msgspec.structs.replace(CALL, attributes=None, credits=1_000_000))
    await visit.open()
    legend, table = visit.chart.locator(".legend li"), visit.chart.get_by_role("table")
    await expect(legend).to_have_text(["Chat answer"])

    await visit.chart.get_by_text("By model", exact=True).click()

    await expect(legend).to_have_text(["No model", "large", "small"])
    await visit.chart.get_by_text("Table", exact=True).click()
    await expect(table.locator("tfoot td")).to_have_text(["1", "0.51", "0.04", "1.55"])
    await visit.chart.get_by_text("By member", exact=True).click()
    await expect(table.locator("thead th")).to_have_text(["Day", "Ada", "Grace", "All"])


async def test_quotes_holds_and_captures_take_the_same_quantities(running: Api) -> None:
    await running.begin()
    item = {"feature": "ai_chat.answer", "attributes": {"model": "large"}, "quantities": USED}
    quote = await running.service.post(f"{running.path}/quotes", json={"items": [item]})
    assert (quote.json()["credits"], quote.json()["allowed"]) == ("0.51", True)
    unpriced = {**item, "attributes": {"model": "small"}}
    verdict = (await running.service.post(f"{running.path}/quotes", json={"items": [unpriced]})).json()["items"][0]
    assert "for model=small it prices input_token, output_token" in verdict["detail"]
    for both in ({**item, "quantity": "1"}, {"feature": "ai_chat.answer"}):
        assert (await running.service.post(f"{running.path}/quotes", json={"items": [both]})).status_code == 422

    holds = f"{running.path}/holds"
    hold = (await running.service.post(holds, json={"items": [item]}, headers={"idempotency-key": "h"})).json()
    assert hold["credits"] == "0.51"
    capture = f"{holds}/{hold['id']}/capture"
    wrong = await running.service.post(capture, json={"items": [unpriced]}, headers={"idempotency-key": "w"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "unknown_quantity")
    more = {**item, "quantities": {**USED, "output_token": 700}}
    captured = (await running.service.post(capture, json={"items": [more]}, headers={"idempotency-key": "c"})).json()

    assert (captured["captured"], captured["state"]) == ("0.86", "settled")
    entry = (await running.member.get(f"{running.path}/entries/{captured['position']}:0")).json()
    assert entry["detail"].startswith("1200 input tokens, 800 cached input tokens, 700 output tokens · rate card 2")
    assert (entry["price"]["quantity"], entry["price"]["rate"], entry["price"]["for_units"]) == (None, None, 1_000_000)
    assert [(part["quantity"], part["credits"]) for part in entry["price"]["components"]] == [
        ("input_token", "0.15"), ("cached_input_token", "0.01"), ("output_token", "0.7"),
    ]  # fmt: skip
    activity = await running.member.get(f"{running.path}/activity", headers={"accept": "text/csv"})
    (line,) = [row for row in csv.DictReader(io.StringIO(activity.text)) if row["type"] == "usage"]
    assert (line["credits"], line["quantity"], line["rate"]) == ("-0.86", "", "")
    assert line["quantities"] == "cached_input_token=800; input_token=1200; output_token=700"
    assert line["rates"] == "cached_input_token=12.5/1000000; input_token=125/1000000; output_token=1000/1000000"
