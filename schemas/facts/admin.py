"""Facts about what operators and admins decide: limits, rate cards, erasure."""

from typing import Any

from pydantic import AwareDatetime

from ..credits import UnsignedMicroCredits
from .names import Fact, Name


class AdminFact(Fact):
    """What operators and admins decide; it changes no balance."""


class MemberLimited(AdminFact, type="member.limited.v1"):
    """What a member may use per day or month was set."""

    member_id: Name
    daily_credits: UnsignedMicroCredits | None = None
    monthly_credits: UnsignedMicroCredits | None = None
    hard: bool = True
    limited_by: Name | None = None


class MemberErased(AdminFact, type="member.erased.v1"):
    """What the directory knew of a member is gone; the opaque id stays."""

    member_id: Name


class RateCardPublished(AdminFact, type="rate_card.published.v1"):
    """A new rate card: what features cost from an instant on. The card is validated by `schemas.rates`."""

    version: int
    effective_from: AwareDatetime
    card: dict[str, Any]
    published_by: Name | None = None


AnyAdminFact = MemberLimited | MemberErased | RateCardPublished
