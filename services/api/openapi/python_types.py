"""Writes down the API's bodies as types for the client of Python, so that a check knows when the two drift apart.

    python -m services.api.openapi.python_types            writes bodies.py of creditwell_client
    python -m services.api.openapi.python_types --check    exits 1 when it is out of date

Derived from the OpenAPI document: what the client's own calls answer, and the models that these name.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from services.api.app import new_app
from services.api.openapi.generated import keep_up_to_date

FILE = Path(__file__).parents[3] / "deploy/client/creditwell_client/bodies.py"
OPERATIONS = (
    "get_balance", "get_activity", "get_entry", "get_usage", "get_receipt", "get_top_up", "post_quote", "post_hold",
    "post_extend", "post_capture", "post_release",
)  # fmt: skip

Json = dict[str, Any]

FORM = '''\
"""What the API answers, from its OpenAPI document: `make docs` writes this file anew."""

from typing import {imports}

{models}
'''


def main(arguments: Sequence[str], file: Path = FILE) -> int:
    """Write the file, or with --check say whether it is as it should be."""
    return keep_up_to_date({file: types_of(new_app().openapi())}, arguments)


def types_of(document: Json) -> str:
    """The answers of the client's calls as a module."""
    models: Json = document["components"]["schemas"]
    written: dict[str, str] = {}
    waiting = list(answers_of_calls(document))
    while waiting:
        name = waiting.pop()
        if name not in written:
            written[name] = _model(name, models[name])
            waiting += [other for other in re.findall(r"\w+", written[name]) if other in models]
    plain = sorted(name for name in written if "class " not in written[name])
    classes = sorted(written.keys() - set(plain))
    text = "\n\n\n".join(["\n".join(written[name] for name in plain), *map(written.__getitem__, classes)])
    imports = [name for name in ("Literal", "NotRequired", "TypedDict") if name in text]
    return FORM.format(imports=", ".join(imports), models=text)


def answers_of_calls(document: Json) -> Iterator[str]:
    """The names of the models that the calls of the clients answer with."""
    for methods in document["paths"].values():
        for operation in methods.values():
            if operation.get("operationId") in OPERATIONS:
                for status, answer in operation["responses"].items():
                    if status.startswith("2"):
                        yield answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]


def _model(name: str, schema: Json) -> str:
    """A schema under its name, with the sentence that says what it is."""
    if "properties" not in schema:
        return f"{name} = {_type(schema)}"
    about = " ".join(schema.get("description", "").split()) or "See the API's document."
    required = schema.get("required", ())
    members = [
        f"    {member}: {_type(part) if member in required else f'NotRequired[{_type(part)}]'}"
        for member, part in schema["properties"].items()
    ]
    return "\n".join([f"class {name}(TypedDict):", f'    """{_short(about)}"""', "", *members])


def _short(about: str) -> str:
    """The first sentence: lines of a docstring are short."""
    return re.split(r"[.:;] ", about.rstrip(".:"), maxsplit=1)[0] + "."


def _type(schema: Json) -> str:  # noqa: PLR0911  # a case for each kind
    """A schema as an expression."""
    match schema:
        case {"$ref": reference}:
            return f'"{str(reference).rpartition("/")[2]}"'
        case {"anyOf": kinds} | {"oneOf": kinds}:
            return _union(kinds)
        case {"const": value}:
            return f"Literal[{value!r}]"
        case {"enum": values}:
            return f"Literal[{', '.join(map(repr, values))}]"
        case {"type": "array", "items": items}:
            return f"list[{_type(items)}]"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"dict[str, {_type(values)}]"
        case {"type": "object"}:
            return "dict[str, object]"
        case {"type": "integer" | "number" | "string" | "boolean" | "null" as kind}:
            return {"integer": "int", "number": "float", "string": "str", "boolean": "bool", "null": "None"}[kind]
    return "object"


def _union(kinds: Sequence[Json]) -> str:
    """Alternatives; a name that is not there yet is quoted as a whole."""
    text = " | ".join(dict.fromkeys(_type(kind) for kind in kinds))
    return f'"{text.replace(chr(34), "")}"' if '"' in text and " | " in text else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
