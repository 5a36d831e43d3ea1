"""Statements: what happened to a team's credits in a sealed cycle."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from projections.balance.state import LotKind
from services.api.models import examples
from services.api.models.parts import CreditsText, Instant, Position, like

MajorUnits = Annotated[str, Field(description="Money as a decimal string of major units.", examples=["48.00"])]
Cycle = Annotated[int, Field(description="The number of a cycle; the first one that the plan's anchor begins is 0.")]


class StatementHead(BaseModel):
    """A cycle that has a statement."""

    cycle: Cycle
    starts_at: Instant
    ends_at: Instant
    position: Position
    sealed_at: Instant
    checkpoint: int


class StatementList(BaseModel):
    """The cycles that have a statement, newest first."""

    model_config = like({"items": [examples.STATEMENT_HEAD]})

    items: list[StatementHead]


class SealAnswer(BaseModel):
    """Where the cycle was sealed, and the first signed checkpoint that covers it, with the SHA-256 of its text."""

    position: Position
    recorded_at: Instant
    checkpoint: int
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StatementSum(BaseModel):
    """Credits of one line."""

    total: CreditsText
    included: CreditsText
    additional: CreditsText


class StatementComponent(BaseModel):
    """What was counted of a feature."""

    name: str
    unit: str
    quantity: str
    uses: int
    credits: CreditsText


class StatementFeature(BaseModel):
    """Work of one feature; null is work that named none."""

    feature: str | None
    name: str
    components: list[StatementComponent]
    taken_back: CreditsText
    quantities: Annotated[
        dict[str, str] | None,
        Field(
            exclude_if=lambda quantities: quantities is None, description="Present where uses have several quantities."
        ),
    ] = None


class StatementMember(BaseModel):
    """Work of one member; null is nobody."""

    member_id: str | None
    uses: int
    used: CreditsText
    taken_back: CreditsText


class StatementPayment(BaseModel):
    """A payment of the cycle, or an older one of which money moved in it; `refunded` and so on are of this cycle."""

    payment: str
    position: Position
    at: Instant
    paid_in_this_cycle: bool
    credits: CreditsText
    currency: str
    gross: MajorUnits
    tax: MajorUnits
    refunded: MajorUnits
    disputed: MajorUnits
    won_back: MajorUnits


class StatementLate(BaseModel):
    """What belongs to an earlier cycle, came after its seal and counts here."""

    cycle: Cycle
    entries: int
    credits: CreditsText


class StatementCorrection(BaseModel):
    """A correction by a person; who and why stand at its entry."""

    position: Position
    at: Instant
    credits: CreditsText
    refers_to: str | None


class StatementAnswer(BaseModel):
    """A statement.

    opening + refilled + bought + topped_up + granted + given_back + adjusted + taken_back - used - expired - refunded -
    disputed = closing, and the next one's opening is this closing.
    """

    model_config = like(examples.STATEMENT)

    format: Literal["creditwell statement 1"]
    log: str
    team_id: str
    plan: str
    zone: str
    cycle: Cycle
    starts_at: Instant
    ends_at: Instant
    sealed: SealAnswer
    opening: StatementSum
    refilled: StatementSum
    bought: StatementSum
    topped_up: StatementSum
    granted: StatementSum
    given_back: StatementSum
    adjusted: StatementSum
    taken_back: StatementSum
    used: StatementSum
    expired: StatementSum
    refunded: StatementSum
    disputed: StatementSum
    closing: StatementSum
    by_feature: list[StatementFeature]
    by_member: list[StatementMember]
    payments: list[StatementPayment]
    late: list[StatementLate]
    corrections: list[StatementCorrection]
    remaining: Annotated[dict[LotKind | Literal["debt"], CreditsText], Field(alias="left")]
    rate_cards: list[int]
