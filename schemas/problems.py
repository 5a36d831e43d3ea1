"""What is wrong with a document that somebody wrote, in words that name the place.

pydantic knows the path of each problem as numbers; people know the category and the feature. A path becomes
`categories[ai_image].features[ai_image.generate].rates[2].credits`: entries by name, or counted from 1 without.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

NAMES = ("feature", "id")  # the keys by which people know an entry of a list

EXPECTED = {
    **dict.fromkeys(
        ("timezone_aware", "datetime_parsing", "datetime_from_date_parsing", "datetime_type"),
        "an instant: write one with its offset from UTC, such as 2026-01-01T00:00:00Z",
    ),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "an object: write its members in braces"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list: write its entries in brackets"),
}


def problems_of(document: object, error: ValidationError) -> list[str]:
    """One sentence for each problem: where it is, what is there, what to write instead."""
    problems = error.errors(include_url=False)
    paths = [problem["loc"] for problem in problems]
    sentences = []
    for problem in problems:
        # A list whose entry is wrong is also reported as one entry short; the entry says it all.
        if any(path != problem["loc"] and path[: len(problem["loc"])] == problem["loc"] for path in paths):
            continue
        place = key_of(document, [step for step in problem["loc"] if step != "[key]"])
        sentences.append(f"{place}: {advice(problem)}" if place else advice(problem))
    return sentences


def key_of(document: object, path: Sequence[int | str]) -> str:
    """A path into parsed JSON or TOML, as people write it."""
    key, here = "", document
    for step in path:
        if isinstance(step, str):
            here = here.get(step) if isinstance(here, Mapping) else None
            key += f".{in_utf8(step)}" if key else in_utf8(step)
        else:
            here = here[step] if isinstance(here, list | tuple) and step < len(here) else None
            key += f"[{name_of(here) or step + 1}]"
    return key


def name_of(entry: object) -> str | None:
    """What an entry of a list calls itself."""
    names = [entry.get(key) for key in NAMES] if isinstance(entry, Mapping) else []
    return next((in_utf8(name) for name in names if isinstance(name, str)), None)


def in_utf8(name: str) -> str:
    """A name as an answer can repeat it: half a letter, which JSON has and UTF-8 has not, is shown as its escape."""
    return name.encode(errors="backslashreplace").decode()


def advice(problem: Mapping[str, Any]) -> str:
    """What is wrong with a value, and what to write instead."""
    value = as_written(problem["input"])
    match problem["type"]:
        case "value_error":
            sentence = str(problem["ctx"]["error"])
        case "missing":
            sentence = "is missing"
        case "extra_forbidden":
            sentence = "is not a key that is known here; is it misspelt?"
        case "literal_error":
            sentence = f"{value} is not known: write one of {problem['ctx']['expected']}"
        case "string_pattern_mismatch":
            sentence = f"{value} does not match {problem['ctx']['pattern']}"
        case kind if kind in EXPECTED:
            sentence = f"{value} is not {EXPECTED[kind]}"
        case "too_short":
            least = problem["ctx"]["min_length"]
            sentence = f"needs at least {least} {'entry' if least == 1 else 'entries'} and has {problem['ctx']['actual_length']}"
        case "too_long":
            sentence = f"has more than {problem['ctx']['max_length']} entries"
        case "json_invalid":
            sentence = f"is not JSON: {problem['ctx']['error']}"
        case _:
            sentence = f"{problem['msg'][:1].lower()}{problem['msg'][1:]}, not {value}"
    return sentence


def as_written(value: object) -> str:
    """A value as it stands in the document, shortened.

    Text is in quotes, numbers and times are without. What holds others is named by its kind.
    """
    match value:
        case str():
            return repr(value[:80])
        case bool() | None:
            return "null" if value is None else str(value).lower()
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return f"{value!s:.80}"
