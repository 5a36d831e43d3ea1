"""How much was used: exact decimals as text, one or several by name, each written in one way."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, JsonValue, StringConstraints

from .facts import QUANTITIES_MAX, QuantityName
from .problems import as_written

QUANTITY = r"^[0-9]{1,12}(\.[0-9]{1,9})?$"
NUMBER_DIGITS_MAX = 15  # more do not survive the journey through JSON numbers of other languages
NUMBER_SCHEMA = {"type": "number", "description": f"At most {NUMBER_DIGITS_MAX} digits; write a string for more."}
ONE_OR_SEVERAL: list[JsonValue] = [
    {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in ("quantity", "quantities")
]
_ADVICE = 'send a string greater than 0 such as "12.5", with at most 12 digits before and 9 after the point'

Quantity = Annotated[str, StringConstraints(pattern=QUANTITY)]
ReportedQuantities = Annotated[
    dict[QuantityName, Quantity],
    Field(
        min_length=1,
        max_length=QUANTITIES_MAX,
        description="What one use took of several things, by the names that the rate card prices; at least one is not 0.",
    ),
]


def canonical_quantity(quantity: str) -> str:
    """Without zeros that say nothing: "012.50" is "12.5"."""
    whole, _, part = quantity.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return f"{whole}.{part}" if part else whole


def canonical_quantities(quantities: Mapping[str, str]) -> dict[str, str]:
    """Each so, in one order, and without those of which nothing was used."""
    canonical = {name: canonical_quantity(quantities[name]) for name in sorted(quantities)}
    return {name: quantity for name, quantity in canonical.items() if quantity != "0"}


def exact_quantity(quantity: object) -> str:
    """A quantity as text, exact, whoever is told it: a string, or a number of JSON that was read as int or Decimal.

    Raises:
        ValueError: it is neither, or has more digits than are kept.
    """
    match quantity:
        case str():
            text = quantity
        case int() | Decimal() if not isinstance(quantity, bool):
            number = Decimal(quantity)
            if len(number.as_tuple().digits) > NUMBER_DIGITS_MAX or abs(number.adjusted()) > NUMBER_DIGITS_MAX:
                raise ValueError(f"a JSON number of more than {NUMBER_DIGITS_MAX} digits may have lost some; {_ADVICE}")
            text = f"{number:f}"
        case _:
            raise ValueError(f"{as_written(quantity)} is no quantity; {_ADVICE}")
    if not _fits(text):
        raise ValueError(f"{text[:40]!r} is no quantity; {_ADVICE}")
    return text


def exact_quantities(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a usage with its quantity, or each of several, as text; what has the wrong shape is left as it is.

    Raises:
        ValueError: as `exact_quantity`, with the name of the member.
    """
    exact: dict[str, Any] = dict(data)
    if "quantity" in data and (data["quantity"] is not None or data.get("quantities") is None):
        exact["quantity"] = _named("quantity", data["quantity"])
    if isinstance(several := data.get("quantities"), Mapping):
        exact["quantities"] = {name: _named(f"quantities.{name:.64}", each) for name, each in several.items()}
    return exact


def _named(name: str, quantity: object) -> str:
    try:
        return exact_quantity(quantity)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def one_or_several(quantity: object, quantities: object) -> None:
    """Raises ValueError where both are there, or none."""
    if (quantity is None) == (quantities is None):
        raise ValueError("write either quantity, or quantities for work that is measured in several")


def _fits(text: str) -> bool:
    whole, point, part = text.partition(".")
    if not text.isascii() or not whole.isdigit() or len(whole) > 12:
        return False
    return not point or (part.isdigit() and len(part) <= 9)
