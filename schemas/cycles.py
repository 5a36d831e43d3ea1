"""When a team's monthly cycles begin and end.

A cycle begins at the local wall time of the plan's anchor. Anchored on the 31st it begins on 28 February and on 31
March again: every cycle is reckoned from the original anchor and never from the one before. Start inclusive, end
exclusive, everything in UTC with microseconds.

Wall times come from the `tzdata` package alone and not from the machine's own files: two processes that disagree
about a zone's rules would disagree about when credits are refilled.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

MONTHS_PER_YEAR = 12
SECOND = timedelta(seconds=1)


class UnknownZone(ValueError):
    """A zone is not one of the IANA database."""

    def __init__(self, zone: str) -> None:
        near = get_close_matches(zone[:64], zone_names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "write an IANA name such as 'Europe/Berlin', or 'UTC'"
        super().__init__(f"{zone[:64]!r} is not a time zone: {hint}")
        self.zone = zone


@dataclass(frozen=True, slots=True)
class Cycle:
    """The k-th cycle of a plan: from `starts_at` up to, not including, `ends_at`, both UTC."""

    k: int
    starts_at: datetime
    ends_at: datetime


@lru_cache(maxsize=65_536)
def cycle_start(anchor: datetime, zone: str, k: int) -> datetime:
    """When the k-th cycle begins, in UTC; cycle 0 begins at the anchor itself, negative ones lie before it.

    A wall time that the clock skips becomes the first instant after the gap; one that comes twice, its first. (The
    anchor is an instant, so cycle 0 needs no such rule: it begins there even where the wall time came twice.)

    Raises:
        UnknownZone: the zone is not one of the IANA database.
        ValueError: the anchor has no offset from UTC, or the cycle lies outside the years 1 to 9999.
    """
    rules = load_zone(zone)
    local = aware(anchor, "anchor").astimezone(rules)
    if k == 0:
        return local.astimezone(UTC)
    year, month0 = divmod(local.year * MONTHS_PER_YEAR + local.month - 1 + k, MONTHS_PER_YEAR)
    if not MINYEAR < year < MAXYEAR:
        message = f"cycle {k} from {anchor.isoformat()} lies outside the calendar"
        raise ValueError(message)
    day = min(local.day, monthrange(year, month0 + 1)[1])
    return instant_of(local.replace(year=year, month=month0 + 1, day=day, tzinfo=None), rules)


def cycle(anchor: datetime, zone: str, k: int) -> Cycle:
    """The k-th cycle with both its ends. Raises as `cycle_start` does."""
    return Cycle(k, cycle_start(anchor, zone, k), cycle_start(anchor, zone, k + 1))


def cycle_at(anchor: datetime, zone: str, instant: datetime) -> int:
    """Which cycle an instant lies in: k such that start(k) <= instant < start(k + 1). Raises as `cycle_start` does."""
    rules = load_zone(zone)
    first, local = aware(anchor, "anchor").astimezone(rules), aware(instant, "instant").astimezone(rules)
    k = (local.year - first.year) * MONTHS_PER_YEAR + local.month - first.month
    # The months say it to within one: the anchor's day may not have come yet, and a skipped day may move it on.
    while cycle_start(anchor, zone, k) > instant:
        k -= 1
    while cycle_start(anchor, zone, k + 1) <= instant:
        k += 1
    return k


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every zone that a team may live in."""
    listed = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(listed) - {"Factory"}  # a placeholder of the database, nobody's clock


@lru_cache(maxsize=1024)
def load_zone(zone: str) -> ZoneInfo:
    """The rules of a zone, by its IANA name.

    Raises:
        UnknownZone: there is no such name. (Names come from strangers and become a path, so they must be listed first.)
    """
    if zone not in zone_names():
        raise UnknownZone(zone)
    with resources.files("tzdata.zoneinfo").joinpath(*zone.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=zone)


def instant_of(wall: datetime, rules: tzinfo) -> datetime:
    """The instant at which a zone's clock first shows `wall`, or the first instant after where it never does."""
    before = offset_of(wall.replace(fold=0), rules)
    after = offset_of(wall.replace(fold=1), rules)
    if before >= after:  # once, or twice: fold 0 is the first
        return (wall - before).replace(tzinfo=UTC)
    return first_instant_past(wall - after, wall - before, before, rules)


def first_instant_past(low: datetime, high: datetime, before: timedelta, rules: tzinfo) -> datetime:
    """The end of a gap: the first second between two naive UTC times at which the offset is no longer `before`."""
    low = low.replace(microsecond=0)
    high = high.replace(microsecond=0) + SECOND
    while high - low > SECOND:
        middle = low + ((high - low) // 2 // SECOND) * SECOND
        if middle.replace(tzinfo=UTC).astimezone(rules).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(tzinfo=UTC)


def offset_of(wall: datetime, rules: tzinfo) -> timedelta:
    """How far a zone is from UTC at a wall time."""
    return rules.utcoffset(wall) or timedelta()


def aware(instant: datetime, name: str) -> datetime:
    """The same instant, if it says how far from UTC it is."""
    if instant.utcoffset() is None:
        message = f"{name} {instant.isoformat()} needs an offset from UTC, such as {instant.isoformat()}Z"
        raise ValueError(message)
    return instant
