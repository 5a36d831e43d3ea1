"""A bank that wants to see the owner of the card: an admin's click confirms the same payment, and no other is tried meanwhile."""

from collections.abc import AsyncIterator

import pytest

from deploy.local.stack import Stack
from schemas.facts import CreditsToppedUp, TopUpActionRequired, TopUpFailed, TopUpRequested
from services.read_models.low_balance import judge
from services.store.connect import connect_pool
from tests.faults.rush import a_worker
from tests.support.api import Api, an_api
from tests.support.desk import KEY, Desk, assert_books_agree, has, new_team, nobody_looks, of_type, working
from tests.support.lives import LOOKED_AT, PROMOTED
from tests.support.serving import as_role, store, used
from tests.support.waiting import until

HOST = "https://host.example"


@pytest.fixture
async def api(stack: Stack, database: str, desk: Desk) -> AsyncIterator[Api]:
    """The API with the stand-in as its Stripe."""
    told = {"stripe_key": KEY, "stripe_api": desk.url, "cors_origins": HOST}
    async with an_api(stack, database, **told) as running:
        yield running


async def test_an_admin_confirms_at_the_bank_what_waits_and_the_credits_of_that_one_payment_come(
    stack: Stack, database: str, desk: Desk, api: Api
) -> None:
    async with working(stack, database, desk, "projector", "topup"):
        api.team_id = await new_team(api.connection, desk, card="pm_card_authenticationRequired")
        path = f"{api.path}/top-up/confirm"
        early = await api.admin.post(path, json={})
        await store(api.connection, api.team_id, [used(300)])
        await until(lambda: has(api.connection, api.team_id, TopUpActionRequired))
        shown = (await api.admin.get(f"{api.path}/top-up")).json()
        to_member = (await api.member.get(f"{api.path}/top-up")).json()

        by_member = await api.member.post(path, json={})
        elsewhere = await api.admin.post(path, json={"return_url": "https://elsewhere.example/"})
        asked = [(await api.admin.post(path, json={"return_url": f"{HOST}/usage"})).json() for _ in range(2)]
        await nobody_looks(api.connection, api.team_id)  # or the worker credits it before the admin is back
        back = await desk.http.post(asked[0]["url"], data={"answer": "yes"})
        after = (await api.admin.post(path, json={})).json()
        await until(lambda: has(api.connection, api.team_id, CreditsToppedUp))

        assert (early.status_code, early.json()["code"]) == (409, "nothing_to_confirm")
        assert (by_member.status_code, by_member.json()["code"]) == (403, "ask_your_admin")
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (422, "invalid_return_url")
        assert (shown["state"], shown["next_charge_preview"]["not_now"]) == ("action_required", "in_flight")
        assert (shown["card"], to_member["card"]) == ({"brand": "visa", "last4": "3184"}, None)
        assert {"amount": 500, "currency": "usd", "count": 1}.items() <= shown["charged_this_month"].items()
        assert shown["price"] == {
            "unit_price": "1", "currency": "usd", "min_credits": "500", "step": "100", "max_charge": 50_000, "monthly_cap": 200_000,
        }  # fmt: skip
        assert [one["state"] for one in asked] == ["confirm", "confirm"]
        assert asked[0]["url"] == asked[1]["url"]
        assert back.status_code == 303
        assert back.headers["location"].startswith(f"{HOST}/usage")
        assert (after["url"], after["state"]) == (None, "paid")
        assert len(await of_type(api.connection, api.team_id, TopUpRequested)) == 1
        await assert_books_agree(api.connection, desk, api.team_id, charges=1)


async def test_in_a_life_of_the_server_that_nobody_has_looked_at_no_owner_confirms(
    database: str, desk: Desk, api: Api
) -> None:
    async with await connect_pool(as_role(database, "worker"), process="test") as pool:
        api.team_id = await new_team(api.connection, desk, card="pm_card_authenticationRequired")
        await store(api.connection, api.team_id, [used(300)])
        await judge(api.connection, api.team_id)
        await a_worker(pool, desk).look_at(api.team_id)
    await api.connection.execute(PROMOTED)

    refused = await api.admin.post(f"{api.path}/top-up/confirm", json={})
    await api.connection.execute(LOOKED_AT)
    confirmed = await api.admin.post(f"{api.path}/top-up/confirm", json={})

    assert (refused.status_code, refused.json()["code"]) == (503, "store_unchecked")
    assert confirmed.json()["state"] == "confirm"


async def test_whoever_fails_at_the_bank_may_click_again_and_a_bank_that_then_says_no_ends_the_attempt(
    stack: Stack, database: str, desk: Desk, api: Api
) -> None:
    async with working(stack, database, desk, "projector", "topup"):
        api.team_id = await new_team(
            api.connection, desk, card="pm_card_threeDSecureRequiredChargeDeclined", cool_down_seconds=300
        )
        path = f"{api.path}/top-up/confirm"
        await store(api.connection, api.team_id, [used(300)])
        await until(lambda: has(api.connection, api.team_id, TopUpActionRequired))

        first = (await api.admin.post(path, json={})).json()
        await desk.http.post(first["url"], data={"answer": "no"})
        second = (await api.admin.post(path, json={})).json()
        await desk.http.post(second["url"], data={"answer": "yes"})
        await until(lambda: has(api.connection, api.team_id, TopUpFailed))

        (failure,) = await of_type(api.connection, api.team_id, TopUpFailed)
        assert failure.reason == "declined_retry_later"
        await assert_books_agree(api.connection, desk, api.team_id, charges=0)
