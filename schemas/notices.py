"""What the host product is told: the bodies of outgoing notices.

They are as Standard Webhooks has them (`type`, `timestamp`, `data`).

A notice tells of one fact and has its type. It is complete in words, so that the host can mail `title`, `message` and
`url` as they stand, and in figures, so that it can do better. Credits are decimal strings here, as over HTTP. No names
and no card: ids only.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from .facts import Name
from .instants import instant

NoticeInstant = Annotated[
    AwareDatetime,
    PlainSerializer(instant, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "description": "RFC 3339, UTC, microseconds."}),
]
Decimals = Annotated[
    str, Field(pattern=r"^-?\d{1,13}(\.\d{1,6})?$", description='Credits as a decimal string, such as "1234.5".')
]


class NoticeData(BaseModel):
    """What every notice says."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    team_id: str
    position: str = Field(
        pattern=r"^\d+:\d+$", description="The fact's place in the log, `shard:position`; a higher one is later."
    )
    title: str = Field(max_length=100, description="A subject line.")
    message: str = Field(max_length=1_000, description="What happened and what to do, in whole sentences.")
    url: str | None = Field(None, max_length=3_000, description="The team's Usage page, where its address is set.")


class ToldRanLow(NoticeData):
    """The available credits fell below the threshold."""

    available: Decimals
    threshold: Decimals
    top_up_enabled: bool


class ToldRanOut(NoticeData):
    """Nothing is left to spend."""

    available: Decimals


class ToldRecovered(NoticeData):
    """The available credits are a tenth above the threshold again, or more."""

    available: Decimals
    threshold: Decimals


class ToldFailed(NoticeData):
    """A top-up ended without money."""

    attempt_id: Name
    reason: str
    decline_code: str | None = None
    next_try_at: NoticeInstant | None = None


class ToldActionRequired(NoticeData):
    """The bank wants an admin to confirm the payment of a top-up."""

    attempt_id: Name


class ToldSuspended(NoticeData):
    """Top-ups pause; the message says why."""

    declines: int


class ToldResumed(NoticeData):
    """Top-ups go on."""

    reason: str


class ToldSkipped(NoticeData):
    """A top-up was due and not made, and somebody has to do something about it, or to wait for the next month."""

    reason: str
    next_decision_at: NoticeInstant | None = None


class Notice(BaseModel):
    """The body of a notice, one line of JSON; nulls are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str
    timestamp: NoticeInstant = Field(description="When it happened, not when it was sent.")
    data: NoticeData

    def body(self) -> str:
        """The text that is signed and sent, the same at every try."""
        return self.model_dump_json(exclude_none=True)


class RanLowNotice(Notice):
    """The available credits fell below the threshold, once per crossing."""

    type: Literal["balance.ran_low.v1"]
    data: ToldRanLow


class RanOutNotice(Notice):
    """Nothing is left to spend."""

    type: Literal["balance.ran_out.v1"]
    data: ToldRanOut


class RecoveredNotice(Notice):
    """The available credits are a tenth above the threshold again: the low episode is over."""

    type: Literal["balance.recovered.v1"]
    data: ToldRecovered


class FailedNotice(Notice):
    """A top-up ended without money."""

    type: Literal["top_up.failed.v1"]
    data: ToldFailed


class ActionRequiredNotice(Notice):
    """The bank wants an admin to confirm the payment of a top-up; the same payment waits."""

    type: Literal["top_up.action_required.v1"]
    data: ToldActionRequired


class SuspendedNotice(Notice):
    """Top-ups pause until the card changes or somebody pays."""

    type: Literal["top_up.suspended.v1"]
    data: ToldSuspended


class ResumedNotice(Notice):
    """Top-ups go on."""

    type: Literal["top_up.resumed.v1"]
    data: ToldResumed


class SkippedNotice(Notice):
    """A top-up was due and not made: a cap is reached, it costs too much, there is no card, or the plan has none."""

    type: Literal["top_up.skipped.v1"]
    data: ToldSkipped


AnyNotice = (
    RanLowNotice
    | RanOutNotice
    | RecoveredNotice
    | FailedNotice
    | ActionRequiredNotice
    | SuspendedNotice
    | ResumedNotice
    | SkippedNotice
)
NOTICES: dict[str, type[AnyNotice]] = {
    get_args(notice.model_fields["type"].annotation)[0]: notice for notice in AnyNotice.__args__
}

# How a notice arrives. https://www.standardwebhooks.com; its libraries for most languages verify it.
HEADERS: dict[str, str] = {
    "webhook-id": "The same at every try of a notice: drop ids that you have seen.",
    "webhook-timestamp": "When this try was made, in Unix seconds: refuse what is more than five minutes off.",
    "webhook-signature": "`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; one for each secret while rotating, with spaces between.",
}


def schema_of_notice(notice: type[Notice]) -> dict[str, Any]:
    """The JSON Schema of a body as it is sent."""
    return notice.model_json_schema(mode="serialization")
