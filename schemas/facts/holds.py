"""Facts about holds: credits set aside for work that runs."""

from pydantic import AwareDatetime

from ..credits import UnsignedMicroCredits
from .names import Attributes, Fact, Name, Quantities


class HoldFact(Fact):
    """Credits are set aside, or no longer."""


class HoldPlaced(HoldFact, type="hold.placed.v1"):
    """Credits were set aside for work that runs."""

    hold_id: Name
    credits: UnsignedMicroCredits
    expires_at: AwareDatetime
    member_id: Name | None = None


class HoldExtended(HoldFact, type="hold.extended.v1"):
    """A hold lasts longer."""

    hold_id: Name
    expires_at: AwareDatetime


class HoldCaptured(HoldFact, type="hold.captured.v1"):
    """Work under a hold used credits. The rest of the hold is free again, unless `remaining_credits` stay set aside."""

    hold_id: Name
    credits: UnsignedMicroCredits
    feature: Name | None = None
    member_id: Name | None = None
    quantity: str | None = None
    quantities: Quantities | None = None
    attributes: Attributes | None = None
    rate_card: int | None = None
    remaining_credits: UnsignedMicroCredits | None = None


class HoldReleased(HoldFact, type="hold.released.v1"):
    """A hold was given up; nothing was used."""

    hold_id: Name


class HoldExpired(HoldFact, type="hold.expired.v1"):
    """A hold came to its end; nothing was used."""

    hold_id: Name


AnyHoldFact = HoldPlaced | HoldExtended | HoldCaptured | HoldReleased | HoldExpired
