"""The only way into the log, for the recorder's batches and for a single fact of the API alike.

Lock order everywhere: cursor row, head rows ascending, checkpoint. Everything that can be worked out before
the heads are taken is: the caller has parsed, priced and looked for duplicates, and rows are packed but for their place.

A violated identity aborts the caller's transaction as `AlreadyStored`; who expects duplicates asks `identities.find`
first. So the case without duplicates, which is nearly always, pays nothing for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from itertools import groupby
from operator import attrgetter
from struct import pack
from typing import NamedTuple

import asyncpg

from projections.activity import microseconds
from schemas.facts import NewFact, PlanAssigned
from services.crashpoints import crashpoint
from services.store.connect import Connection
from services.store.cycles import move_cycles, refills_due
from services.store.proofs import block_hash, leaf_of, merkle_root, pack_known, pack_place
from services.store.shards import shard_of

COPY_FROM = 64  # a few rows are quicker by INSERT; roles under row-level security may not COPY at all

# Ascending, so that two writers of the same shards never wait for each other in a circle. Locked to COMMIT.
# The database's clock, and never backwards within a shard.
TAKE_HEADS = """
    SELECT shard, next, head, greatest(recorded_at, clock_timestamp()) AS recorded_at,
           row_security_active('facts') AS by_insert
    FROM shard_heads WHERE shard = ANY($1) ORDER BY shard FOR UPDATE
"""

MOVE_HEADS = """
    WITH block AS (
        SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])
            AS b (shard, first, last, root, hash)
    ), chained AS (
        INSERT INTO blocks (shard, first, last, root, hash) SELECT shard, first, last, root, hash FROM block
    )
    UPDATE shard_heads SET next = block.last + 1, head = block.hash, recorded_at = $6
    FROM block WHERE shard_heads.shard = block.shard
"""

INSERT_FACTS = """
    INSERT INTO facts (shard, position, recorded_at, occurred_at, team_id, source, id, type, body, leaf)
    SELECT shard, position, $10, occurred_at, team_id, source, id, type, body, leaf
    FROM unnest($1::smallint[], $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],
                $8::bytea[], $9::bytea[])
        AS f (shard, position, occurred_at, team_id, source, id, type, body, leaf)
"""


class AlreadyStored(Exception):
    """One of the facts is in the log already; the transaction is void. Find out which, and append the others."""


class Place(NamedTuple):
    """Where a fact stands. `str()` gives what the outside knows: `shard:position`."""

    shard: int
    position: int

    def __str__(self) -> str:
        return f"{self.shard}:{self.position}"


class Ready(NamedTuple):
    """A fact packed but for its place."""

    shard: int
    new: NewFact
    type: str
    body: bytes
    packed: bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """The places of the facts, in the order given, and the moment they were recorded."""

    places: list[Place]
    recorded_at: datetime


def make_ready(new: NewFact) -> Ready:
    """Pack a fact. Raises UnicodeEncodeError for text that UTF-8 can't carry."""
    body, kind = new.fact.body(), new.fact.type
    return Ready(
        shard_of(new.team_id), new, kind, body,
        pack_known(new.occurred_at, new.team_id, new.source, new.id, kind, body),
    )  # fmt: skip


async def append(connection: Connection, facts: Iterable[NewFact]) -> Appended:
    """Append facts within the caller's transaction.

    Raises:
        AlreadyStored: an identity (team, source, id) is taken; nothing of this transaction will stay.
    """
    return await append_ready(connection, [make_ready(new) for new in facts])


async def append_ready(connection: Connection, facts: Sequence[Ready]) -> Appended:
    """As `append`, for facts that are packed already. The refills that are due go before them."""
    shards = sorted({fact.shard for fact in facts})
    heads = await connection.fetch(TAKE_HEADS, shards)
    recorded_at: datetime = max(head["recorded_at"] for head in heads)
    crashpoint("append:heads_taken")
    newcomers = {fact.new.team_id for fact in facts if type(fact.new.fact) is PlanAssigned}
    due = await refills_due(connection, {fact.new.team_id for fact in facts} - newcomers, recorded_at)
    in_order = (
        sorted([*map(make_ready, due), *facts], key=attrgetter("shard"))
        if due
        else sorted(facts, key=attrgetter("shard"))
    )
    await _write(connection, in_order, {head["shard"]: head for head in heads}, recorded_at)
    crashpoint("append:written")
    await move_cycles(connection, [fact.new for fact in in_order])
    positions = dict(zip(map(id, in_order), _places(in_order, heads), strict=True))
    return Appended([positions[id(fact)] for fact in facts], recorded_at)


def _places(in_order: Sequence[Ready], heads: Sequence[asyncpg.Record]) -> Iterable[Place]:
    following = {head["shard"]: head["next"] for head in heads}
    for fact in in_order:
        yield Place(fact.shard, following[fact.shard])
        following[fact.shard] += 1


async def _write(
    connection: Connection, in_order: Sequence[Ready], heads: dict[int, asyncpg.Record], recorded_at: datetime
) -> None:
    recorded = microseconds(recorded_at)
    rows: list[bytes] = []
    leaves: list[bytes] = []
    blocks: list[tuple[int, int, int, bytes, bytes]] = []
    for shard, group in groupby(in_order, key=attrgetter("shard")):
        first = position = heads[shard]["next"]
        start = len(leaves)
        for fact in group:
            row = pack_place(shard, position, recorded) + fact.packed
            rows.append(row)
            leaves.append(leaf_of(row))
            position += 1
        root = merkle_root(leaves[start:])
        blocks.append(
            (shard, first, position - 1, root, block_hash(shard, first, position - 1, heads[shard]["head"], root))
        )
    try:
        if len(rows) < COPY_FROM or heads[in_order[0].shard]["by_insert"]:
            await _insert(connection, in_order, blocks, leaves, recorded_at)
        else:
            await _copy(connection, rows, leaves)
    except asyncpg.UniqueViolationError as violation:
        if violation.constraint_name == "facts_identity":
            raise AlreadyStored(violation.detail) from violation
        raise
    await connection.execute(MOVE_HEADS, *map(list, zip(*blocks, strict=True)), recorded_at)


async def _copy(connection: Connection, rows: Sequence[bytes], leaves: Sequence[bytes]) -> None:
    columns, leaf_length = pack(">h", 10), pack(">i", 32)
    data = [b"PGCOPY\n\xff\r\n\0" + bytes(8)]
    for row, leaf in zip(rows, leaves, strict=True):
        data += (columns, row, leaf_length, leaf)
    data.append(b"\xff\xff")
    await connection.copy_to_table("facts", source=BytesIO(b"".join(data)), format="binary")


async def _insert(
    connection: Connection,
    in_order: Sequence[Ready],
    blocks: Sequence[tuple[int, int, int, bytes, bytes]],
    leaves: Sequence[bytes],
    recorded_at: datetime,
) -> None:
    positions = [position for _, first, last, _, _ in blocks for position in range(first, last + 1)]
    news = [fact.new for fact in in_order]
    await connection.execute(
        INSERT_FACTS,
        [fact.shard for fact in in_order], positions, [new.occurred_at for new in news],
        [new.team_id for new in news], [new.source for new in news], [new.id for new in news],
        [fact.type for fact in in_order], [fact.body for fact in in_order], list(leaves), recorded_at,
    )  # fmt: skip
