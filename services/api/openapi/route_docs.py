"""What the OpenAPI document says of a route beyond its types.

How it can fail, its headers, and where its answer leads.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from services.api.openapi.codes import MEANINGS, STATUS, title_of, type_of

Responses = dict[int | str, dict[str, Any]]
PROBLEM_JSON = "application/problem+json"
Code = str | tuple[int, str]  # a code, with its status where it has two
Links = Mapping[str, Mapping[str, Any]]

HEADERS: Mapping[str, Any] = {
    "X-Request-Id": {"required": True, "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
                     "description": "What the caller calls his request, or a new id."},
    "WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}, "description": "How to say who asks."},
    "Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}, "description": "Seconds to wait."},
    "ETag": {"required": True, "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
             "description": "Names what was read, for `If-Match`."},
    "Idempotency-Replayed": {"schema": {"const": "true"}, "description": "The answer is that of the first time."},
}  # fmt: skip


def header(name: str) -> dict[str, Any]:
    """A header of an answer, for its `headers`."""
    return {name: {"$ref": f"#/components/headers/{name}"}}


HEADERS_OF = {
    401: header("WWW-Authenticate"),
    429: header("Retry-After"),
    503: {"Retry-After": {**HEADERS["Retry-After"], "required": False}},
}


def link(operation: str, description: str, body: str | None = None, **parameters: str) -> dict[str, Any]:
    """Where an answer leads: an operation by its id, and what goes into it, the team being the same."""
    leads = {
        "operationId": operation,
        "description": description,
        "parameters": {"team": "$request.path.team", **parameters},
    }
    return leads | ({"requestBody": body} if body else {})


def answers(
    status: int, gives: Any, description: str, *, codes: Collection[Code], links: Links, more: Mapping[int | str, Any]
) -> Responses:
    """Every answer that a route can give: the good one, and a failure for each status of its codes."""
    good: dict[str, Any] = {"description": description} | ({"model": gives} if gives is not None else {})
    if links:
        good["links"] = links
    if "idempotency_key_reused" in codes:
        good["headers"] = header("Idempotency-Replayed")
    responses: Responses = {status: good, **dict(_failures(codes))}
    for key, value in more.items():
        before = responses.get(key, {})
        responses[key] = {**before, **value, "headers": {**before.get("headers", {}), **value.get("headers", {})}}
    for key, value in responses.items():
        value["headers"] = header("X-Request-Id") | HEADERS_OF.get(int(key), {}) | value.get("headers", {})
    return responses


def balance_then(gives: Any) -> Links:
    """Whoever changed something can ask for a balance in which it counts: the answer's position says from where on."""
    field = gives.model_fields.get("position") if isinstance(gives, type) and issubclass(gives, BaseModel) else None
    if field is None or not field.is_required() or field.annotation is not str:
        return {}
    return {"balance": link("get_balance", "The balance, this counted in.", at_least="$response.body#/position")}


def _failures(codes: Collection[Code]) -> Iterator[tuple[int, dict[str, Any]]]:
    if unknown := {code for code in codes if isinstance(code, str)} - STATUS.keys():
        raise KeyError(f"services/api/openapi/codes.py gives no meaning to {', '.join(sorted(unknown))}")
    named = {(STATUS[code], code) if isinstance(code, str) else code for code in codes}
    for status, meanings in MEANINGS.items():
        if possible := {code: meaning for code, meaning in meanings.items() if (status, code) in named}:
            yield status, _failure(status, possible)


def _failure(status: int, possible: Mapping[str, str]) -> dict[str, Any]:
    # Not `const`: generators of clients merge an enum with what the model says, and leave out what they can't.
    this = {"properties": {"status": {"type": "integer", "enum": [status]}, "code": {"enum": [*possible]}}}
    return {
        "description": "\n".join(f"- `{code}`: {meaning}" for code, meaning in possible.items()),
        "content": {PROBLEM_JSON: {
            "schema": {"allOf": [{"$ref": "#/components/schemas/Problem"}, this]},
            "examples": {code: {"$ref": f"#/components/examples/{status}_{code}"} for code in possible},
        }},
    }  # fmt: skip


def examples_of_failures() -> dict[str, Any]:
    """An example of each failure, by the name under which `_failure` refers to it."""
    return {
        f"{status}_{code}": {"value": {
            "type": type_of(code), "title": title_of(code), "status": status, "code": code, "detail": meaning,
        }}
        for status, meanings in MEANINGS.items() for code, meaning in meanings.items()
    }  # fmt: skip
