"""What another person has asked for is carried out: credits are given or adjusted, or usage is corrected."""

from typing import NamedTuple

from schemas.facts import AdjustmentRequested
from schemas.places import Place
from schemas.pricing import RateCards
from services.credits.approvals import Approval, approve_gift, lock_request
from services.store.connect import Connection
from services.usage.correcting import approve_correction


class ApprovedRequest(NamedTuple):
    """What was asked for, and where what came of it stands."""

    request: AdjustmentRequested
    place: Place


async def approve(
    connection: Connection, team_id: str, request_id: str, person: str, cards: RateCards
) -> ApprovedRequest:
    """Approve a request as this person, once, in the caller's transaction.

    Raises:
        Refused: as `lock_request`, `approve_gift` and `approve_correction`.
        NotPriced: the card has no price for what a correction says was used.
    """
    locked = await lock_request(connection, team_id, request_id, person)
    approval = Approval(request_id, person)
    if locked.request.kind == "correction":
        corrected = await approve_correction(connection, team_id, locked, approval, cards)
        return ApprovedRequest(locked.request, corrected.usage or corrected.void)
    return ApprovedRequest(locked.request, await approve_gift(connection, team_id, locked, approval))
