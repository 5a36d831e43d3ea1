"""Usage as feature services write it: by hand and with none of our code, so that a mistake of ours can't hide here."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

SOURCE = "/features/test"
MICRO = 1_000_000

# What the catalog's first rate card says, by feature and the attribute that decides; in micro-credits each.
PRICES = {
    ("ai_image.generate", "low"): MICRO,
    ("ai_image.generate", "standard"): 4 * MICRO,
    ("video_export.render", "720p"): MICRO // 10,
    ("video_export.render", "4k"): 6 * MICRO // 10,
}


@dataclass(frozen=True)
class Message:
    """A Kafka record about to be sent."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = field(default=())
    partition: int | None = None
    timestamp_ms: int | None = None


def reported(
    team_id: str,
    id: str,
    *,
    quantity: object = "1",
    tier: str = "low",
    feature: str = "ai_image.generate",
    at: datetime | str | None = None,
    **envelope: Any,
) -> dict[str, Any]:
    """A `usage.reported.v1`: by default one image that costs one credit. `envelope` adds or replaces members."""
    attribute = "resolution" if feature == "video_export.render" else "tier"
    time = at if isinstance(at, str) else (at or datetime.now(UTC)).isoformat(timespec="microseconds")
    return {
        "specversion": "1.0",
        "type": "usage.reported.v1",
        "source": SOURCE,
        "id": id,
        "subject": team_id,
        "time": time,
        "datacontenttype": "application/json",
        "data": {"member_id": "mem_1", "feature": feature, "quantity": quantity, "attributes": {attribute: tier}},
    } | envelope


def voided(team_id: str, id: str, *, of: str, reason: str = "it failed", **envelope: Any) -> dict[str, Any]:
    """A `usage.voided.v1` that takes the usage `of` back."""
    event = reported(team_id, id, **envelope)
    return event | {
        "type": "usage.voided.v1",
        "data": {"usage_source": event["source"], "usage_id": of, "reason": reason},
    }


def amended(team_id: str, id: str, *, of: str, reason: str | None = "counted wrongly", **more: Any) -> dict[str, Any]:
    """A `usage.amended.v1` that says how much the usage `of` really was: `quantity=` or `quantities=`."""
    data = {"usage_id": of, "reason": reason} | {
        name: more.pop(name) for name in ("quantity", "quantities") if name in more
    }
    return reported(team_id, id, **more) | {"type": "usage.amended.v1", "data": data}


def structured(event: dict[str, Any], *, key: bytes | None = None, **record: Any) -> Message:
    """An event in CloudEvents' structured mode, under its team's key."""
    return Message(event["subject"].encode() if key is None else key, json.dumps(event).encode(), **record)


def binary(event: dict[str, Any], *, replaced: bytes | None = None) -> Message:
    """An event in CloudEvents' binary mode: attributes in headers, data in the value; `HERE` is replaced by bytes."""
    attributes = {
        f"ce_{name}": str(value).encode() for name, value in event.items() if name not in {"data", "datacontenttype"}
    }
    headers = tuple((name, replaced if replaced and value == b"HERE" else value) for name, value in attributes.items())
    content = ("content-type", b"application/json")
    return Message(event["subject"].encode(), json.dumps(event["data"]).encode(), (*headers, content))


def used(team_id: str, id: str, **about: Any) -> Message:
    """A usage ready to be sent."""
    return structured(reported(team_id, id, **about))


def raw(value: bytes | None, *, key: bytes | None = b"team_1", **record: Any) -> Message:
    """Anything at all."""
    return Message(key, value, **record)
