"""The OpenAPI document is whole: every operation says what it is for, shows an example of all that goes in and out, and names how it fails."""

import json
import pkgutil
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import jsonschema_rs
import pytest

from projections.notices import notice_of
from schemas.credits import MICRO
from schemas.facts import (
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    Stored,
    TopUpActionRequired,
    TopUpFailed,
    TopUpResumed,
    TopUpSkipped,
    TopUpSuspended,
)
from schemas.notices import NOTICES
from services.api import routes
from services.api.app import MODULES, new_app
from services.api.models.examples import AT, ATTEMPT_ID, REFILL, SOON
from services.api.openapi.codes import MEANINGS, STATUS
from services.api.openapi.route_docs import answers
from tests.support.openapi import close, resolve

DOCUMENT = close(new_app().openapi())
OPERATIONS = {
    said["operationId"]: (method, path, said)
    for path, methods in DOCUMENT["paths"].items()
    for method, said in methods.items()
}

PAGE = "https://app.example.com/teams/{team}/usage"
TOLD = {
    fact.type: fact
    for fact in (
        BalanceRanLow(available_credits=412_500_000, threshold_credits=500 * MICRO, crossed_at_position=1, top_up_enabled=False),
        BalanceRanOut(available_credits=-12_500_000, crossed_at_position=1),
        BalanceRecovered(available_credits=4_987_500_000, threshold_credits=500 * MICRO, crossed_at_position=1),
        TopUpFailed(
            attempt_id=ATTEMPT_ID, reason="declined_retry_later", decline_code="insufficient_funds", next_try_at=datetime.fromisoformat(SOON),
        ),
        TopUpActionRequired(attempt_id=ATTEMPT_ID, payment_intent_id="pi_1"),
        TopUpSuspended(cause="declines", reason="the card was declined three times", declines=3),
        TopUpResumed(reason="the dispute was won"),
        TopUpSkipped(ran_low_id="low:1", decision="crossing", reason="cap_money", next_decision_at=datetime.fromisoformat(REFILL)),
    )
}  # fmt: skip


def found(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or what it refers to."""
    return resolve(DOCUMENT, part)


def faults(schema: dict[str, Any], value: object) -> list[str]:
    """What is wrong with a value."""
    held = {**schema, "components": DOCUMENT["components"]}
    validator = jsonschema_rs.Draft202012Validator(held, validate_formats=True)
    return [f"{'/'.join(map(str, fault.instance_path))}: {fault.message}" for fault in validator.iter_errors(value)]


def shown(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], list[Any]]]:
    """Each JSON in a content: its media type, its schema and its examples, which a list has from what it lists."""
    for kind, said in content.items():
        if not kind.endswith("json"):
            continue
        schema = found(said["schema"])
        examples = list(schema.get("examples", ()))
        if not examples and schema.get("type") == "array":
            examples = [list(found(schema["items"]).get("examples", ()))]
        yield kind, said["schema"], examples + [found(one)["value"] for one in said.get("examples", {}).values()]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_says_what_it_is_for_and_shows_what_it_takes_and_gives(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    contents = [operation.get("requestBody", {}).get("content", {})]
    contents += [found(answer).get("content", {}) for answer in operation["responses"].values()]

    assert operation["summary"]
    assert operation["description"]
    for content in contents:
        for kind, schema, examples in shown(content):
            assert examples, f"there is no example of {kind} {schema}"
            assert [faults(schema, example) for example in examples] == [[] for _ in examples]


@pytest.mark.parametrize("kind", NOTICES)
def test_every_notice_shows_a_body_as_it_is_sent(kind: str) -> None:
    ((_, schema, examples),) = shown(DOCUMENT["webhooks"][kind]["post"]["requestBody"]["content"])

    (example,) = examples
    assert faults(schema, example) == []
    fact = TOLD[kind]
    at = datetime.fromisoformat(AT)
    notice = notice_of(Stored(40, 20_418, at, at, "team_42", "creditwell:low", "low:1", kind, fact.body()), PAGE)
    assert notice is not None
    assert json.loads(notice.body()) == example


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_names_the_codes_with_which_it_can_fail(name: str) -> None:
    _, _, operation = OPERATIONS[name]
    answers = {int(status): found(answer) for status, answer in operation["responses"].items()}
    failing = {status: answer for status, answer in answers.items() if status >= 400}

    assert {400, 500, 503} <= failing.keys()
    others = {"post_usage": 207, "post_grant": 202, "post_adjustment": 202, "post_correction": 202}
    good = [status for status in answers if status < 400]
    assert good[1:] == ([others[name]] if name in others else [])
    for status, answer in failing.items():
        (problem,) = answer["content"].values()
        codes = problem["schema"]["allOf"][1]["properties"]["code"]["enum"]
        assert set(codes) <= MEANINGS[status].keys()
        assert problem["examples"].keys() == set(codes)
        assert all(f"`{code}`" in answer["description"] for code in codes)


def test_every_code_is_one_that_some_operation_names() -> None:
    named = {
        code
        for _, _, operation in OPERATIONS.values()
        for answer in operation["responses"].values()
        for problem in found(answer).get("content", {}).values()
        for code in problem.get("examples", {})
    }

    assert STATUS.keys() - named == {"method_not_allowed"}  # it is of addresses that no operation has


def test_every_link_leads_to_an_operation_that_takes_what_it_brings() -> None:
    links = [
        (answer, link)
        for _, _, operation in OPERATIONS.values()
        for answer in map(found, operation["responses"].values())
        for link in answer.get("links", {}).values()
    ]

    assert len(links) > 25
    for answer, link in links:
        _, _, target = OPERATIONS[link["operationId"]]
        parameters = {parameter["name"].lower() for parameter in target["parameters"]}
        needed = {parameter["name"] for parameter in target["parameters"] if parameter["in"] == "path"}
        assert needed <= link["parameters"].keys() <= parameters
        for expression in link["parameters"].values():
            source, _, pointer = expression.partition("#/")
            if source == "$response.body":
                (schema,) = (found(said["schema"]) for kind, said in answer["content"].items() if "json" in kind)
                assert pointer.split("/")[0] in schema["properties"]


def test_nothing_in_an_address_or_a_header_is_null() -> None:
    for _, _, operation in OPERATIONS.values():
        assert {"type": "null"} not in [
            kind for parameter in operation.get("parameters", ()) for kind in parameter["schema"].get("anyOf", ())
        ]


def test_every_module_of_routes_is_offered() -> None:
    there = {found.name for found in pkgutil.walk_packages(routes.__path__, f"{routes.__name__}.") if not found.ispkg}

    assert {module.__name__ for module in MODULES} == there


def test_a_code_without_a_meaning_is_named_with_the_file_where_it_belongs() -> None:
    with pytest.raises(KeyError, match=r"codes\.py gives no meaning to no_such_code"):
        answers(200, None, "Anything", codes={"no_such_code", "forbidden"}, links={}, more={})
