"""What people decide follows from nothing, but who may decide it does. One team's facts, as the audit sees them. Pure.

What one person moves alone in a day stays within the limit that the fact names. What was approved was asked for, is
what was asked for, and was approved once, by another person, before the request expired.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

from projections.approvals import WAITS, MovedCredits, moved
from projections.usage import day_of
from schemas.credits import MicroCredits, format_credits
from schemas.facts import (
    AdjustmentRejected,
    AdjustmentRequested,
    AnyFact,
    CreditsAdjusted,
    CreditsGranted,
    PlanAssigned,
    Stored,
    UsageRecorded,
    UsageVoided,
)
from services.credits.approvals import REQUESTS, end_of

DECIDES_WITHIN = timedelta(minutes=1)  # from the lock under which it is judged to the append
Problems = Iterator[str]


@dataclass(slots=True)
class PeopleAudit:
    """What must be remembered of a team: who moved how much alone on which day, and what was asked for."""

    zone: str = "UTC"
    alone: dict[tuple[str, date], MicroCredits] = field(default_factory=dict)
    requests: dict[str, AdjustmentRequested] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def judge(self, stored: Stored, fact: AnyFact, taken_back: UsageVoided | None, *, is_half: bool) -> Problems:
        """What is wrong with a fact.

        `taken_back` is what stands before a usage that replaces another one; `is_half` tells that this is such a one,
        which is judged with the usage behind it.
        """
        match fact:
            case PlanAssigned(zone=zone):
                self.zone = zone
            case AdjustmentRequested():
                yield from self._request(stored, fact)
            case AdjustmentRejected():
                yield from self._end(stored, fact.request, fact.rejected_by, "rejects")
            case CreditsGranted() | CreditsAdjusted() | UsageVoided() | UsageRecorded() if not is_half:
                what = moved(fact, taken_back)
                if what is not None:
                    yield from self._move(stored, fact, what, taken_back)
            case _:
                pass

    def _request(self, stored: Stored, fact: AdjustmentRequested) -> Problems:
        self.requests[stored.id] = fact
        waits = fact.waits_until - stored.recorded_at
        if stored.source != REQUESTS:
            yield f"{stored.source!r} is no source of a request"
        if not WAITS - DECIDES_WITHIN <= waits <= WAITS:
            yield f"a request waits for {WAITS.days} days, and this one for longer or shorter"

    def _move(self, stored: Stored, fact: AnyFact, what: MovedCredits, taken_back: UsageVoided | None) -> Problems:
        if what.request is not None or what.approved_by is not None:
            yield from self._approval(stored, fact, what, taken_back)
        elif what.by is not None and what.approval_above_credits is not None:
            day = (what.by, day_of(self.zone, stored.recorded_at))
            self.alone[day] = self.alone.get(day, 0) + what.credits
            limit = what.approval_above_credits
            if self.alone[day] > limit or not limit:
                total, most = format_credits(self.alone[day]), format_credits(limit)
                yield f"{what.by!r} has moved {total} credits alone that day, and may move {most}"

    def _approval(self, stored: Stored, fact: AnyFact, what: MovedCredits, taken_back: UsageVoided | None) -> Problems:
        if what.request is None or what.approved_by is None:
            yield "it was approved without a request, or asked for and approved by nobody"
            return
        yield from self._end(stored, what.request, what.approved_by, "approves")
        request = self.requests.get(what.request)
        if request is not None and _requested(request) != _outcome(fact, what.by, taken_back):
            yield f"it is something else than request {what.request} asked for"

    def _end(self, stored: Stored, request_id: str, person: str, does: str) -> Problems:
        request = self.requests.get(request_id)
        if request is None:
            yield f"nobody asked for it: there is no request {request_id} before this"
            return
        if request_id in self.ended or (stored.source, stored.id) != (REQUESTS, end_of(request_id)):
            yield f"request {request_id} was decided before, or under another name"
        self.ended.add(request_id)
        if person == request.requested_by:
            yield f"{person!r} {does} what they asked for themselves"
        if stored.recorded_at >= request.waits_until + DECIDES_WITHIN:
            yield f"request {request_id} had expired"


def _requested(request: AdjustmentRequested) -> tuple[object, ...]:
    return (
        request.kind, request.credits, request.reason, request.requested_by, request.refers_to, request.expires_at,
        request.usage_position, request.quantity, request.quantities,
    )  # fmt: skip


def _outcome(fact: AnyFact, by: str | None, taken_back: UsageVoided | None) -> tuple[object, ...]:
    """What came of a request, in the order of `_requested`."""
    match fact:
        case CreditsGranted():
            return "grant", fact.credits, fact.reason, by, None, fact.expires_at, None, None, None
        case CreditsAdjusted():
            return "adjustment", fact.credits, fact.reason, by, fact.refers_to, None, None, None, None
        case UsageVoided():
            return "correction", fact.credits, fact.reason, by, None, None, fact.usage_position, None, None
        case UsageRecorded() if taken_back is not None:
            back = taken_back.credits - fact.credits
            usage = taken_back.usage_position
            return "correction", back, fact.reason, by, None, None, usage, fact.quantity, fact.quantities
        case _:
            return ()
