"""The only way into the log, for the recorder's batches and for a single fact of the API alike.

Lock order everywhere: cursor row, head rows ascending, checkpoint. Everything that can be worked out before the heads
are taken is: the caller has parsed, priced and looked for duplicates, and rows are packed but for their place.

A violated identity aborts the caller's transaction as `AlreadyStored`; who expects duplicates asks `identities.find`
first. So the case without duplicates, which is nearly always, pays nothing for it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import chain, groupby
from operator import itemgetter
from struct import pack
from typing import NamedTuple

import asyncpg

from schemas.facts import NewFact, PlanAssigned
from schemas.places import Place
from services.runtime.crashpoints import crashpoint
from services.runtime.tracing.context import NO_TRAIL, current_trail
from services.store.beside.traces import kept_at
from services.store.claims import renumbered
from services.store.connect import Connection, in_memory
from services.store.copying import COPY_BEGIN, COPY_END, microseconds
from services.store.cycles import move_cycles, refills_due
from services.store.proofs import block_hash, merkle_root, pack_known, rows_and_leaves
from services.store.sessions.bell import note_append
from services.store.shards import shard_of

BY_SHARD = itemgetter(0)  # of `Ready`
COPY_ROWS_MIN = 64  # a few rows are quicker by INSERT; roles under row-level security may not COPY at all

TAKE_HEADS = "SELECT shard, next, head, recorded_at, by_insert, refills_due FROM take_heads($1, $2, $3)"

CHAIN = """
    block AS (
        SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])
            AS b (shard, first, last, root, hash)
    ), chained AS (
        INSERT INTO blocks (shard, first, last, root, hash) SELECT shard, first, last, root, hash FROM block
    )
    UPDATE shard_heads SET next = block.last + 1, head = block.hash, recorded_at = $6
    FROM block WHERE shard_heads.shard = block.shard
"""

MOVE_HEADS = f"WITH {CHAIN}"

# A few facts and the heads behind them in one round trip, for everybody else waits until COMMIT.
FACTS = """
    fact AS (
        INSERT INTO facts (shard, position, recorded_at, occurred_at, team_id, source, id, type, body, leaf)
        SELECT shard, position, $6, occurred_at, team_id, source, id, type, body, leaf
        FROM unnest($7::smallint[], $8::bigint[], $9::timestamptz[], $10::text[], $11::text[], $12::text[], $13::text[],
                    $14::bytea[], $15::bytea[])
            AS f (shard, position, occurred_at, team_id, source, id, type, body, leaf)
        RETURNING position
    ), appended AS (
        SELECT count(*) FROM fact
    )
"""
FACTS_PARAMETERS = 15


BlockRow = tuple[int, int, int, bytes, bytes]  # shard, first, last, root, hash


class Beside(NamedTuple):
    """What an append writes besides, in one statement with the facts and after them: nobody waits for one more answer.

    It selects from `appended`, which has one row, and counts its parameters from $1.
    """

    sql: str
    arguments: Sequence[object]


# What is written besides, once it is known where the facts, in the order given, will stand.
WriteBeside = Callable[[Sequence[Place]], Sequence[Beside]]


class Packed(NamedTuple):
    """Facts in the order of their shards, as the table wants them.

    Row and leaf of each, and the block of each shard.
    """

    rows: list[bytes]
    leaves: list[bytes]
    blocks: list[BlockRow]


class AlreadyStored(Exception):
    """One of the facts is in the log already; the transaction is void. Find out which, and append the others."""


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
    team_id, source, id_, occurred_at, fact = new
    body, kind = fact.body(), fact.type
    packed = pack_known(occurred_at, team_id, source, id_, kind, body)
    # As `Ready(…)`, which takes twice as long: this is done for every fact.
    return tuple.__new__(Ready, (shard_of(team_id), new, kind, body, packed))


class LockedHead(NamedTuple):
    """The end of a shard, locked until COMMIT: where the next fact goes, and when.

    `refills_due` tells whether one of the teams that were named has entered a cycle whose refill is not in the log yet.
    """

    shard: int
    next: int
    hash: bytes
    recorded_at: datetime
    by_insert: bool
    refills_due: bool


async def take_head(connection: Connection, team_id: str) -> LockedHead:
    """Lock the head of a team's shard until COMMIT, so that what is read now is still so when it is acted upon."""
    shard = shard_of(team_id)
    (head,) = await _take_heads(connection, [shard], {team_id: shard})
    return head


async def lock_shard(connection: Connection, team_id: str) -> datetime:
    """As `take_head`; the time by the database's clock, never before the shard's last fact."""
    return (await take_head(connection, team_id)).recorded_at


async def _take_heads(connection: Connection, shards: list[int], teams: Mapping[str, int]) -> list[LockedHead]:
    return [LockedHead(*row) for row in await connection.fetch(TAKE_HEADS, shards, list(teams.values()), list(teams))]


async def append(
    connection: Connection, facts: Iterable[NewFact], head: LockedHead | None = None, beside: WriteBeside | None = None
) -> Appended:
    """Append facts within the caller's transaction, at most a few where something is written `beside`.

    `head` is the one that the caller has taken for the one team of all these facts, and not appended to since.

    Raises:
        AlreadyStored: an identity (team, source, id) is taken; nothing of this transaction will stay.
    """
    return await append_ready(connection, [make_ready(new) for new in facts], head, beside)


