"""What people changed, in a few words."""

from projections.approvals import moved
from schemas.credits import format_credits
from schemas.facts import (
    RATE_CARD_TEAM,
    AdjustmentRejected,
    AdjustmentRequested,
    AnyFact,
    CreditsAdjusted,
    CreditsGranted,
    MemberErased,
    MemberLimited,
    PlanAssigned,
    RateCardPublished,
    StoreResumed,
    TopUpConfigured,
    UsageRecorded,
    UsageVoided,
)
from schemas.instants import instant
from schemas.places import Place
from services.api.wording.amounts import shown
from services.api.wording.values import Json
from services.credits.changes import Change


def change_item(change: Change) -> Json:
    """A change as a row of the list."""
    by, approved_by = _who(change)
    return {
        "at": instant(change.recorded_at), "team_id": None if change.team_id == RATE_CARD_TEAM else change.team_id,
        "type": change.fact.type, "what": _corrected(change) or describe_change(change.fact), "by": by, "approved_by": approved_by,
        "position": str(change.place),
    }  # fmt: skip


def describe_change(fact: AnyFact) -> str:  # noqa: C901, PLR0911 - a case for each kind of change
    """What was decided."""
    match fact:
        case PlanAssigned():
            version = "" if fact.version is None else f", version {fact.version}"
            return f"Plan {fact.plan}{version}: {format_credits(fact.allowance_credits)} credits a cycle"
        case RateCardPublished():
            return f"Rate card {fact.version}, in force from {instant(fact.effective_from)}"
        case MemberLimited():
            daily, monthly = shown(fact.daily_credits) or "no", shown(fact.monthly_credits) or "no"
            return f"Limit of {fact.member_id}: {daily} a day, {monthly} a month{'' if fact.hard else ', soft'}"
        case MemberErased():
            return f"Member {fact.member_id} was erased"
        case TopUpConfigured():
            return f"Automatic top-ups {'on' if fact.enabled else 'off'}"
        case CreditsGranted():
            return f"{format_credits(fact.credits)} credits granted: {fact.reason}"
        case CreditsAdjusted():
            return f"Adjusted by {format_credits(fact.credits)} credits: {fact.reason}"
        case AdjustmentRequested():
            return f"Asked for a {fact.kind} of {format_credits(fact.credits)} credits: {fact.reason}"
        case AdjustmentRejected():
            return f"Rejected request {fact.request}{'' if fact.reason is None else f': {fact.reason}'}"
        case StoreResumed():
            return f"The store went on: {fact.why}"
        case _:
            raise AssertionError(f"{fact.type} is no change that a person made")


def _corrected(change: Change) -> str | None:
    """What a correction came to; None for any other change."""
    void = change.fact if change.taken_back is None else change.taken_back
    if not isinstance(void, UsageVoided):
        return None
    used = change.fact.credits if isinstance(change.fact, UsageRecorded) else 0
    usage, back = Place(change.place.shard, void.usage_position), format_credits(void.credits - used)
    return f"Corrected the usage at {usage}: {back} credits back: {void.reason}"


def _who(change: Change) -> tuple[str | None, str | None]:
    """Who decided, and who approved it."""
    match fact := change.fact:
        case UsageVoided() | UsageRecorded():
            correction = moved(fact, change.taken_back)
            return (None, None) if correction is None else (correction.by, correction.approved_by)
        case PlanAssigned(assigned_by=by) | RateCardPublished(published_by=by) | MemberLimited(limited_by=by):
            return by, None
        case TopUpConfigured(configured_by=by) | AdjustmentRequested(requested_by=by):
            return by, None
        case AdjustmentRejected(rejected_by=by) | StoreResumed(resumed_by=by):
            return by, None
        case CreditsGranted(granted_by=by) | CreditsAdjusted(adjusted_by=by):
            return by, fact.approved_by
        case _:
            return None, None
