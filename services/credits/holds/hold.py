"""What a hold is, and what a command makes of one.

A hold lowers what is available and nothing else. It ends once: settled by a capture or by usage that names it,
released, or expired. A capture that settles, a release and an expiry share one identity, `end:{hold_id}`, so that the
log takes one of them, whatever a row says; usage has its producer's. Each hold has a row, which moves with the fact
that moves the hold, under the lock of the team's shard. Whoever races (a capture, the clock, two usages on two
recorders) meets the row as the winner left it. An open hold past its end has ended, whether or not `hold.expired` is in
the log yet.

Stated policy: what is captured was used, so it is recorded in full: it may exceed the hold, and the balance too.
Permission was asked when the hold was placed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from schemas.credits import MicroCredits
from schemas.facts import AnyHoldFact, HoldCaptured, HoldExtended, HoldPlaced, HoldReleased, Quantities
from services.runtime.errors import Refused
from services.store.protocols import Reads
from services.store.shards import shard_of

HOLDS = "creditwell:holds"
LASTS_MAX = timedelta(hours=24)

READ = """
    SELECT hold_id, member_id, credits, placed_at, expires_at, state FROM holds
    WHERE shard = $1 AND team_id = $2 AND hold_id = $3
"""


class HoldKey(NamedTuple):
    """What names a hold; one team can't name another's."""

    team_id: str
    hold_id: str


class HoldState(StrEnum):
    """What became of a hold. All but `open` are final."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class CurrentHold:
    """A hold as it stands; `credits` is what is set aside, or was when the hold ended."""

    hold_id: str
    member_id: str | None
    credits: MicroCredits
    placed_at: datetime
    expires_at: datetime
    state: HoldState


class HoldMove(NamedTuple):
    """What a command makes of an open hold: how it stands then, and the facts that say so, with their ids."""

    hold: CurrentHold
    facts: Sequence[tuple[str, AnyHoldFact]]


# What a command makes of an open hold at an instant; it may refuse.
Decide = Callable[[CurrentHold, datetime], HoldMove]


class CapturedPart(NamedTuple):
    """What a capture says was used: priced work, or just micro-credits."""

    credits: MicroCredits
    feature: str | None = None
    quantity: str | None = None
    attributes: dict[str, str] | None = None
    rate_card: int | None = None
    member_id: str | None = None
    quantities: Quantities | None = None


async def read_hold(connection: Reads, team_id: str, hold_id: str, now: datetime) -> CurrentHold | None:
    """A hold as it is at an instant."""
    row = await connection.fetchrow(READ, shard_of(team_id), team_id, hold_id)
    return None if row is None else _as_of(CurrentHold(*row), now)


def _as_of(hold: CurrentHold, now: datetime) -> CurrentHold:
    ended = hold.state == HoldState.OPEN and hold.expires_at <= now
    return replace(hold, state=HoldState.EXPIRED if ended else HoldState(hold.state))


def open_hold(hold_id: str, columns: Sequence[Any], now: datetime) -> CurrentHold:
    """A hold that a command is about, by the columns of its row.

    Raises:
        Refused: unknown_hold, hold_settled, hold_released or hold_expired.
    """
    if columns[0] is None:
        raise unknown_hold(hold_id)
    hold = _as_of(CurrentHold(*columns), now)
    if hold.state is not HoldState.OPEN:
        raise Refused(f"hold_{hold.state}", f"hold {hold_id!r:.140} is {hold.state} already")
    return hold


def unknown_hold(hold_id: str) -> Refused:
    """Nobody placed it, or another team did."""
    return Refused("unknown_hold", f"there is no hold {hold_id!r:.140} of this team")


def check_lasts(lasts: timedelta) -> None:
    """Raises Refused: invalid_ttl."""
    if not timedelta() < lasts <= LASTS_MAX:
        raise Refused(
            "invalid_ttl", f"a hold lasts more than 0 seconds and at most {LASTS_MAX // timedelta(seconds=1)}"
        )


def fact_of(hold: CurrentHold) -> HoldPlaced:
    """What the log says of a hold that is placed."""
    return HoldPlaced(hold_id=hold.hold_id, credits=hold.credits, expires_at=hold.expires_at, member_id=hold.member_id)


def extension(fact_id: str, lasts: timedelta) -> Decide:
    """A hold ends so much later than now.

    Never later than 24 hours after it was placed, and never earlier than before.

    Raises:
        Refused: invalid_ttl, here and by what is decided.
    """
    check_lasts(lasts)

    def decide(hold: CurrentHold, now: datetime) -> HoldMove:
        longer = replace(hold, expires_at=max(hold.expires_at, now + lasts))
        if longer.expires_at > hold.placed_at + LASTS_MAX:
            hours = LASTS_MAX // timedelta(hours=1)
            raise Refused("invalid_ttl", f"a hold ends at most {hours} hours after it was placed")
        fact = HoldExtended(hold_id=hold.hold_id, expires_at=longer.expires_at)
        return HoldMove(longer, [(f"extend:{fact_id}", fact)])

    return decide


def capturing(fact_id: str, parts: Sequence[CapturedPart], *, final: bool) -> Decide:
    """What the work used is recorded.

    The rest of the hold is free again, or stays set aside where this is not the `final` capture.
    """

    def decide(hold: CurrentHold, _: datetime) -> HoldMove:
        facts: list[tuple[str, AnyHoldFact]] = []
        remaining = hold.credits
        for number, part in enumerate(parts, 1):
            remaining = max(0, remaining - part.credits)
            settles = final and number == len(parts)
            fact = HoldCaptured(
                hold_id=hold.hold_id, credits=part.credits, feature=part.feature,
                member_id=part.member_id or hold.member_id, quantity=part.quantity, quantities=part.quantities,
                attributes=part.attributes, rate_card=part.rate_card,
                remaining_credits=None if settles else remaining,
            )  # fmt: skip
            facts.append((end_of(hold.hold_id) if settles else f"capture:{fact_id}:{number}", fact))
        return HoldMove(replace(hold, state=HoldState.SETTLED) if final else replace(hold, credits=remaining), facts)

    return decide


def release(hold: CurrentHold, _: datetime) -> HoldMove:
    """A hold is given up; nothing was used."""
    fact = HoldReleased(hold_id=hold.hold_id)
    return HoldMove(replace(hold, state=HoldState.RELEASED), [(end_of(hold.hold_id), fact)])


def placed_as(hold_id: str) -> str:
    """The identity of the fact with which a hold begins."""
    return f"hold:{hold_id}"


def end_of(hold_id: str) -> str:
    """The one identity of a hold's end."""
    return f"end:{hold_id}"
