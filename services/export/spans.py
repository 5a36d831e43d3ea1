"""Which part of the log an export is: positions of each shard, fixed when it begins, and the note that signs them."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from projections.versions import live
from schemas.places import Place
from services.audit.anchors import text_of_anchor
from services.audit.checkpoints import base64_of, parse
from services.audit.notes.vectors import Vector
from services.audit.sign_log import Signed, hashes_at, path_of_note, signed_shards
from services.export.manifest import ShardSpan
from services.runtime.errors import LogChanged, Refused, Unavailable
from services.store.connect import Connection
from services.store.proofs import GENESIS
from services.store.read import heads
from services.store.shards import shard_of

Bound = datetime | Place  # an instant, for every shard; or a position, and then of its shard alone
MICROSECOND = timedelta(microseconds=1)

RECORDED = """
    SELECT shard, position, recorded_at
    FROM unnest($1::smallint[], $2::bigint[]) AS wanted (shard, position) JOIN facts USING (shard, position)
"""
FOLDED = live("SELECT shard, position FROM checkpoints WHERE reader = 'projector_v0'")
# The first note that reaches so far in each shard.
COVERING = """
    SELECT (
        SELECT number FROM signed_shards WHERE signed_shards.shard = wanted.shard AND last >= wanted.last ORDER BY last LIMIT 1
    ) AS number
    FROM unnest($1::smallint[], $2::bigint[]) AS wanted (shard, last)
"""
SIGNED_SINCE = "SELECT min(number) FROM signed_checkpoints WHERE signed_at >= $1"
NOTE = """
    SELECT number, signed_at, unpublished, note FROM signed_checkpoints
    WHERE $1::bigint IS NULL OR number = $1 ORDER BY number DESC LIMIT 1
"""


async def positions_before(connection: Connection, at: datetime, ends: Mapping[int, int]) -> dict[int, int]:
    """Of each shard the last position up to `ends` that was recorded before `at`: times rise with positions.

    Raises:
        LogChanged: a fact was removed.
    """
    low, high = dict.fromkeys(ends, 0), dict(ends)
    while middle := {shard: (low[shard] + high[shard] + 1) // 2 for shard in ends if low[shard] < high[shard]}:
        rows = await connection.fetch(RECORDED, list(middle), list(middle.values()))
        if len(rows) < len(middle):
            message = "a position is missing in the log: a fact was removed; run `creditwell verify`"
            raise LogChanged(message)
        for shard, position, recorded_at in rows:
            if recorded_at < at:
                low[shard] = position
            else:
                high[shard] = position - 1
    return low


async def recorded_at(connection: Connection, place: Place) -> datetime:
    """When a fact was recorded.

    Raises:
        Refused: `unknown_place`, there is none.
    """
    row = await connection.fetchrow(RECORDED, [place.shard], [place.position])
    if row is None:
        raise Refused("unknown_place", f"the log has no fact at {place}")
    at: datetime = row["recorded_at"]
    return at


async def spans_of(
    connection: Connection,
    since: Bound | None = None,
    until: Bound | None = None,
    *,
    team_id: str | None = None,
    folded: bool = False,
) -> list[ShardSpan]:
    """What lies from one bound on and before the other; `folded`: no further than the projections.

    Raises:
        Refused: `wrong_bounds`, the two are places of two shards, or not of the team's.
        Unavailable: `catching_up`, the projections are not that far.
        LogChanged: a fact was removed.
    """
    shards = _shards(since, until, team_id)
    ends = {shard: last for shard, last in (await heads(connection)).items() if shards is None or shard in shards}
    if folded:
        ends = await _folded(connection, ends, until)
    lasts = await _last_before(connection, until, ends) if until is not None else ends
    firsts = await _last_before(connection, since, lasts) if since is not None else dict.fromkeys(lasts, 0)
    places = [(shard, position) for ends in (firsts, lasts) for shard, position in ends.items()]
    hashes = await hashes_at(connection, *map(list, zip(*places, strict=True)))
    return [
        ShardSpan(shard, firsts[shard] + 1, last, _hash(hashes, shard, firsts[shard]), _hash(hashes, shard, last))
        for shard, last in sorted(lasts.items())
    ]


def _shards(since: Bound | None, until: Bound | None, team_id: str | None) -> set[int] | None:
    """Those in question; None for all."""
    named = [bound.shard for bound in (since, until) if isinstance(bound, Place)]
    named += [] if team_id is None else [shard_of(team_id)]
    if len(set(named)) > 1:
        raise Refused("wrong_bounds", "--from, --until and --team are of different shards")
    return set(named) or None


async def _last_before(connection: Connection, bound: Bound, ends: Mapping[int, int]) -> dict[int, int]:
    if isinstance(bound, Place):
        return {shard: max(0, min(end, bound.position - 1)) for shard, end in ends.items()}
    return await positions_before(connection, bound, ends)


async def _folded(connection: Connection, ends: Mapping[int, int], until: Bound | None) -> dict[int, int]:
    """How far the projections are, which is as far as they can be read."""
    folded = dict.fromkeys(ends, 0) | {row["shard"]: row["position"] for row in await connection.fetch(FOLDED)}
    targets = {} if until is None else await _last_before(connection, until, ends)
    if any(folded[shard] < last for shard, last in targets.items()):
        raise Unavailable("the projections are not as far as --until yet; try again in a moment", code="catching_up")
    return {shard: min(end, folded[shard]) for shard, end in ends.items()}


def _hash(hashes: Mapping[tuple[int, int], bytes], shard: int, last: int) -> str | None:
    block_hash = GENESIS if last == 0 else hashes.get((shard, last))
    return None if block_hash is None else base64_of(block_hash)


async def note_for(
    connection: Connection, spans: list[ShardSpan], signed_since: datetime | None = None
) -> Signed | None:
    """The first note that reaches to the end of all spans; else the newest one, if there is any.

    `signed_since`: the first one, too, that was signed then or later.

    Raises:
        LogChanged: what is stored of the notes is incomplete.
    """
    targets = [span for span in spans if span.last]
    rows = await connection.fetch(COVERING, [span.shard for span in targets], [span.last for span in targets])
    numbers = [row["number"] for row in rows]
    if signed_since is not None:
        numbers.append(await connection.fetchval(SIGNED_SINCE, signed_since))
    number = None if not numbers or None in numbers else max(numbers)
    return await note_numbered(connection, number)


async def note_numbered(connection: Connection, number: int | None) -> Signed | None:
    """The note of a number, or the newest one; None where there is none. Raises LogChanged."""
    row = await connection.fetchrow(NOTE, number)
    if row is None:
        return None
    shards = await signed_shards(connection, row["number"])
    return Signed(parse(row["note"]), Vector(row["signed_at"], row["unpublished"], shards), row["note"])


def covers(signed: Signed, spans: list[ShardSpan]) -> bool:
    """Whether a note reaches to the end of all spans."""
    shards = signed.vector.shards
    return all(span.last == 0 or (span.shard in shards and shards[span.shard].last >= span.last) for span in spans)


async def anchor_text(connection: Connection, signed: Signed) -> str:
    """A note with its vector and the proof that belongs to it, as an anchor has them."""
    return text_of_anchor(signed, await path_of_note(connection, signed.number))
