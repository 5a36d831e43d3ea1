"""Before work, while it runs and after it: quotes, holds, limits, usage and what became of it."""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from projections.entitlement import DenialReason, Warn
from schemas.facts import QUANTITIES_MAX, Attributes, Id, Name, QuantityName
from schemas.quantities import ONE_OR_SEVERAL, canonical_quantities, one_or_several
from schemas.usage import Source
from services.api.models import examples
from services.api.models.parts import (
    ITEMS_MAX,
    SECOND,
    WHOLE,
    Body,
    CreditsText,
    Instant,
    Moved,
    Position,
    QuantityText,
    QuoteItem,
    like,
)
from services.credits.holds.hold import LASTS_MAX, HoldState
from services.usage.receipts import Status


def _without_zeros(quantities: dict[str, str]) -> dict[str, str]:
    """As usage has them; of nothing but zeros one is left, as an item may have a quantity of 0."""
    return canonical_quantities(quantities) or dict.fromkeys([min(quantities)], "0")


ItemQuantities = Annotated[
    dict[QuantityName, QuantityText],
    Field(min_length=1, max_length=QUANTITIES_MAX, examples=[{"input_token": "1200", "output_token": "350"}]),
    AfterValidator(_without_zeros),
]


class Item(Body):
    """Work that is about to be done, or was done: `quantity`, or `quantities` where its rate prices several."""

    model_config = ConfigDict(json_schema_extra={"oneOf": ONE_OR_SEVERAL})

    feature: Name
    quantity: QuantityText | None = None
    attributes: Attributes = Field(default_factory=dict)
    member_id: Id | None = None
    quantities: ItemQuantities | None = None

    @model_validator(mode="after")
    def _one_quantity_or_several(self) -> Self:
        one_or_several(self.quantity, self.quantities)
        return self


class QuoteBody(Body):
    """What would it cost, and may we?"""

    model_config = like({"items": [examples.IMAGES]})

    items: Annotated[list[Item], Field(min_length=1, max_length=ITEMS_MAX)]


class Quote(BaseModel):
    """Price and permission. `affordable` is about the balance alone, `allowed` about everything.

    `warning` says that a member's soft limit is reached, which forbids nothing.
    """

    model_config = like(examples.QUOTE)

    credits: CreditsText
    affordable: bool
    allowed: bool
    reason: DenialReason | None
    warning: Warn | None
    items: list[QuoteItem]
    position: Position


class AmountBody(Body):
    """Either credits, or work that has a price on the rate card."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The rule that `_one_of_both` holds, for those who read the schema."""
        schema = handler(core)
        alternatives = [
            {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in ("credits", "items")
        ]
        handler.resolve_ref_schema(schema)["oneOf"] = alternatives
        return schema

    credits: CreditsText | None = None
    items: Annotated[list[Item], Field(min_length=1, max_length=ITEMS_MAX)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.credits is None) == (self.items is None):
            raise ValueError("write either credits or items")
        return self


class HoldBody(AmountBody):
    """Credits to set aside for work that runs, and for how long; for one member where `member_id` says so."""

    model_config = like(
        {"items": [examples.IMAGES], "ttl_seconds": 600, "member_id": "mem_7"}, {"credits": "250", "ttl_seconds": 3600}
    )

    ttl_seconds: Annotated[int, Field(strict=True, ge=1, le=LASTS_MAX // SECOND), WHOLE] = 900
    member_id: Id | None = None


class ExtendBody(Body):
    """How much longer a hold shall last, from now on; no longer than 24 hours since it was placed."""

    model_config = like({"ttl_seconds": 600})

    ttl_seconds: Annotated[int, Field(strict=True, ge=1, le=LASTS_MAX // SECOND), WHOLE]


class CaptureBody(AmountBody):
    """What was used; it may be more than was held.

    With `final: false` the rest stays set aside for what is still to come.
    """

    model_config = like({"items": [{**examples.IMAGES, "quantity": "3"}]}, {"credits": "120.5", "final": False})

    final: bool = True


class HoldAnswer(Moved):
    """A hold. `credits` are what is set aside, or what was when it ended."""

    model_config = like(examples.HOLD)

    id: str
    credits: CreditsText
    state: HoldState
    expires_at: Instant
    member_id: str | None


class Placed(HoldAnswer):
    """A hold that was placed; `warning` says that a member's soft limit is reached."""

    model_config = like({**examples.HOLD, "warning": None})

    warning: Warn | None


class Captured(HoldAnswer):
    """A hold after a capture; `captured` is what this one took."""

    model_config = like({**examples.HOLD, "state": "settled", "captured": "45"})

    captured: CreditsText


class LimitBody(Body):
    """What a member may use per day and per month of the team's zone. null is no limit, "0" is nothing.

    A hard limit refuses quotes and holds, a soft one only marks them; usage that is reported is never refused.
    """

    model_config = like(examples.LIMIT)

    daily: CreditsText | None = None
    monthly: CreditsText | None = None
    hard: Annotated[bool, Field(strict=True)] = True


class MemberLimit(Moved):
    """A member's limit."""

    model_config = like(examples.MEMBER_LIMIT)

    member_id: str
    daily: CreditsText | None
    monthly: CreditsText | None
    hard: bool


class MemberSpending(MemberLimit):
    """A member's limit and what counts against it.

    That is what was used today and this month, and what open holds set aside.
    """

    model_config = like({**examples.MEMBER_LIMIT, "used_today": "60", "used_this_month": "60", "held": "0"})

    used_today: CreditsText
    used_this_month: CreditsText
    held: CreditsText


class ReceiptAnswer(BaseModel):
    """What became of a usage."""

    model_config = like(examples.RECEIPT)

    status: Status
    position: Position | None
    recorded_at: Instant | None
    credits: CreditsText | None
    reason: str | None
    detail: str | None
    duplicates: int
    conflicts: int
    corrects: Annotated[Position | None, Field(description="The usage that an amendment took back and replaced.")]


class SentReceipt(ReceiptAnswer):
    """The receipt of a usage that Kafka has acknowledged; what becomes of it, `href` will tell."""

    model_config = like(examples.PENDING)

    source: str
    id: str
    href: str


class Sent(BaseModel):
    """A receipt for each event, in their order."""

    model_config = like({"receipts": [examples.PENDING]})

    receipts: list[SentReceipt]


class EventResult(BaseModel):
    """What became of one event of a batch: sent (202, with its receipt), or not (`code` and `detail` say why)."""

    model_config = like(examples.NOT_SENT)

    index: int
    status: int
    receipt: SentReceipt | None
    code: str | None
    detail: str | None


class SentInPart(BaseModel):
    """A result for each event, in their order; those with status 202 were sent, the others were not."""

    model_config = like({"results": [examples.SENT_ALONE, examples.NOT_SENT]})

    results: list[EventResult]


class CloudEvent(BaseModel):
    """A CloudEvents 1.0 event in structured JSON; the recorder judges its data."""

    model_config = like(examples.EVENT) | ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    type: Literal["usage.reported.v1", "usage.voided.v1", "usage.amended.v1"]
    source: Source
    id: Name
    subject: Id
