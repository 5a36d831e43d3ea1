"""The OpenAPI document as tests use it: held more tightly than its readers may rely on."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

OPEN = frozenset(
    {"Problem", "CloudEvent", "StripeEvent", "StripeData", "StripeObject"}
)  # these say that more members may come


def close(document: dict[str, Any]) -> dict[str, Any]:
    """Let no object have members that are not documented.

    The document leaves answers open, since more members may come; a test must know all that are there.
    """
    for name, schema in document["components"]["schemas"].items():
        if name not in OPEN:
            for part in parts(schema):
                if part.get("type") == "object" and "properties" in part:
                    part.setdefault("additionalProperties", False)
    return document


def resolve(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, or what it refers to."""
    while "$ref" in part:
        here: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            here = here[step]
        part = here
    return part


def brought(
    link: dict[str, Any], path: Mapping[str, str], request: httpx2.Request, response: httpx2.Response
) -> dict[str, Any]:
    """What a link brings to its operation, by name: its expressions, worked out of a request, its path and the answer to it."""

    def worth(expression: str) -> Any:
        source, _, pointer = expression.partition("#/")
        if source.startswith("$request.path."):
            return path[source.removeprefix("$request.path.")]
        if source.startswith("$response.header."):
            return response.headers[source.removeprefix("$response.header.")]
        here = json.loads(request.content) if source == "$request.body" else response.json()
        for step in filter(None, pointer.split("/")):
            here = here[int(step) if isinstance(here, list) else step]
        return here

    body = {"body": worth(link["requestBody"])} if "requestBody" in link else {}
    return {name: worth(expression) for name, expression in link["parameters"].items()} | body


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and all that are in it."""
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from parts(inner)
