"""Usage per member and day in PostgreSQL (`projections/usage.py` counts).

The projector loads and saves it with its checkpoint.
"""

from collections.abc import Collection

import msgspec

from projections.usage import Cells, FeatureUse, MemberDay
from projections.versions import at_version
from services.store.claims import IS_OURS, Part, columns
from services.store.connect import Connection

LOAD = """
    SELECT u.shard, u.team_id, u.day, u.member_id, u.features
    FROM unnest($1::smallint[], $2::text[], $3::date[], $4::text[]) AS wanted (shard, team_id, day, member_id)
    JOIN usage_v0 u USING (shard, team_id, day, member_id)
"""

SAVE = f"""
    INSERT INTO usage_v0 (shard, team_id, day, member_id, features)
    SELECT shard, team_id, day, member_id, features
    FROM unnest($1::smallint[], $2::text[], $3::date[], $4::text[], $5::jsonb[])
        AS u (shard, team_id, day, member_id, features)
    WHERE {IS_OURS}
    ON CONFLICT (shard, team_id, day, member_id) DO UPDATE SET features = excluded.features
"""

MEMBER_DAY = ("shard", "team_id", "day", "member_id")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, FeatureUse]).decode


async def load_days(connection: Connection, member_days: Collection[MemberDay], version: int) -> Cells:
    """What is saved for these members and days; a day without usage has no row."""
    cells: Cells = {}
    for shard, team_id, day, member_id, features in await connection.fetch(
        at_version(LOAD, version), *columns(list(member_days), len(MEMBER_DAY))
    ):
        cells[shard, team_id, day, member_id] = _decode(features)
    return cells


def saved_days(cells: Cells, member_days: Collection[MemberDay], version: int) -> Part:
    """What writes these days whole, in the statement that moves the checkpoint."""
    ordered = sorted(member_days)  # the order of the primary key: two writers never wait for each other in a circle
    features = [_encode(cells[member_day]).decode() for member_day in ordered]
    return Part(at_version(SAVE, version), [*columns(ordered, len(MEMBER_DAY)), features])
