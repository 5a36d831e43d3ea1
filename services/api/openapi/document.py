"""The OpenAPI document: made once, from the routes, the models and the codes.

Nothing in it is written by hand a second time.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from schemas.notices import NOTICES
from schemas.rates import RateCard
from services.api.models import examples, money, operators, parts, reads, work
from services.api.openapi.route_docs import HEADERS, PROBLEM_JSON, examples_of_failures

BY_NAME = (parts.Problem, work.CloudEvent, money.StripeEvent, RateCard)  # what descriptions refer to by its name
MODELS = {name: model for module in (parts, reads, work, operators, money) for name, model in vars(module).items()}
# Of models that other teams import, too, and that know no examples.
OF_THE_LANGUAGE = {
    RateCard.__name__: examples.RATE_CARD,
    **{notice.__name__: examples.NOTICES[kind] for kind, notice in NOTICES.items()},
}
# The name on the wire, where a class has a more precise one: programs that others generated know the name on the wire.
WIRE_NAMES = {
    "ActivityKind": "Kind",
    "CardAnswer": "Card",
    "ChargeAnswer": "Charge",
    "EntryAnswer": "Entry",
    "HoldAnswer": "Hold",
    "MemberAnswer": "Member",
    "ReceiptAnswer": "Receipt",
    "TeamAnswer": "Team",
}
REFS = {f"#/components/schemas/{name}": f"#/components/schemas/{wire_name}" for name, wire_name in WIRE_NAMES.items()}
SHARED_MAX = 3  # failures with more codes than this are a route's own

Json = dict[str, Any]


def write_document(app: FastAPI) -> Json:
    """OpenAPI 3.1."""
    document: Json = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        webhooks=app.webhooks.routes,
    )
    parts: Json = document.setdefault("components", {})
    _, named = models_json_schema(
        [(model, "validation") for model in BY_NAME], ref_template="#/components/schemas/{model}"
    )
    parts |= {
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        "headers": HEADERS, "examples": examples_of_failures(), "responses": {}, "schemas": named["$defs"] | parts["schemas"],
    }  # fmt: skip
    for name, schema in parts["schemas"].items():
        schema.update(_examples_of(name))
    for operation in operations_of(document):
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _without_null(parameter["schema"])
        operation["responses"] = {
            status: _shared(status, answer, parts["responses"]) for status, answer in operation["responses"].items()
        }
    parts["schemas"] = {
        WIRE_NAMES.get(name, name): schema | ({"title": WIRE_NAMES[name]} if name in WIRE_NAMES else {})
        for name, schema in parts["schemas"].items()
    }
    return {key: _with_wire_refs(part) for key, part in document.items()}


def _with_wire_refs(node: Any) -> Any:
    """A part of the document whose references use the names on the wire."""
    match node:
        case dict():
            return {key: _with_wire_refs(part) for key, part in node.items()}
        case list():
            return [_with_wire_refs(part) for part in node]
        case str():
            return REFS.get(node, node)
        case _:
            return node


def operations_of(document: Json) -> Iterator[Json]:
    """Every operation of a document."""
    for methods in document["paths"].values():
        yield from methods.values()


def _examples_of(name: str) -> Json:
    """A model's examples as they were written: FastAPI leaves out every null on the way."""
    if name in OF_THE_LANGUAGE:
        return {"examples": [OF_THE_LANGUAGE[name]]}
    config = getattr(MODELS.get(name), "model_config", {})
    return dict(config.get("json_schema_extra") or {})


def _without_null(schema: Json) -> Json:
    """The schema of a parameter that may be left out: nobody can write null into an address or a header."""
    kinds: list[Json] = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return kinds[0] | {name: member for name, member in schema.items() if name != "anyOf"}


def _shared(status: str, answer: Json, responses: Json) -> Json:
    """The answer, or where it is said once for all routes that fail in the same way."""
    failure = answer.get("content", {}).get(PROBLEM_JSON)
    codes = failure["schema"]["allOf"][1]["properties"]["code"]["enum"] if failure else ()
    if not 0 < len(codes) <= SHARED_MAX:
        return answer
    name = "_".join((status, *codes))
    responses[name] = answer
    return {"$ref": f"#/components/responses/{name}"}
