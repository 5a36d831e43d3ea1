"""Facts in a few words, for tests of the store."""

from datetime import UTC, datetime, timedelta

from schemas.credits import MICRO
from schemas.facts import AnyFact, CreditsGranted, NewFact, PlanAssigned, UsageRecorded, UsageVoided
from services.store.append import Appended, append
from services.store.connect import Connection
from services.store.cycles import refill

SOURCE = "/features/test"


def now() -> datetime:
    """What the clock on the wall says."""
    return datetime.now(UTC)


def zone_at_midday() -> str:
    """A zone whose clock shows between 12 and 1 now: a team there meets no end of a day or a month while a test runs."""
    ahead = now().hour - 12
    return f"Etc/GMT{ahead:+d}" if ahead else "UTC"  # signs as POSIX has them: Etc/GMT+5 is five hours behind UTC


def new(team_id: str, id: str, fact: AnyFact, *, at: datetime | None = None, source: str = SOURCE) -> NewFact:
    """A fact about to be stored."""
    return NewFact(team_id, source, id, at or now(), fact)


def planned(
    team_id: str, *, credits: int = 100, anchor: datetime | None = None, zone: str = "UTC"
) -> tuple[NewFact, NewFact]:
    """A first plan with its first refill; the refills since then are appended by whoever appends next."""
    began = anchor or now()
    plan = PlanAssigned(plan="test", anchor=began, zone=zone, allowance_credits=credits * MICRO)
    return new(team_id, "plan", plan, at=began), refill(plan, "plan", team_id, 0)


def granted(team_id: str, id: str, credits: int = 1, *, ends_after: timedelta | None = None) -> NewFact:
    """A gift of whole credits."""
    expires_at = None if ends_after is None else now() + ends_after
    return new(team_id, id, CreditsGranted(credits=credits * MICRO, reason="test", expires_at=expires_at))


def usage(
    team_id: str,
    id: str,
    credits: int = 1,
    *,
    at: datetime | None = None,
    hold_id: str | None = None,
    member_id: str | None = "mem_1",
    tier: str = "low",
) -> NewFact:
    """A usage of whole credits, as the recorder would store it."""
    fact = UsageRecorded(
        feature="ai_image.generate", quantity=str(credits), credits=credits * MICRO, rate_card=1, member_id=member_id,
        attributes={"tier": tier}, hold_id=hold_id,
    )  # fmt: skip
    return new(team_id, id, fact, at=at)


def void(team_id: str, id: str, *, of: str, position: int, at: datetime, credits: int = 1) -> NewFact:
    """A usage taken back; `position` and `at` are the usage's."""
    fact = UsageVoided(
        usage_source=SOURCE, usage_id=of, usage_position=position, usage_occurred_at=at, credits=credits * MICRO,
        feature="ai_image.generate", reason="test", member_id="mem_1",
    )  # fmt: skip
    return new(team_id, id, fact)


async def store(connection: Connection, *facts: NewFact) -> Appended:
    """Append in a transaction of its own."""
    async with connection.transaction():
        return await append(connection, facts)
