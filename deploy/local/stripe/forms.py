"""What a request asks for: form fields with brackets, checked against what the endpoint knows.

`line_items[0][price_data][currency]=usd` becomes nested values. A specification is a type (`str`, `int`, `bool`), a
dict of specifications by name, a list with the specification of its items, `MAP` (free text by free name, as metadata
is) or `RANGE` (a moment, or bounds `gt`, `gte`, `lt`, `lte`). A field that is not specified is refused, as Stripe does.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from .errors import Json, invalid, unknown_parameter

MAP: Final = "map"
RANGE: Final = "range"
Spec = Any

DEPTH_MAX = 8  # deeper brackets are nobody's form
METADATA_KEYS_MAX, METADATA_KEY_LENGTH_MAX, METADATA_VALUE_LENGTH_MAX = 50, 40, 500
KEY = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")


def read(pairs: Iterable[tuple[str, str]], spec: dict[str, Spec]) -> Json:
    """Raises StripeError (400) naming the first field that Stripe would not accept."""
    checked: Json = _checked(_nested(pairs), spec, "")
    return checked


def _nested(pairs: Iterable[tuple[str, str]]) -> Json:
    tree: Json = {}
    for key, value in pairs:
        match = KEY.match(key)
        if match is None:
            raise invalid(key, f"Invalid parameter name: {key}")
        steps = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(steps) > DEPTH_MAX:
            raise invalid(key, f"Too deeply nested: {key}")
        _put(tree, steps, value, key)
    return tree


def _put(tree: Json, steps: list[str], value: str, key: str) -> None:
    for step in steps[:-1]:
        tree = tree.setdefault(step or str(len(tree)), {})
        if not isinstance(tree, dict):
            raise invalid(key, f"Invalid hash: {key}")
    tree[steps[-1] or str(len(tree))] = value


def _checked(value: Any, spec: Spec, path: str) -> Any:
    if isinstance(spec, dict):
        return _checked_hash(value, spec, path)
    if isinstance(spec, list):
        return _checked_list(value, spec[0], path)
    if spec == MAP:
        return _checked_map(value, path)
    if spec == RANGE:
        return _checked_range(value, path)
    if isinstance(value, dict):
        raise invalid(path, f"Invalid {'string' if spec is str else spec.__name__}: {value}")
    return _checked_scalar(value, spec, path)


def _checked_hash(value: Any, spec: dict[str, Spec], path: str) -> Json:
    if not isinstance(value, dict):
        raise invalid(path, f"Invalid object: {value}")
    result = {}
    for name, part in value.items():
        inner = f"{path}[{name}]" if path else name
        if name not in spec:
            raise unknown_parameter(inner)
        result[name] = _checked(part, spec[name], inner)
    return result


def _checked_list(value: Any, spec: Spec, path: str) -> list[Any]:
    if not isinstance(value, dict) or not all(index.isdecimal() for index in value):
        raise invalid(path, "Invalid array")
    return [_checked(value[index], spec, f"{path}[{index}]") for index in sorted(value, key=int)]


def _checked_map(value: Any, path: str) -> dict[str, str]:
    if value == "":
        return {}
    if not isinstance(value, dict) or any(isinstance(part, dict) for part in value.values()):
        raise invalid(path, f"Invalid object: {path} must be a hash of strings")
    for name, text in value.items():
        if len(name) > METADATA_KEY_LENGTH_MAX or len(text) > METADATA_VALUE_LENGTH_MAX:
            message = "Metadata names can be up to 40 characters long, values up to 500."
            raise invalid(path, message)
    if len(value) > METADATA_KEYS_MAX:
        raise invalid(path, "Metadata can have up to 50 keys.")
    return dict(value)


def _checked_range(value: Any, path: str) -> Json:
    if isinstance(value, dict):
        return _checked_hash(value, {"gt": int, "gte": int, "lt": int, "lte": int}, path)
    moment = _checked_scalar(value, int, path)
    return {"gte": moment, "lte": moment}


def _checked_scalar(text: str, spec: Spec, path: str) -> str | int | bool:
    if text == "":
        message = (
            f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; "
            f"however '{path}' cannot be unset."
        )
        raise invalid(path, message, "parameter_invalid_empty")
    if spec is int:
        if not re.fullmatch(r"-?\d{1,15}", text, re.ASCII):
            raise invalid(path, f"Invalid integer: {text}", "parameter_invalid_integer")
        return int(text)
    if spec is bool:
        if text not in {"true", "false"}:
            raise invalid(path, f"Invalid boolean: {text}")
        return text == "true"
    return text
