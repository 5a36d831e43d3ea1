"""Months as a team's own clock shows them: the periods of its caps."""

from datetime import UTC, datetime, timedelta

from schemas.cycles import instant_of, load_zone


def month_of(instant: datetime, zone: str) -> str:
    """The calendar month that a team's own clock shows, such as 2026-11."""
    return instant.astimezone(load_zone(zone)).strftime("%Y-%m")


def next_month(instant: datetime, zone: str) -> datetime:
    """When the team's next calendar month begins, in UTC."""
    rules = load_zone(zone)
    first = instant.astimezone(rules).replace(day=1, hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return instant_of((first + timedelta(days=32)).replace(day=1), rules).astimezone(UTC)
