"""A call of a model is one event, one fact and one entry, whatever it used; each part of its price can be shown."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from schemas.credits import MICRO
from schemas.facts import UsageRecorded
from services.audit.replay import ReplayScope, replay
from services.store.connect import Connection
from tests.support.calls import USED, called, publish_chat
from tests.support.usage import structured, voided
from tests.support.world import ServiceWorld

COMPONENTS = """
    SELECT event_id, quantity_name, quantity, rate, credits FROM analytics.usage_components
    WHERE team_id = 'team_1' ORDER BY event_id, quantity_name
"""
USES = "SELECT event_id, credits, quantity, quantities::text FROM analytics.usage WHERE team_id = 'team_1' ORDER BY event_id"


@pytest.fixture
async def chatting(world: ServiceWorld) -> ServiceWorld:
    """A team with 3,000 credits, and a card that prices calls of two models."""
    await publish_chat(world.connection)
    await world.team("team_1")
    return world


async def test_several_quantities_are_one_fact_with_one_price_and_are_refused_where_one_has_none(
    chatting: ServiceWorld,
) -> None:
    at = datetime.now(UTC)
    again = called("team_1", "a", quantities={**USED, "output_token": 350, "reasoning_token": "0"}, at=at)
    async with chatting.recorder():
        await chatting.send(
            structured(called("team_1", "a", at=at)), structured(again),
            structured(called("team_1", "a", quantities={"input_token": "1"}, at=at)),
            structured(called("team_1", "b", model="small")),
            structured(called("team_1", "c", model="small", quantities={"input_token": "3", "output_token": "1.5"})),
        )  # fmt: skip
        await chatting.recorded()

    stored, other = await chatting.facts("team_1", type="usage.recorded.v1")
    fact, small = stored.fact(), other.fact()
    assert isinstance(fact, UsageRecorded)
    assert isinstance(small, UsageRecorded)
    assert (fact.quantity, fact.quantities, fact.credits) == (None, USED, 510_000)
    assert small.credits == 76  # 0.000015 + 0.00006075, rounded once
    assert (await chatting.balance()).total == 3_000 * MICRO - 510_000 - 76
    assert await chatting.repeats("a") == (1, 1)
    assert [(row["reason"], row["event_id"]) for row in await chatting.refused()] == [
        ("conflict", "a"),
        ("unknown_quantity", "b"),
    ]
    assert (
        "no price for cached_input_token; for model=small it prices input_token, output_token"
        in ((await chatting.refused())[1]["detail"])
    )


async def test_the_parts_of_each_call_are_rows_for_analysts_and_the_audit_prices_each_anew(
    chatting: ServiceWorld,
) -> None:
    connection = chatting.connection
    async with chatting.recorder(), chatting.projector():
        await chatting.send(structured(called("team_1", "a")))
        await chatting.send(structured(called("team_1", "b", model="small", quantities={"output_token": "2"})))
        await chatting.recorded()
        await chatting.send(structured(voided("team_1", "v", of="b")))
        await chatting.recorded()
        await chatting.projected()

    rows = [tuple(row) for row in await connection.fetch(COMPONENTS)]
    assert rows == [
        ("a", "cached_input_token", 800, Decimal("0.0000125"), Decimal("0.01")),
        ("a", "input_token", 1200, Decimal("0.000125"), Decimal("0.15")),
        ("a", "output_token", 350, Decimal("0.001"), Decimal("0.35")),
        ("b", "output_token", 2, Decimal("0.0000405"), Decimal("0.000081")),
    ]
    uses = await connection.fetch(USES)
    assert [(row["credits"], row["quantity"]) for row in uses] == [(Decimal("0.51"), None), (Decimal("0.000081"), None)]
    assert await differences(connection) == []
    await connection.execute("ALTER TABLE facts DISABLE TRIGGER USER")
    changed = "UPDATE facts SET body = convert_to(replace(convert_from(body, 'UTF8'), '\"1200\"', '\"1201\"'), 'UTF8')"
    await connection.execute(f"{changed} WHERE id = 'a'")
    assert any("costs 0.510125 by rate card 2, not 0.51" in one for one in await differences(connection))


async def differences(connection: Connection) -> list[str]:
    """What the audit finds in this team's log."""
    replayed = await replay(connection, ReplayScope(team_id="team_1", audit=True))
    return [str(one) for one in (*replayed.differences, *replayed.findings)]
