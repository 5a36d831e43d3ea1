"""What operators configure: teams and their people, plans, gifts, rate cards."""

from typing import Literal

from pydantic import (
    BaseModel,
)

from schemas.facts import Name, Text
from schemas.instants import GivenInstant
from services.api.models import examples
from services.api.models.parts import Body, CreditsText, Instant, Moved, NonEmptyText, like


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
    approved_by: Name | None = None


class GiftAnswer(Moved):
    """Credits were given or corrected."""

    model_config = like({"id": f"{examples.POSITION}:0", "credits": "250", "position": examples.POSITION})

    id: str
    credits: CreditsText


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
