"""What other languages read about the topics is what the models say."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from schemas import generate
from schemas.catalog import load_catalog
from schemas.cloudevents import BadUsage
from schemas.facts import FACTS, HoldReleased, PlanAssigned, UsageRecorded
from schemas.usage import parse_usage

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "type": "usage.reported.v1",
    "source": "/features/video",
    "id": "0198c1f2-0000-7000-8000-000000000000",
    "subject": "team_42",
    "time": "2026-11-23T10:15:30.123456Z",
    "datacontenttype": "application/json",
    "data": {"member_id": "mem_7", "feature": "ai_video.generate", "quantity": "12.5", "attributes": {"tier": "high"}},
}


def schema(name: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads((generate.HERE / name).read_text(encoding="utf-8")))


@pytest.fixture
def copy_of_schemas(tmp_path: Path) -> Path:
    assert generate.main([], tmp_path / "schemas") == 0
    return tmp_path / "schemas"


def test_the_committed_schemas_are_up_to_date() -> None:
    assert generate.main(["--check"]) == 0


def test_files_out_of_date_are_named_and_written_anew(
    copy_of_schemas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy_of_schemas / "json/facts/hold.placed.v1.json").write_text("{}")
    (copy_of_schemas / "json/facts/hold.released.v1.json").unlink()
    (copy_of_schemas / "json/facts/hold.forgotten.v1.json").write_text("{}")

    assert generate.main(["--check"], copy_of_schemas) == 1
    named = [line.split()[0] for line in capsys.readouterr().err.splitlines()]
    assert named == [f"schemas/json/facts/hold.{state}.v1.json" for state in ("forgotten", "placed", "released")]

    assert generate.main([], copy_of_schemas) == 0
    assert generate.main(["--check"], copy_of_schemas) == 0
    assert not (copy_of_schemas / "json/facts/hold.forgotten.v1.json").exists()


def test_writing_twice_writes_the_same_bytes(copy_of_schemas: Path) -> None:
    before = {path: path.read_bytes() for path in copy_of_schemas.rglob("*.json")}
    for path in before:
        path.unlink()
    generate.main([], copy_of_schemas)

    assert {path: path.read_bytes() for path in copy_of_schemas.rglob("*.json")} == before


def test_an_unknown_argument_is_a_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--chekc"]) == 2
    assert "--chekc" in capsys.readouterr().err


def test_every_schema_is_a_schema_and_every_fact_has_one() -> None:
    for name, document in generate.documents():
        if name.startswith("json/"):
            jsonschema_rs.meta.validate(document)
            assert document["title"]
    assert {path.stem for path in (generate.HERE / "json/facts").iterdir()} == set(FACTS)


@pytest.mark.parametrize("quantity", ["12.5", 12.5, 1, "0.000000001"])
def test_usage_as_the_contract_shows_it_fits_the_schema_and_the_door(quantity: object) -> None:
    event = {**EVENT, "data": {**EVENT["data"], "quantity": quantity}}

    schema("json/usage/usage.reported.v1.json").validate(event)
    parse_usage(json.dumps(event).encode(), [])


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "2.0"},
        {"subject": ""},
        {"source": "has space"},
        {"type": "usage.reported.v2"},
        {"data": {"feature": "a"}},
        {"data": {"feature": "a", "quantity": "1e3"}},
        {"data": {"feature": "a", "quantity": -1}},
        {"data": {"feature": "a", "quantity": True}},
        {"data": {"feature": "a", "quantity": "1", "attributes": {"tier": 3}}},
        {"data": {"feature": "a\n", "quantity": "1"}},
        {"data": None},
    ],
)
def test_what_the_door_refuses_for_its_shape_does_not_fit_the_schema(change: dict[str, Any]) -> None:
    event = {**EVENT, **change}

    assert not schema("json/usage/usage.reported.v1.json").is_valid(event)
    with pytest.raises(BadUsage):
        parse_usage(json.dumps(event).encode(), [])


def test_stored_facts_fit_their_schemas() -> None:
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    for fact in (
        UsageRecorded(feature="a.b", quantity="1", credits=10, rate_card=1, attributes={"tier": "low"}),
        PlanAssigned(plan="pro", anchor=moment, zone="Europe/Berlin", allowance_credits=5),
        HoldReleased(hold_id="h"),
    ):
        schema(f"json/facts/{fact.type}.json").validate(json.loads(fact.body()))


def test_the_rate_card_fits_its_schema() -> None:
    schema("json/rate_card.json").validate(load_catalog().rate_card.model_dump(mode="json"))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_asyncapi_names_the_three_topics_and_leads_nowhere_that_is_not_there() -> None:
    document = json.loads((generate.HERE / "asyncapi.json").read_text(encoding="utf-8"))

    assert {channel["address"] for channel in document["channels"].values()} == {
        "usage",
        "credits.events",
        "usage.refused",
    }
    for reference in references(document):
        if reference.startswith("#/"):
            node = document
            for step in reference[2:].split("/"):
                node = node[step]
        else:
            assert (generate.HERE / reference).is_file(), reference


def test_every_stored_fact_is_on_the_topic_of_facts() -> None:
    document = json.loads((generate.HERE / "asyncapi.json").read_text(encoding="utf-8"))

    assert set(document["channels"]["creditsEvents"]["messages"]) == {f"stored.{name}" for name in FACTS}
    assert set(document["channels"]["usage"]["messages"]) == {
        "usage.reported.v1",
        "usage.voided.v1",
        "usage.amended.v1",
    }
