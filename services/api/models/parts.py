"""What the shapes of requests and answers are made of."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from projections.entitlement import DenialReason, Warn
from schemas.credits import DECIMAL_CREDITS
from schemas.facts import Currency, Text
from schemas.quantities import NUMBER_SCHEMA, QUANTITY, exact_quantity
from services.api.models import examples

ITEMS_MAX = 100
CENTS_MAX = 10**12
SECOND = timedelta(seconds=1)


WHOLE_DIGITS_MAX = 18  # no number of ours is larger, and 1e999999 would take long to write out


def whole(number: object) -> object:
    """18.0 as 18: to JSON Schema, and to some who write JSON, they are the same number."""
    if not isinstance(number, Decimal) or number.adjusted() > WHOLE_DIGITS_MAX or number != number.to_integral_value():
        return number
    return int(number)


CreditsText = Annotated[
    str,
    StringConstraints(max_length=24, pattern=f"^{DECIMAL_CREDITS.pattern}$"),
    Field(description="Credits as a decimal string.", examples=["1234.5"]),
]
Position = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}:[0-9]{1,19}$"), Field(examples=["31:20418"])]
QuantityText = Annotated[
    str,
    StringConstraints(pattern=QUANTITY),
    BeforeValidator(exact_quantity),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": QUANTITY}, {**NUMBER_SCHEMA, "minimum": 0}], "examples": ["12.5"]}
    ),
]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-23T10:15:30.123456Z"])]
Day = Annotated[str, Field(json_schema_extra={"format": "date"}, examples=["2026-11-23"])]
WHOLE = BeforeValidator(whole)
NonEmptyText = Annotated[Text, StringConstraints(min_length=1)]


def like(*shown: dict[str, Any]) -> ConfigDict:
    """A model that the OpenAPI document shows with these examples."""
    return ConfigDict(json_schema_extra={"examples": [*shown]})


class Body(BaseModel):
    """What somebody sends. A misspelt member is refused rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Admin(BaseModel):
    """Whom to ask."""

    id: str
    name: str


class Wrong(BaseModel):
    """One thing that is wrong with a request."""

    where: str
    problem: str


class QuoteItem(BaseModel):
    """The answer for one item; `credits` is null where there is no price."""

    credits: CreditsText | None
    allowed: bool
    reason: DenialReason | None
    detail: str | None
    warning: Warn | None


class Problem(BaseModel):
    """What went wrong (RFC 9457). `code` is stable; `detail` says what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str | None = None
    errors: list[Wrong] | None = Field(None, description="What is wrong with the request, and where.")
    problems: list[str] | None = Field(None, description="A sentence for each thing to change.")
    admins: list[Admin] | None = Field(None, description="Whom to ask.")
    items: list["QuoteItem"] | None = Field(None, description="The answer for each item of a hold.")


class Money(Body):
    """Minor units with their currency."""

    amount: Annotated[int, Field(strict=True, ge=0, le=CENTS_MAX), WHOLE]
    currency: Currency


class Moved(BaseModel):
    """A change was made, and stands at this position."""

    model_config = like({"position": examples.POSITION})

    position: Position
