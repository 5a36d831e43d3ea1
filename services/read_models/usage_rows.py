"""Usage per member and day in PostgreSQL (`projections/usage.py` counts).

The projector loads and saves it with its checkpoint.
"""

from collections.abc import Collection
from datetime import date

import msgspec

from projections.usage import Cells, FeatureUse, MemberDay
from projections.versions import at_version
from services.store.connect import Connection

LOAD = """
    SELECT u.shard, u.team_id, u.day, u.member_id, u.features
    FROM unnest($1::smallint[], $2::text[], $3::date[], $4::text[]) AS wanted (shard, team_id, day, member_id)
    JOIN usage_v0 u USING (shard, team_id, day, member_id)
"""

SAVE = """
    INSERT INTO usage_v0 (shard, team_id, day, member_id, features)
    SELECT shard, team_id, day, member_id, features
    FROM unnest($1::smallint[], $2::text[], $3::date[], $4::text[], $5::jsonb[])
        AS u (shard, team_id, day, member_id, features)
    ON CONFLICT (shard, team_id, day, member_id) DO UPDATE SET features = excluded.features
"""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, FeatureUse]).decode


async def load_days(connection: Connection, member_days: Collection[MemberDay], version: int) -> Cells:
    """What is saved for these members and days; a day without usage has no row."""
    cells: Cells = {}
    for shard, team_id, day, member_id, features in await connection.fetch(
        at_version(LOAD, version), *_columns(member_days)
    ):
        cells[shard, team_id, day, member_id] = _decode(features)
    return cells


async def save_days(connection: Connection, cells: Cells, member_days: Collection[MemberDay], version: int) -> None:
    """Write these days whole, within the transaction that moves the checkpoint."""
    ordered = sorted(member_days)  # the order of the primary key: two writers never wait for each other in a circle
    features = [_encode(cells[member_day]).decode() for member_day in ordered]
    await connection.execute(at_version(SAVE, version), *_columns(ordered), features)


def _columns(member_days: Collection[MemberDay]) -> tuple[list[int], list[str], list[date], list[str]]:
    shards, teams, days, members = zip(*member_days, strict=True)
    return list(shards), list(teams), list(days), list(members)
