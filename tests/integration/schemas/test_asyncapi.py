"""The AsyncAPI of the topics, judged by AsyncAPI's own parser."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.facts import FACTS
from schemas.generate import USAGE, asyncapi
from tests.support.node import ROOT, need_node, run_node

JUDGE = Path(__file__).parent / "asyncapi"


@pytest.fixture(autouse=True)
def node() -> None:
    """The parser runs in Node."""
    need_node(JUDGE)


def judged(path: Path) -> Any:
    """What the parser makes of a document."""
    return run_node("judge.mjs", {"path": str(path)}, JUDGE)


def test_the_parser_finds_nothing_wrong_and_every_message_with_its_schema() -> None:
    found = judged(ROOT / "schemas" / "asyncapi.json")

    assert found["wrong"] == []
    assert set(found["topics"]) == {"usage", "credits.events", "usage.refused"}
    members = {message["id"]: message["members"] for message in found["messages"]}
    assert members.keys() == {*USAGE, *(f"stored.{name}" for name in FACTS), "refused"}
    assert all("data" in members[name] for name in members.keys() - {"refused"})


def test_the_parser_does_find_what_is_wrong(tmp_path: Path) -> None:
    document = asyncapi()
    document["operations"]["recordUsage"]["channel"]["$ref"] = "#/channels/nowhere"
    broken = tmp_path / "asyncapi.json"
    broken.write_text(json.dumps(document))

    assert judged(broken)["wrong"] != []
