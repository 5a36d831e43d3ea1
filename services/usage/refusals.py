"""Refused usage: kept with its bytes and its reason, in the transaction that moves the cursor past it.

The reason, the ids and the SHA-256 stay for ever. The bytes, and the sentence that quotes them, stay in a table of
their own until their time is over (`services/publishing/refused.py`) or somebody erases them.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from schemas.topics import TRUNCATED
from services.store.connect import Connection
from services.store.sessions.bell import note_append

RECORD_MAX = 1024 * 1024
BEGINNING = 64 * 1024
HEADER_BYTES = 8  # what a header takes beside its name and its value, rather more than less

KEEP = """
    WITH r AS (
        SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
                             $8::text[], $9::bytea[], $10::bytea[], $11::jsonb[], $12::bytea[], $13::bigint[])
            AS r (topic, partition, "offset", reason, detail, team_id, source, event_id, key, value, headers, sha256, size)
    ), kept AS (
        INSERT INTO refused (topic, partition, "offset", refused_at, reason, team_id, source, event_id, sha256, size)
        SELECT topic, partition, "offset", $14, reason, team_id, source, event_id, sha256, size FROM r
        ON CONFLICT (topic, partition, "offset") DO NOTHING
        RETURNING topic, partition, "offset"
    )
    INSERT INTO refused_bytes (topic, partition, "offset", refused_at, team_id, detail, key, value, headers)
    SELECT topic, partition, "offset", $14, team_id, detail, key, value, headers
    FROM r JOIN kept USING (topic, partition, "offset")
    ON CONFLICT (topic, partition, "offset") DO NOTHING
"""


class KafkaRecord(Protocol):
    """A Kafka record, as aiokafka gives it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp: int


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record that can't be stored, as it arrived, with the reason."""

    record: KafkaRecord
    reason: str
    detail: str
    team_id: str | None = None
    source: str | None = None
    event_id: str | None = None


async def keep_refusals(connection: Connection, refusals: Sequence[RefusedRecord], now: datetime) -> None:
    """Keep refused records as they arrived, within the caller's transaction."""
    if not refusals:
        return
    rows = [
        (
            refusal.record.topic, refusal.record.partition, refusal.record.offset, refusal.reason, plain(refusal.detail),
            refusal.team_id, refusal.source, refusal.event_id, *_kept(refusal.record),
        )
        for refusal in refusals
    ]  # fmt: skip
    await connection.execute(KEEP, *map(list, zip(*rows, strict=True)), now)
    note_append(connection)


def plain(text: str) -> str:
    """Text that PostgreSQL can hold: what it can't (NUL, lone surrogates) is written as an escape."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _kept(record: KafkaRecord) -> tuple[bytes | None, bytes | None, str, bytes, int]:
    """Key, value and headers, the SHA-256 of the whole value, and its size.

    What is too big to be published with the rest is cut, headers are left out, and one that says so is there instead.
    """
    key, value = record.key, record.value
    headers = [(plain(name), text or b"") for name, text in record.headers]
    size = len(value or b"")
    kept_key = key and key[:BEGINNING]
    kept_value = value[:BEGINNING] if value and size > RECORD_MAX else value
    fits = sum(len(name) + len(text) + HEADER_BYTES for name, text in headers) <= BEGINNING
    kept_headers = headers if fits else []
    if (kept_key, kept_value, fits) != (key, value, True):
        kept_headers = [*kept_headers, (TRUNCATED, b"%d" % size)]
    as_json = json.dumps([[name, b64encode(text).decode()] for name, text in kept_headers])
    return kept_key, kept_value, as_json, sha256(value or b"").digest(), size
