"""What operators configure: teams and their people, plans, gifts, rate cards."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.facts import QUANTITIES_MAX, Name, Quantities, QuantityName, Text
from schemas.instants import GivenInstant
from schemas.quantities import canonical_quantities, canonical_quantity
from services.api.models import examples
from services.api.models.parts import Body, CreditsText, Instant, Moved, NonEmptyText, Position, QuantityText, like
from services.credits.approvals import RequestState


def _above_zero(quantity: str) -> str:
    canonical = canonical_quantity(quantity)
    if canonical == "0":
        raise ValueError("0 is nothing: write void: true")
    return canonical


def _any_above_zero(quantities: dict[str, str]) -> dict[str, str]:
    canonical = canonical_quantities(quantities)
    if not canonical:
        raise ValueError("all of them are 0, which is nothing: write void: true")
    return canonical


AboveZero = Annotated[QuantityText, AfterValidator(_above_zero)]
AnyAboveZero = Annotated[
    dict[QuantityName, QuantityText],
    Field(min_length=1, max_length=QUANTITIES_MAX, examples=[{"input_token": "1200", "output_token": "350"}]),
    AfterValidator(_any_above_zero),
]


class TeamBody(Body):
    """What a team is called."""

    model_config = like({"name": examples.TEAM["name"]})

    name: Name


class MemberBody(Body):
    """What a member is called, and whether they may spend."""

    model_config = like({"name": "Ada Lindqvist", "role": "admin"})

    name: Name
    role: Literal["member", "admin"] = "member"


class PlanBody(Body):
    """A plan. Anchor and zone are for the first one; they stay for ever."""

    model_config = like(examples.PLAN)

    plan: Name
    anchor: GivenInstant | None = None
    zone: Name | None = None


class PlanAnswer(Moved):
    """The plan of a team."""

    model_config = like({**examples.PLAN, "position": examples.POSITION})

    plan: str
    anchor: Instant
    zone: str


class GrantBody(Body):
    """Promotional credits."""

    model_config = like(examples.GRANT)

    credits: CreditsText
    reason: NonEmptyText
    expires_at: GivenInstant | None = None


class AdjustmentBody(Body):
    """A correction of the balance, up or down."""

    model_config = like(examples.ADJUSTMENT)

    credits: CreditsText
    reason: NonEmptyText
    refers_to: Text | None = None


class GiftAnswer(Moved):
    """Credits were given or corrected."""

    model_config = like({"id": f"{examples.POSITION}:0", "credits": "250", "position": examples.POSITION})

    id: str
    credits: CreditsText


class CorrectionBody(Body):
    """What was used in truth: `quantity`, or `quantities` where the rate prices several, or nothing: `void`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [examples.CORRECTION, {"void": True, "reason": "The job failed"}],
            "oneOf": [
                {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
                for name in ("quantity", "quantities", "void")
            ],
        }
    )

    quantity: AboveZero | None = None
    quantities: AnyAboveZero | None = None
    void: Literal[True] | None = None
    reason: NonEmptyText

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if sum(part is not None for part in (self.quantity, self.quantities, self.void)) != 1:
            raise ValueError("write quantity, or quantities, or void: true")
        return self


class CorrectionAnswer(Moved):
    """A usage was corrected. `id` is the entry that took it back, `entry` what was used in truth; both as entries.

    `credits` is by how much the balance changed.
    """

    model_config = like(examples.CORRECTED)

    id: str
    corrects: str
    entry: str | None
    credits: CreditsText


class RejectBody(Body):
    """Why nothing shall come of it."""

    model_config = like({"reason": "The ticket says 12, not 1,200"}, {})

    reason: NonEmptyText | None = None


class RequestAnswer(Moved):
    """What waits for another person, or was decided by one. `entry` is what came of it, where it was approved."""

    model_config = like(examples.REQUEST)

    id: str
    state: RequestState
    kind: Literal["grant", "adjustment", "correction"]
    credits: CreditsText
    waits_until: Instant
    entry: str | None


class RequestItem(RequestAnswer):
    """A request of the list: who asked for what and why, and who decided."""

    model_config = like(examples.REQUESTED)

    reason: str
    requested_by: str
    requested_at: Instant
    refers_to: str | None
    expires_at: Instant | None
    corrects: str | None
    quantity: str | None
    quantities: Quantities | None
    ended_by: str | None
    ended_at: Instant | None


class RequestList(BaseModel):
    """What needed another person, newest first."""

    model_config = like({"items": [examples.REQUESTED], "next_cursor": None})

    items: list[RequestItem]
    next_cursor: str | None


class ChangeItem(BaseModel):
    """What a person decided. A rate card is no team's."""

    model_config = like(examples.CHANGE)

    at: Instant
    team_id: str | None
    type: str
    what: str
    by: str | None
    approved_by: str | None
    position: Position


class ChangeList(BaseModel):
    """What people decided, team by team."""

    model_config = like({"items": [examples.CHANGE], "next_cursor": None})

    items: list[ChangeItem]
    next_cursor: str | None


class RateCardDate(BaseModel):
    """A rate card, and since when or from when it is in force."""

    model_config = like({"version": 2, "effective_from": examples.REFILL})

    version: int
    effective_from: Instant


class RateCardAnswer(Moved):
    """A rate card was published."""

    model_config = like({"version": 2, "effective_from": examples.REFILL, "position": "7:2"})

    version: int
    effective_from: Instant
