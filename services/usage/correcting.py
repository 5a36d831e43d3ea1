"""Usage, or a capture, that an operator corrects: taken back, and recorded anew if anything was used.

Two facts, one behind the other in one transaction, as an amendment of the service that reported it (`taking_back`): who
reads the log knows both already. The one that takes the usage back says who corrected it, and who approved that.
Decided under the lock of the team's shard, so no void and no amendment comes between.
"""

from typing import NamedTuple

from schemas.facts import (
    AMENDMENTS,
    AdjustmentRequested,
    HoldCaptured,
    NewFact,
    Stored,
    UsageRecorded,
    UsageVoided,
)
from schemas.places import Place
from schemas.pricing import RateCards
from services.credits.approvals import (
    CORRECTIONS,
    REQUESTS,
    Approval,
    LockedRequest,
    WaitingRequest,
    ask,
    lock_zone,
    may_alone,
)
from services.runtime.errors import Refused
from services.store.append import append
from services.store.connect import Connection
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import shard_of
from services.store.teams import lock_known_team
from services.usage.taking_back import card_of, recorded_anew, taken_back, voided
from services.usage.voids import note_voids

AT = f"SELECT {FACT_COLUMNS} FROM facts WHERE shard = $1 AND position = $2 AND team_id = $3"
# What took a usage back, and what stands behind it, if that is the team's.
TAKEN_BACK = f"""
    SELECT {", ".join(f"f.{column}" for column in Stored._fields)}
    FROM voided_usages v JOIN facts f ON f.shard = v.shard AND f.position IN (v.void_position, v.void_position + 1)
    WHERE v.shard = $1 AND v.team_id = $2 AND v.usage_position = $3 AND f.team_id = v.team_id ORDER BY f.position
"""


class CorrectedUsage(NamedTuple):
    """What came of a correction: the facts that took the usage back, and that replaced it, if anything was used."""

    void: Place
    returned: int
    usage: Place | None
    used: int


class PlannedCorrection(NamedTuple):
    """What somebody asks for, and the two facts that would come of it."""

    usage: Stored
    request: AdjustmentRequested
    void: UsageVoided
    anew: UsageRecorded | None


async def correct_or_ask(
    connection: Connection, team_id: str, command_id: str, request: AdjustmentRequested, cards: RateCards
) -> CorrectedUsage | WaitingRequest:
    """Correct a usage if the person may alone; otherwise keep the request. In the caller's transaction.

    `request.credits` follows from the usage and is worked out here. The same correction again comes to what it came to.

    Raises:
        Refused: unknown_team, unknown_entry, plain_credits or already_taken_back.
        NotPriced: the card has no price for so much of it.
    """
    now, zone = await lock_zone(connection, team_id)
    correction = await _plan(connection, team_id, request, cards)
    if (before := await _corrected_before(connection, correction)) is not None:
        return before
    if not await may_alone(connection, team_id, correction.request, now, zone):
        return await ask(connection, team_id, command_id, correction.request, now)
    void = correction.void.model_copy(update={"approval_above_credits": request.approval_above_credits})
    name = f"{'void' if correction.anew is None else 'usage'}:{correction.usage.position}"
    return await _append(connection, correction._replace(void=void), CORRECTIONS, name)


async def approve_correction(
    connection: Connection, team_id: str, locked: LockedRequest, approval: Approval, cards: RateCards
) -> CorrectedUsage:
    """Correct what another person has asked for.

    Raises:
        Refused: already_taken_back, where somebody else was quicker.
    """
    correction = await _plan(connection, team_id, locked.request, cards)
    if await _corrected_before(connection, correction) is not None:
        raise _already(correction.usage)
    decided = {"request": approval.request_id, "approved_by": approval.approved_by}
    return await _append(
        connection, correction._replace(void=correction.void.model_copy(update=decided)), REQUESTS, locked.end
    )


async def _plan(
    connection: Connection, team_id: str, request: AdjustmentRequested, cards: RateCards
) -> PlannedCorrection:
    """The facts that a request would come to, under the lock."""
    row = await connection.fetchrow(AT, shard_of(team_id), request.usage_position, team_id)
    usage = None if row is None else stored_of(row)
    fact = None if usage is None else usage.fact()
    if usage is None or not isinstance(fact, UsageRecorded | HoldCaptured):
        raise Refused("unknown_entry", "there is no usage of this team there, and nothing else can be corrected so")
    void = voided(usage, fact, request.reason).model_copy(update={"corrected_by": request.requested_by})
    is_void = request.quantity is None and request.quantities is None
    anew = None if is_void else recorded_anew(usage, _feature_of(fact), fact, request, card_of(usage, fact, cards))
    credits = fact.credits - (0 if anew is None else anew.credits)
    return PlannedCorrection(usage, request.model_copy(update={"credits": credits}), void, anew)


def _feature_of(fact: UsageRecorded | HoldCaptured) -> str:
    if fact.feature is None:
        raise Refused("plain_credits", "plain credits were captured here, which have no quantity: void them")
    return fact.feature


async def _corrected_before(connection: Connection, correction: PlannedCorrection) -> CorrectedUsage | None:
    """What the same correction came to before. Raises Refused: already_taken_back, of any other."""
    usage = correction.usage
    rows = await connection.fetch(TAKEN_BACK, usage.shard, usage.team_id, usage.position)
    if not rows:
        return None
    stored = [stored_of(row) for row in rows]
    void = stored[0].fact()
    anew = stored[1].fact() if stored[0].source == AMENDMENTS and len(stored) > 1 else None
    assert isinstance(void, UsageVoided)
    if void.corrected_by is None or void.reason != correction.void.reason or anew != correction.anew:
        raise _already(usage)
    used = anew.credits if isinstance(anew, UsageRecorded) else 0
    return CorrectedUsage(
        Place(usage.shard, stored[0].position), void.credits,
        None if anew is None else Place(usage.shard, stored[1].position), used,
    )  # fmt: skip


async def _append(connection: Connection, correction: PlannedCorrection, source: str, name: str) -> CorrectedUsage:
    usage, void, anew = correction.usage, correction.void, correction.anew
    now = await lock_known_team(connection, usage.team_id)
    if anew is None:
        facts = [NewFact(usage.team_id, source, name, now, void)]
    else:
        facts = [taken_back(usage, void), NewFact(usage.team_id, source, name, usage.occurred_at, anew)]
    appended = await append(connection, facts)
    await note_voids(connection, zip(facts, appended.places, strict=True))
    return CorrectedUsage(
        appended.places[0],
        void.credits,
        None if anew is None else appended.places[1],
        0 if anew is None else anew.credits,
    )


def _already(usage: Stored) -> Refused:
    return Refused("already_taken_back", f"{usage.place} was taken back already; correct what replaced it, if anything")
