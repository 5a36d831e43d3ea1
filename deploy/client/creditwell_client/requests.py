"""The calls that this client knows, with the types of their answers."""

from collections.abc import Sequence

from .bodies import Activity, Balance, Captured, Entry, Hold, Placed, Quote, Receipt, TopUp, Usage
from .calls import ApiCall, Item, team_path


def balance(team: str, *, at_least: str | None = None) -> ApiCall[Balance]:
    """What a team has."""
    return ApiCall("GET", team_path(team, "balance"), {} if at_least is None else {"at_least": at_least})


def quote(team: str, items: Sequence[Item]) -> ApiCall[Quote]:
    """What work would cost, and whether the team may do it."""
    return ApiCall("POST", team_path(team, "quotes"), body={"items": [dict(item) for item in items]})


def activity(team: str, days: int, cursor: str | None) -> ApiCall[Activity]:
    """A page of the credit activity."""
    return ApiCall("GET", team_path(team, "activity"), {"days": days} | ({} if cursor is None else {"cursor": cursor}))


def entry(team: str, id: str) -> ApiCall[Entry]:
    """Why an entry of the activity is what it is."""
    return ApiCall("GET", team_path(team, "entries", id))


def usage(team: str, by: str, days: int, attribute: str | None = None) -> ApiCall[Usage]:
    """Credits and uses of the last days, added up; by the values of an attribute, too, where one is named."""
    about = {} if attribute is None else {"attribute": attribute}
    return ApiCall("GET", team_path(team, "usage"), {"by": by, "days": days, **about})


def receipt(team: str, source: str, id: str) -> ApiCall[Receipt]:
    """What became of a usage."""
    return ApiCall("GET", team_path(team, "receipts"), {"source": source, "id": id})


def top_up(team: str) -> ApiCall[TopUp]:
    """The settings of automatic top-ups, and how they stand."""
    return ApiCall("GET", team_path(team, "top-up"))


def place(team: str, items: Sequence[Item], ttl: int, member: str | None, key: str) -> ApiCall[Placed]:
    """Set credits aside for work."""
    body = {"items": [dict(item) for item in items], "ttl_seconds": ttl, "member_id": member}
    return ApiCall("POST", team_path(team, "holds"), body=body, key=key)


def extend(team: str, hold: str, ttl: int, key: str) -> ApiCall[Hold]:
    """Let a hold last so much longer from now on."""
    return ApiCall("POST", team_path(team, "holds", hold, "extend"), body={"ttl_seconds": ttl}, key=key)


def capture(team: str, hold: str, items: Sequence[Item], key: str) -> ApiCall[Captured]:
    """Record what the work used; the rest is free again."""
    return ApiCall("POST", team_path(team, "holds", hold, "capture"), body={"items": [dict(i) for i in items]}, key=key)


def release(team: str, hold: str, key: str) -> ApiCall[Hold]:
    """Give a hold up."""
    return ApiCall("POST", team_path(team, "holds", hold, "release"), body={}, key=key)


def report(events: Sequence[Item]) -> ApiCall[object]:
    """Report usage, a CloudEvent each."""
    body = [dict(event) for event in events]
    return ApiCall("POST", "/v1/usage", body=body, media_type="application/cloudevents-batch+json")
