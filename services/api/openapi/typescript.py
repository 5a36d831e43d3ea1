"""Writes down the API's bodies as types, so that a check knows when somebody reads what the API does not send.

    python -m services.api.openapi.typescript            writes api.d.ts of the page and bodies.d.ts of the client
    python -m services.api.openapi.typescript --check    exits 1 when one of them is out of date

Derived from the OpenAPI document. The page's file is only read by editors and `make check`: nothing of it is served.
The client's has what its own calls answer, as that of Python has.
"""

import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from services.api.app import new_app
from services.api.openapi.generated import keep_up_to_date
from services.api.openapi.python_types import answers_of_calls

FILE = Path(__file__).parents[2] / "page" / "api.d.ts"
CLIENT_FILE = Path(__file__).parents[3] / "deploy/client/typescript/types/bodies.d.ts"
JSON = "application/json"
OF_THE_PAGE = {"member", "admin"}
PARAMETER = re.compile(r"\{\w+\}")

Json = dict[str, Any]

FORM = """\
// What the API answers and what it is asked with, from its OpenAPI document: `make docs` writes this file.
// A path is as a Session takes it: one of the team's own begins with a slash, and the empty one is the team itself.
// Only what members and admins may ask for is here.

declare namespace Api {{
{models}

  /** What a GET answers. */
  interface Got {{
{got}
  }}

  /** What a command is sent with, and what it answers. */
  interface Commands {{
{commands}
  }}
}}
"""


CLIENT_FORM = """\
// What the API answers, from its OpenAPI document: `make docs` writes this file anew.

{models}
"""


def main(arguments: Sequence[str], file: Path = FILE, client_file: Path = CLIENT_FILE) -> int:
    """Write the files, or with --check say whether they are as they should be."""
    document = new_app().openapi()
    return keep_up_to_date({file: types_of(document), client_file: client_types_of(document)}, arguments)


def client_types_of(document: Json) -> str:
    """The answers of the client's calls as a module of declarations."""
    models: Json = document["components"]["schemas"]
    names = _reached(models, answers_of_calls(document))
    declared = textwrap.dedent("\n\n".join(_model(name, models[name]) for name in names))
    return CLIENT_FORM.format(models=re.sub(r"^(interface|type) ", r"export \1 ", declared, flags=re.MULTILINE))


def types_of(document: Json) -> str:
    """The document as a file of declarations."""
    got, commands = [], []
    for method, path, asks, body, answer in _operations(document):
        if method == "get" and _is_within_a_pattern(path, document["paths"]):
            continue  # a pattern for it would have to fit the wider one's type; the page asks for none of these
        if method == "get":
            got.append(f"{_key(path)}: {answer};")
            if asks:
                got.append(f"{_key(path, more='?${string}')}: {answer};")
        else:
            commands.append(f"{_key(path, before=f'{method.upper()} ')}: {{ body: {body}; answer: {answer} }};")
    models: Json = document["components"]["schemas"]
    names = _reached(models, ["Problem", *got, *commands])
    return FORM.format(
        models="\n\n".join(_model(name, models[name]) for name in names),
        got=_indented(got),
        commands=_indented(commands),
    )


def _operations(document: Json) -> Iterator[tuple[str, str, bool, str, str]]:
    """Each operation of members and admins that answers in JSON.

    Its method, its path, whether a query may follow, and the types of body and answer.
    """
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if not OF_THE_PAGE & set(operation.get("x-roles", ())):
                continue
            asks = any(parameter["in"] == "query" for parameter in operation.get("parameters", ()))
            body = operation.get("requestBody", {}).get("content", {}).get(JSON)
            for status, answer in operation["responses"].items():
                content = answer.get("content", {}).get(JSON)
                if status.startswith("2") and content:
                    yield method, path, asks, _type(body["schema"]) if body else "null", _type(content["schema"])


def _is_within_a_pattern(path: str, paths: Iterable[str]) -> bool:
    return any(other.endswith("}") and other.count("{") > 1 and path.startswith(f"{other}/") for other in paths)


def _key(path: str, *, before: str = "", more: str = "") -> str:
    """A path as a member of an interface: a name, or a pattern where a part of it may be anything."""
    ours = path.removeprefix("/v1/teams/{team}") if path.startswith("/v1/teams/{team}") else path.removeprefix("/")
    name = before + PARAMETER.sub("${string}", ours) + more
    return f"[path: `{name}`]" if "$" in name else json.dumps(name)


def _reached(models: Json, texts: Iterable[str]) -> list[str]:
    """The models that are named there, and those that they name."""
    names: set[str] = set()
    waiting = list(texts)
    while waiting:
        for name in set(re.findall(r"\w+", waiting.pop())) & models.keys() - names:
            names.add(name)
            waiting.append(_model(name, models[name]))
    return sorted(names)


def _model(name: str, schema: Json) -> str:
    """A schema under its name, with the sentence that says what it is."""
    about = f"  /** {' '.join(schema['description'].split())} */\n" if schema.get("description") else ""
    if "properties" not in schema:
        return f"{about}  type {name} = {_type(schema)};"
    return f"{about}  interface {name} {{\n{_indented(_members(schema))}\n  }}"


def _members(schema: Json) -> list[str]:
    required = schema.get("required", ())
    return [f"{name}{'' if name in required else '?'}: {_type(part)};" for name, part in schema["properties"].items()]


def _type(schema: Json) -> str:  # noqa: C901, PLR0911  # a case for each kind
    """A schema as an expression."""
    match schema:
        case {"$ref": reference}:
            return str(reference).rpartition("/")[2]
        case {"anyOf": kinds} | {"oneOf": kinds}:
            return " | ".join(dict.fromkeys(_type(kind) for kind in kinds))
        case {"const": value}:
            return json.dumps(value)
        case {"enum": values}:
            return " | ".join(map(json.dumps, values))
        case {"type": "array", "items": items}:
            inner = _type(items)
            return f"({inner})[]" if " | " in inner else f"{inner}[]"
        case {"type": "object", "properties": _}:
            return f"{{ {' '.join(_members(schema))} }}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"Record<string, {_type(values)}>"
        case {"type": "object", "patternProperties": patterns}:
            return f"Record<string, {' | '.join(map(_type, patterns.values()))}>"
        case {"type": "integer" | "number"}:
            return "number"
        case {"type": "string" | "boolean" | "null" as kind}:
            return str(kind)
    return "unknown"


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
