"""Usage by attribute in PostgreSQL: rows of `usage_attributes`, for the names that stand in `usage_counted`."""

import msgspec

from projections.usage import FeatureUse
from projections.usage_by_attribute import COUNTED, AttributeCells, Attributes
from projections.versions import at_version
from schemas.facts import AnyFact, HoldCaptured, UsageRecorded, UsageVoided, decode
from schemas.places import Place
from services.store.claims import IS_OURS, Part, columns
from services.store.connect import Connection
from services.store.protocols import Reads

LOAD_ATTRIBUTES = """
    SELECT u.shard, u.team_id, u.day, u.member_id, u.name, u.value, u.features
    FROM unnest($1::smallint[], $2::text[], $3::date[], $4::text[], $5::text[], $6::text[])
        AS wanted (shard, team_id, day, member_id, name, value)
    JOIN usage_attributes_v0 u USING (shard, team_id, day, member_id, name, value)
"""

SAVE_ATTRIBUTES = f"""
    INSERT INTO usage_attributes_v0 (shard, team_id, day, member_id, name, value, features)
    SELECT shard, team_id, day, member_id, name, value, features
    FROM unnest($1::smallint[], $2::text[], $3::date[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
        AS u (shard, team_id, day, member_id, name, value, features)
    WHERE {IS_OURS}
    ON CONFLICT (shard, team_id, name, day, member_id, value) DO UPDATE SET features = excluded.features
"""

ATTRIBUTE_DAY_COLUMNS = 6

FACT_AT = "SELECT type, body FROM facts WHERE shard = $1 AND position = $2"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, FeatureUse]).decode


async def counted_attributes(connection: Connection, version: int) -> tuple[str, ...]:
    """By which attributes the usage of this version is counted."""
    return tuple(await connection.fetchval(at_version(COUNTED, version)))


async def load_attributes(connection: Connection, cells: AttributeCells, version: int) -> AttributeCells:
    """What is saved for the same days of attributes; one without usage has no row."""
    rows = await connection.fetch(at_version(LOAD_ATTRIBUTES, version), *columns(list(cells), ATTRIBUTE_DAY_COLUMNS))
    return {tuple(key): _decode(features) for *key, features in rows}


def saved_attributes(cells: AttributeCells, version: int) -> Part:
    """What writes these days of attributes whole, in the statement that moves the checkpoint."""
    ordered = sorted(cells)
    features = [_encode(cells[attribute_day]).decode() for attribute_day in ordered]
    return Part(at_version(SAVE_ATTRIBUTES, version), [*columns(ordered, ATTRIBUTE_DAY_COLUMNS), features])


async def attributes_of(connection: Reads, shard: int, fact: AnyFact) -> Attributes:
    """The attributes of the usage that a fact records or takes back."""
    if isinstance(fact, UsageVoided):
        row = await connection.fetchrow(FACT_AT, shard, fact.usage_position)
        assert row is not None, f"usage {Place(shard, fact.usage_position)} is not in the log"
        fact = decode(row["type"], row["body"])
    return fact.attributes if isinstance(fact, UsageRecorded | HoldCaptured) else None
