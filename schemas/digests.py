"""What makes an event the same as one that came before: a digest over what it says."""

import json
from collections.abc import Container, Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec

from .facts import UsageRecorded, UsageVoided
from .usage import AmendedUsage, AnyUsage, ReportedUsage, UsageAmendReported, VoidedUsage


def digest(kind: str, subject: str, time: datetime | None, data: Mapping[str, Any]) -> bytes:
    """SHA-256 over what was said, in canonical form: equal for a repetition, different for a contradiction."""
    present = {name: value for name, value in data.items() if value not in (None, {})}
    at = None if time is None else time.astimezone(UTC).isoformat()
    canonical = json.dumps([kind, subject, at, present], sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).digest()


def digest_of_report(event: AnyUsage) -> bytes:
    """The digest of an event that arrived.

    When an amendment was made is no part of it: the usage that it records has the time of the work.
    """
    at = None if isinstance(event, UsageAmendReported) else event.time
    return digest(event.type, event.subject, at, _members_of_report(event))


def digest_of_fact(team_id: str, occurred_at: datetime, fact: UsageRecorded | UsageVoided) -> bytes:
    """The digest of the event that a stored fact was made of; of one that was not stored whole the fact has it."""
    if isinstance(fact, UsageRecorded) and fact.arrived_sha256 is not None:
        return bytes.fromhex(fact.arrived_sha256)
    if isinstance(fact, UsageVoided):
        return digest("usage.voided.v1", team_id, occurred_at, _members(fact, VoidedUsage.model_fields))
    if fact.corrects is not None:
        members = _members(fact, AmendedUsage.model_fields.keys() - {"usage_id"}) | {"usage_id": fact.corrects_id}
        return digest("usage.amended.v1", team_id, None, members)
    return digest("usage.reported.v1", team_id, occurred_at, _members(fact, ReportedUsage.model_fields))


def is_made_of(
    event: AnyUsage,
    team_id: str,
    occurred_at: datetime,
    fact: UsageRecorded | UsageVoided,
    priced: Container[tuple[str, str]] = frozenset(),
) -> bool:
    """True where a fact says what an event said: all of it, or all but attributes that no rate names (`priced`).

    To tell a repetition, its digest is enough. Here the fact itself is in doubt, and with it what it says of its event.
    """
    if digest_of_report(event) != digest_of_fact(team_id, occurred_at, fact):
        return False
    if not isinstance(fact, UsageRecorded) or fact.arrived_sha256 is None:
        return True
    kept, reported = fact.attributes or {}, getattr(event.data, "attributes", None) or {}
    if not kept.items() <= reported.items() or any(pair in priced for pair in reported.items() - kept.items()):
        return False
    stored = digest("usage.reported.v1", team_id, occurred_at, _members(fact, ReportedUsage.model_fields))
    return stored == digest(event.type, event.subject, event.time, {**_members_of_report(event), "attributes": kept})


def _members_of_report(event: AnyUsage) -> dict[str, Any]:
    data = event.data
    return msgspec.structs.asdict(data) if isinstance(data, msgspec.Struct) else data.model_dump()


def _members(fact: UsageRecorded | UsageVoided, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(fact, name) for name in names}
