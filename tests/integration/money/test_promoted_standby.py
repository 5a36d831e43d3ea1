"""An asynchronous standby is promoted by force: nobody is charged twice, and nobody for nothing."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.servers.postgres import NativePostgres
from schemas.facts import CreditsToppedUp, TopUpRequested
from tests.support.desk import Desk, new_team
from tests.support.promoted import a_primary, behind, make_tables, promote
from tests.support.serving import connected
from tests.support.two_lives import a_life

# How far the old primary's worker was with each team when it was gone.
DIED_AT = (None, None, "topup:recorded", "topup:confirmed", "topup:crediting")


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[NativePostgres]:
    with a_primary(tmp_path) as server:
        yield server


async def test_who_was_charged_before_a_standby_that_was_behind_is_promoted_is_not_charged_again(
    primary: NativePostgres, desk: Desk
) -> None:
    await make_tables(primary.url)
    async with connected(primary.url) as connection:
        teams = [await new_team(connection, desk, cool_down_seconds=300) for _ in DIED_AT]
    standby = await behind(primary)
    async with a_life(primary.url, desk) as first:
        for team, point in zip(teams, DIED_AT, strict=True):
            await first.runs_low(team)
            await (first.worker.look_at(team) if point is None else first.dies_at(team, point))
    await promote(primary, standby)

    async with a_life(standby.url, desk) as second:
        forgotten = [await second.of_type(team, TopUpRequested) for team in teams]
        for team in teams:  # the same usage comes again, and the crossing falls elsewhere
            await second.is_charged(team, 150, 60, 90)
        credits = [await second.of_type(team, CreditsToppedUp) for team in teams]

    assert not any(forgotten), "the standby was not behind"
    charged = (await desk.books())["charges"]
    assert Counter(charge["metadata"]["team_id"] for charge in charged) == Counter(teams)
    named = {fact.payment_intent_id: fact.charge_cents for of_team in credits for fact in of_team}
    assert named == {charge["payment_intent"]: charge["amount"] for charge in charged}
    waiting = [
        one["status"]
        for one in (await desk.books())["payment_intents"]
        if one["status"] not in ("succeeded", "canceled")
    ]
    assert waiting == []
