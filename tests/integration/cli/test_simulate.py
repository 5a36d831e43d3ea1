"""`creditwell simulate rate-card`: what teams would have paid, as a table, as JSON and as CSV."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

from typer.testing import CliRunner, Result

from services.cli import app
from services.store.connect import Connection
from tests.support.facts import now, planned, store, usage
from tests.support.serving import as_role

CARD = """
effective_from = 2026-01-01T00:00:00Z
[[categories]]
id = "images"
name = "Images"
[[categories.features]]
feature = "ai_image.generate"
name = "Image"
per = "use"
rates = [{ credits = "1.5" }]
"""


async def test_what_another_card_would_have_cost_is_said_by_feature_and_by_team(
    connection: Connection, database: str, tmp_path: Path
) -> None:
    card = tmp_path / "new.toml"
    card.write_text(CARD)
    await store(connection, *planned("team_a"), *planned("team_b"))
    await store(connection, usage("team_a", "old", 50, at=now() - timedelta(days=200)))
    await store(connection, usage("team_a", "one", 20), usage("team_a", "two", 10), usage("team_b", "one", 2))

    async def run(*arguments: str) -> Result:
        environment = {"CREDITWELL_DATABASE": as_role(database, "reader"), "CREDITWELL_LOG_FORMAT": "json"}
        return await asyncio.to_thread(CliRunner().invoke, app, ["simulate", "rate-card", *arguments], env=environment)

    told = json.loads((await run(str(card), "--json")).stdout)
    assert (told["ok"], told["teams"], told["recorded"], told["simulated"]) == (True, 2, "32", "48")
    assert told["features"] == [
        {"feature": "ai_image.generate", "recorded": "32", "simulated": "48", "difference": "16"}
    ]
    nothing = {"count": 0, "minor_units": {}}
    assert told["top_ups"] == {"recorded": nothing, "simulated": nothing}
    assert [(one["team"], one["difference"], one["balance_simulated"]) for one in told["most_changed"]] == [
        ("team_a", "15", "5"), ("team_b", "1", "97"),
    ]  # fmt: skip

    lines = (await run(str(card), "--csv", "--team", "team_b")).stdout.splitlines()
    assert lines == ["team,feature,recorded,simulated,difference", "team_b,ai_image.generate,2,3,1"]
    shown = (await run(str(card))).stdout
    assert "2 of 2 teams would have paid more" in shown
    assert "0 top-ups were charged: nothing\n0 top-ups would have been: nothing" in shown

    card.write_text(CARD.replace("ai_image.generate", "ai_text.write"))
    unpriced = await run(str(card))
    assert (unpriced.exit_code, "no price for 3 uses" in unpriced.stdout) == (1, True)
    card.write_text(CARD.replace("per =", "pr ="))
    assert (await run(str(card))).exit_code == 2
    assert (await run(str(card.with_name("none.toml")))).exit_code == 2
    card.write_text(CARD)
    nobody = await run(str(card), "--team", "nobody")
    assert (nobody.exit_code, "there is no team 'nobody'" in nobody.stderr) == (2, True)