async def append_ready(
    connection: Connection, facts: Sequence[Ready], head: LockedHead | None = None, beside: WriteBeside | None = None
) -> Appended:
    """As `append`, for facts that are packed already. The refills that are due go before them.

    Raises:
        AlreadyStored: one of the facts has an identity that is in the log.
    """
    newcomers = {fact.new.team_id for fact in facts if type(fact.new.fact) is PlanAssigned}
    teams = {fact.new.team_id: fact.shard for fact in facts if fact.new.team_id not in newcomers}
    shards = sorted({fact.shard for fact in facts})
    heads = [head] if head is not None else await _take_heads(connection, shards, teams)
    recorded_at = heads[0].recorded_at
    crashpoint("append:heads_taken")
    due = await refills_due(connection, teams, recorded_at, known_zones=True) if heads[0].refills_due else []
    in_order = sorted([*map(make_ready, due), *facts], key=BY_SHARD)
    positions = dict(zip(map(id, in_order), _places(in_order, heads), strict=True))
    places = [positions[id(fact)] for fact in facts]
    await _write(connection, in_order, heads, [*(beside(places) if beside is not None else ()), *_traced(places)])
    crashpoint("append:written")
    await move_cycles(connection, [fact.new for fact in in_order])
    return Appended(places, recorded_at)


def _traced(places: Sequence[Place]) -> Iterable[Beside]:
    """Of which request and in which trace these facts come to be, where somebody has said so."""
    if (trail := current_trail()) != NO_TRAIL:
        yield Beside(*kept_at(places, trail))


async def append_plain(connection: Connection, facts: Sequence[Ready]) -> datetime | None:
    """As `append_ready`, for usage that names no hold: it opens no cycle and nobody asks for its places.

    When it was recorded; None where refills are due, with nothing done but the heads taken: `append_ready` goes on.

    Raises:
        AlreadyStored: one of the facts has an identity that is in the log.
    """
    by_team: defaultdict[str, list[Ready]] = defaultdict(list)
    for fact in facts:
        by_team[fact.new.team_id].append(fact)
    teams = {team_id: of_team[0].shard for team_id, of_team in by_team.items()}
    heads = await _take_heads(connection, sorted({*teams.values()}), teams)
    if heads[0].refills_due:
        return None
    crashpoint("append:heads_taken")
    # Of a shard team by team: what lies together in an index is written together.
    in_order = [fact for team_id in sorted(teams, key=lambda one: (teams[one], one)) for fact in by_team[team_id]]
    await _write(connection, in_order, heads)
    crashpoint("append:written")
    return heads[0].recorded_at


async def _write(
    connection: Connection, in_order: Sequence[Ready], heads: Sequence[LockedHead], beside: Sequence[Beside] = ()
) -> None:
    recorded_at = heads[0].recorded_at
    packed = _pack(in_order, {head.shard: head for head in heads}, recorded_at)
    try:
        if len(in_order) < COPY_ROWS_MIN or heads[0].by_insert or beside:
            await _insert(connection, in_order, packed, recorded_at, beside)
        else:
            await _copy(connection, packed)
            await connection.execute(MOVE_HEADS, *map(list, zip(*packed.blocks, strict=True)), recorded_at)
        note_append(connection)
    except asyncpg.UniqueViolationError as violation:
        if violation.constraint_name == "facts_identity":
            raise AlreadyStored(violation.detail) from violation
        raise


def _places(in_order: Sequence[Ready], heads: Sequence[LockedHead]) -> Iterable[Place]:
    following = {head.shard: head.next for head in heads}
    for fact in in_order:
        yield Place(fact.shard, following[fact.shard])
        following[fact.shard] += 1


def _pack(in_order: Sequence[Ready], heads: Mapping[int, LockedHead], recorded_at: datetime) -> Packed:
    """The facts at their places; those of a shard are one block of its chain."""
    recorded = microseconds(recorded_at)
    rows: list[bytes] = []
    leaves: list[bytes] = []
    blocks: list[BlockRow] = []
    for shard, group in groupby(in_order, key=BY_SHARD):
        first = heads[shard].next
        mine, hashes = rows_and_leaves(shard, first, recorded, [fact.packed for fact in group])
        rows += mine
        leaves += hashes
        last, root = first + len(mine) - 1, merkle_root(hashes)
        blocks.append((shard, first, last, root, block_hash(shard, first, last, heads[shard].hash, root)))
    return Packed(rows, leaves, blocks)


async def _copy(connection: Connection, packed: Packed) -> None:
    columns, leaf_length = pack(">h", 10), pack(">i", 32)
    data = [COPY_BEGIN]
    for row, leaf in zip(packed.rows, packed.leaves, strict=True):
        data += (columns, row, leaf_length, leaf)
    data.append(COPY_END)
    await connection.copy_to_table("facts", source=in_memory(b"".join(data)), format="binary")


async def _insert(
    connection: Connection, in_order: Sequence[Ready], packed: Packed, recorded_at: datetime, beside: Sequence[Beside]
) -> None:
    positions = [position for _, first, last, _, _ in packed.blocks for position in range(first, last + 1)]
    news = [fact.new for fact in in_order]
    insert = _insert_facts(tuple((sql, len(arguments)) for sql, arguments in beside))
    await connection.execute(
        insert, *map(list, zip(*packed.blocks, strict=True)), recorded_at,
        [fact.shard for fact in in_order], positions, [new.occurred_at for new in news],
        [new.team_id for new in news], [new.source for new in news], [new.id for new in news],
        [fact.type for fact in in_order], [fact.body for fact in in_order], packed.leaves,
        *chain.from_iterable(arguments for _, arguments in beside),
    )  # fmt: skip


@cache
def _insert_facts(beside: tuple[tuple[str, int], ...]) -> str:
    """With what is written beside, each given with how many parameters it has."""
    parts, before = [FACTS], FACTS_PARAMETERS
    for number, (sql, parameters) in enumerate(beside):
        parts.append(f"beside_{number} AS ({renumbered(sql, before)})")
        before += parameters
    return f"WITH {', '.join(parts)}, {CHAIN}"
