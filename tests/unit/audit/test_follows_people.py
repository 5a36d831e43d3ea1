"""The audit finds each way in which one person could have moved what needs two."""

from datetime import UTC, datetime, timedelta

import pytest

from projections.approvals import WAITS
from schemas.credits import MICRO
from schemas.facts import (
    AMENDMENTS,
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
from services.audit.follows_people import PeopleAudit
from services.credits.approvals import CORRECTIONS, REQUESTS
from services.credits.grants import GIFTS

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
LIMIT = 1_000 * MICRO
REQUEST = AdjustmentRequested(
    kind="grant",
    credits=5 * LIMIT,
    reason="x",
    requested_by="op_1",
    approval_above_credits=LIMIT,
    waits_until=AT + WAITS,
)
APPROVED = CreditsGranted(credits=5 * LIMIT, reason="x", granted_by="op_1", request="r", approved_by="fin_1")
REJECTED = AdjustmentRejected(request="r", rejected_by="fin_1")
CORRECTION = REQUEST.model_copy(
    update={"kind": "correction", "credits": 2 * LIMIT, "usage_position": 9, "quantity": "1"}
)
VOID = UsageVoided(
    usage_source="/s", usage_id="u", usage_position=9, usage_occurred_at=AT, credits=3 * LIMIT, feature="f.x", reason="x",
    corrected_by="op_1", request="r", approved_by="fin_1",
)  # fmt: skip
ANEW = UsageRecorded(feature="f.x", quantity="1", credits=LIMIT, rate_card=1, corrects=9, corrects_id="u", reason="x")

Told = tuple[str, str, AnyFact] | tuple[str, str, AnyFact, timedelta]  # source, id, fact, how much later
ASKED: Told = (REQUESTS, "r", REQUEST)
TWO: tuple[Told, ...] = ((AMENDMENTS, "void:9", VOID), (REQUESTS, "end:r", ANEW))


def found(*told: Told) -> list[str]:
    """What the audit says of these facts, one behind the other."""
    audit, taken_back = PeopleAudit(), None
    problems: list[str] = []
    for position, (source, name, fact, *later) in enumerate(told, 1):
        at = AT + sum(later, timedelta())
        stored = Stored(7, position, at, at, "team_42", source, name, fact.type, fact.body())
        is_half = source == AMENDMENTS
        problems += audit.judge(stored, fact, taken_back, is_half=is_half)
        taken_back = fact if is_half and isinstance(fact, UsageVoided) else None
    return problems


def alone(credits: int, name: str = "op_1") -> Told:
    """What somebody moved by themselves."""
    fact = CreditsAdjusted(credits=credits, reason="x", adjusted_by=name, approval_above_credits=LIMIT)
    return GIFTS, f"adjustment:{name}:{credits}", fact


def changed(fact: CreditsGranted | UsageVoided, **members: object) -> AnyFact:
    return fact.model_copy(update=members)


@pytest.mark.parametrize(
    "told",
    [
        (ASKED, (REQUESTS, "end:r", APPROVED)),
        (ASKED, (REQUESTS, "end:r", REJECTED)),
        ((REQUESTS, "r", CORRECTION), *TWO),
        (alone(LIMIT // 2), alone(-LIMIT // 2), alone(LIMIT, "op_2")),
        (alone(LIMIT), ASKED, (REQUESTS, "end:r", APPROVED)),
        ((GIFTS, "grant:old", CreditsGranted(credits=9 * LIMIT, reason="before there was a limit")),),
        (
            (GIFTS, "plan", PlanAssigned(plan="pro", anchor=AT, zone="Pacific/Auckland", allowance_credits=1)),
            (*alone(LIMIT), -timedelta(hours=1, minutes=1)), (*alone(-LIMIT), timedelta()),
        ),
    ],
    ids=["approved", "rejected", "corrected", "within", "approved counts for nobody", "old", "another day in the zone"],
)  # fmt: skip
def test_what_was_decided_by_whom_it_may_be_raises_no_alarm(told: tuple[Told, ...]) -> None:
    assert found(*told) == []


FOUND: dict[str, tuple[str, tuple[Told, ...]]] = {
    "an approver typed": ("approved without a request", ((GIFTS, "g", changed(APPROVED, request=None)),)),
    "an approval by nobody": ("approved by nobody", (ASKED, (REQUESTS, "end:r", changed(APPROVED, approved_by=None)))),
    "no request": ("there is no request r", ((REQUESTS, "end:r", APPROVED),)),
    "the same person": ("'op_1' approves what", (ASKED, (REQUESTS, "end:r", changed(APPROVED, approved_by="op_1")))),
    "rejected by the same": (
        "'op_1' rejects what", (ASKED, (REQUESTS, "end:r", REJECTED.model_copy(update={"rejected_by": "op_1"}))),
    ),
    "twice": ("was decided before", (ASKED, (REQUESTS, "end:r", APPROVED), (REQUESTS, "end:r2", APPROVED))),
    "after a rejection": ("was decided before", (ASKED, (REQUESTS, "end:r", REJECTED), (REQUESTS, "end:r", APPROVED))),
    "another name": ("under another name", (ASKED, (GIFTS, "grant:r", APPROVED))),
    "too late": ("had expired", (ASKED, (REQUESTS, "end:r", APPROVED, WAITS + timedelta(minutes=1)))),
    "more than was asked for": (
        "something else", (ASKED, (REQUESTS, "end:r", changed(APPROVED, credits=6 * LIMIT))),
    ),
    "for ever": (
        "waits for 14 days",
        ((REQUESTS, "r", REQUEST.model_copy(update={"waits_until": AT + 2 * WAITS})),),
    ),
    "of another source": ("is no source of a request", ((GIFTS, "r", REQUEST),)),
    "over the limit": ("moved 1000.000001 credits alone", (alone(LIMIT), alone(-1))),
    "another correction": (
        "something else", ((REQUESTS, "r", CORRECTION.model_copy(update={"quantity": "2"})), *TWO),
    ),
    "a correction over the limit": (
        "moved 2000 credits alone",
        (
            (AMENDMENTS, "void:9", changed(VOID, request=None, approved_by=None, approval_above_credits=LIMIT)),
            (CORRECTIONS, "usage:9", ANEW),
        ),
    ),
    "a void over the limit": (
        "moved 3000 credits alone",
        ((CORRECTIONS, "void:9", changed(VOID, request=None, approved_by=None, approval_above_credits=LIMIT)),),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("said", "told"), FOUND.values(), ids=FOUND.keys())
def test_what_one_person_could_not_have_decided_is_found(said: str, told: tuple[Told, ...]) -> None:
    problems = found(*told)

    assert any(said in what for what in problems), problems
