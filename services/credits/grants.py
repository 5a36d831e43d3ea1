"""Credits that a person gives or corrects: grants, which may expire, and adjustments, which say what they refer to."""

import re
from datetime import datetime

from projections.balance.lots import may_bring_lot
from schemas.credits import ENTRY_MAX, format_credits
from schemas.facts import CreditsAdjusted, CreditsGranted, NewFact
from schemas.places import Place
from services.runtime.errors import Refused
from services.store.append import append
from services.store.connect import Connection
from services.store.read import READ_TEAM, stored_of
from services.store.shards import shard_of
from services.store.teams import lock_known_team

GIFTS = "creditwell:gifts"
PLACE = re.compile(r"([0-9]{1,2}):([0-9]{1,18})(?::[0-9]{1,5})?", re.ASCII)  # of a fact, or an entry's id


async def grant(
    connection: Connection, team_id: str, gift_id: str, gift: CreditsGranted, *, source: str = GIFTS
) -> Place:
    """Give a team promotional credits, in the caller's transaction; `gift_id` makes a repeated attempt the same gift.

    Raises:
        Refused: unknown_team, invalid_credits or invalid_expiry.
        AlreadyStored: this gift was given.
    """
    now = await lock_known_team(connection, team_id)
    check_grant(gift, now)
    return await _append(connection, NewFact(team_id, source, gift_id, now, gift))


def check_grant(gift: CreditsGranted, now: datetime) -> None:
    """Raises Refused: invalid_credits or invalid_expiry."""
    if not 0 < gift.credits <= ENTRY_MAX:
        raise Refused("invalid_credits", f"a grant is more than 0 and at most {format_credits(ENTRY_MAX)} credits")
    if gift.expires_at is not None and gift.expires_at <= now:
        raise Refused("invalid_expiry", f"expires_at {gift.expires_at.isoformat()} is not in the future")


async def adjust(
    connection: Connection, team_id: str, gift_id: str, adjustment: CreditsAdjusted, *, source: str = GIFTS
) -> Place:
    """Correct a team's balance, up or down, in the caller's transaction; never by setting it.

    What is taken burns first the lot to which the correction refers, if it does.

    Raises:
        Refused: unknown_team or invalid_credits.
        AlreadyStored: this adjustment was made.
    """
    now = await lock_known_team(connection, team_id)
    check_adjustment(adjustment)
    if adjustment.credits < 0 and (lot := await _lot_named(connection, team_id, adjustment.refers_to)) is not None:
        adjustment = adjustment.model_copy(update={"burns_lot": lot})
    return await _append(connection, NewFact(team_id, source, gift_id, now, adjustment))


def check_adjustment(adjustment: CreditsAdjusted) -> None:
    """Raises Refused: invalid_credits."""
    if not 0 < abs(adjustment.credits) <= ENTRY_MAX:
        raise Refused(
            "invalid_credits", f"an adjustment is not 0 and at most {format_credits(ENTRY_MAX)} credits either way"
        )


async def _lot_named(connection: Connection, team_id: str, refers_to: str | None) -> int | None:
    """The number of the lot at the place that a correction refers to.

    None for any other text, and for a place where nothing of this team brought credits.
    """
    place = PLACE.fullmatch(refers_to or "")
    if place is None or int(place[1]) != shard_of(team_id):
        return None
    position = int(place[2])
    row = await connection.fetchrow(READ_TEAM, int(place[1]), team_id, position - 1, 1)
    stored = stored_of(row) if row is not None else None
    if stored is None or stored.position != position or not may_bring_lot(stored.fact()):
        return None
    return position


async def _append(connection: Connection, new: NewFact) -> Place:
    appended = await append(connection, [new])
    return appended.places[0]
