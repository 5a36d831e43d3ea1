"""What callers pass to the emitter: checked, and named in their own words when it is wrong."""

import re
from decimal import Decimal

from pydantic import TypeAdapter, ValidationError

from ..facts import OURS
from ..problems import problems_of
from ..usage import QUANTITY, Source

PLAIN_QUANTITY = re.compile(QUANTITY)
ARGUMENTS = {  # what callers call the members of the event
    "subject": "team",
    "time": "at",
    "data.member_id": "member",
    "data.hold_id": "hold",
    "data.usage_id": "usage",
    "data.": "",
}


def valid_source(source: str) -> str:
    """A source, if feature services may use it. Raises ValueError."""
    try:
        TypeAdapter(Source).validate_python(source)
    except ValidationError as error:
        raise ValueError(f"source: {'; '.join(problems_of(source, error))}") from error
    if source.startswith(OURS):
        raise ValueError(
            f"source: {source!r} begins with {OURS!r}, which is Creditwell's own; write one like /features/video"
        )
    return source


def quantity_text(quantity: object) -> str | None:
    """A quantity as text; nothing for what may have lost digits on its way, such as a float."""
    match quantity:
        case bool():
            return None
        case str():
            return quantity
        case int():
            return str(quantity)
        case Decimal():
            return f"{quantity:f}"
        case _:
            return None


def in_callers_words(problem: str) -> str:
    """A problem of the event, said of the argument that it came from."""
    for member, argument in ARGUMENTS.items():
        if problem.startswith(member):
            return argument + problem.removeprefix(member)
    return problem
