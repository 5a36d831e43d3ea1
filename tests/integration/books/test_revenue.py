"""A month of the books, asked on the command line: the worked example, and the same bytes whatever comes later."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from typer.testing import CliRunner, Result

from schemas.credits import MICRO
from schemas.facts import Stored
from services.cli import app
from services.store.connect import Connection
from tests.support.bookkeeping import Ledger, bought, example, won
from tests.support.past import SHARD, TEAM, lay

GOLDEN = Path(__file__).parents[2] / "unit/projections/golden"
READER = "?role=creditwell_reader"


async def revenue(database: str, *arguments: str) -> Result:
    """The command, as finance runs it: with a role that reads alone, and in a thread, for it has a loop of its own."""
    environment = {"CREDITWELL_DATABASE": database + READER, "CREDITWELL_BOOKS_ZONE": "UTC"}
    return await asyncio.to_thread(CliRunner().invoke, app, ["revenue", *arguments], env=environment)


def at_home(facts: Sequence[Stored]) -> list[Stored]:
    """The facts of a told history as the shard of the team has them."""
    return [stored._replace(shard=SHARD, team_id=TEAM) for stored in facts]


async def test_the_worked_example_is_written_by_the_command_whatever_was_recorded_later(
    connection: Connection, database: str
) -> None:
    ledger = example(2016)
    await lay(connection, at_home(ledger.facts))
    ask = partial(revenue, database)
    asked = {kind: await ask("2016-10", "--format", kind) for kind in ("json", "csv", "beancount")}
    later = datetime(2016, 12, 1, tzinfo=UTC)
    told = len(ledger.facts)
    ledger.used(100 * MICRO, later, occurred=later - timedelta(days=50))
    ledger.voided(6, later)
    await lay(connection, at_home(ledger.facts)[told:])

    again = {kind: await ask("2016-10", "--format", kind) for kind in asked}

    assert [result.exit_code for result in asked.values()] == [0, 0, 0], asked["json"].stderr
    assert {kind: result.stdout for kind, result in again.items()} == {
        kind: result.stdout for kind, result in asked.items()
    }
    golden = json.loads((GOLDEN / "2026-10.json").read_text("utf-8"))
    assert json.loads(asked["json"].stdout)["currencies"] == golden["currencies"]
    december = json.loads((await ask("2016-12", "--format", "json")).stdout)
    assert december["cut_off"] == [{"currency": "usd", "month": "2016-10", "recognised": "-3.33"}]
    table = (await ask("2016-11")).stdout
    assert "39.04 USD" in table
    assert "ai_video.generate" in (await ask("2016-11", "--by", "feature")).stdout
    assert TEAM in (await ask("2016-11", "--by", "team", "--format", "csv")).stdout
    assert "never" not in (await ask("2016-11", "--ageing")).stdout


async def test_what_can_not_be_asked_is_named_and_books_that_do_not_tie_end_with_1(
    connection: Connection, database: str
) -> None:
    ledger = Ledger()
    ledger.then(bought(1_000, 1_000), datetime(2016, 10, 2, tzinfo=UTC))
    closed = won(1, 1_000, 0)
    ghost = Stored(
        SHARD, 2, datetime(2016, 10, 3, tzinfo=UTC), datetime(2016, 10, 3, tzinfo=UTC), TEAM, "test", "2",
        closed.type, closed.model_copy(update={"lot": 7}).body(),
    )  # fmt: skip
    await lay(connection, [*at_home(ledger.facts), ghost])
    ask = partial(revenue, database)

    assert f"the fact at {ghost.place} can't be booked" in (broken := await ask("2016-10")).stderr
    assert broken.exit_code == 1
    for arguments, said in (
        (("2016-13",), "is no month"), (("8000-01",), "has not begun"), (("2016-10", "--ageing", "--by", "team"), "--ageing"),
    ):  # fmt: skip
        wrong = await ask(*arguments)
        assert wrong.exit_code == 2
        assert said in wrong.stderr
