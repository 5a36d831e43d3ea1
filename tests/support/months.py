"""Some teams' pasts over several months, laid into the log with all their proofs, and a note after each month."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.facts import Stored, UsageVoided
from services.audit.sign_log import sign_log
from services.export.archive import bounds_of
from services.store.connect import Connection
from services.store.copying import microseconds
from services.store.proofs import GENESIS, block_hash, leaf_of, merkle_root, pack_known, pack_place
from services.store.shards import shard_of
from tests.support.heads import heads_unguarded
from tests.support.past import VOIDED, Past

TEAMS = ("team_past", "team_b", "team_c")
BLOCK_MAX = 5

INSERT = """
    INSERT INTO facts (shard, position, recorded_at, occurred_at, team_id, source, id, type, body, leaf)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
BLOCK = "INSERT INTO blocks (shard, first, last, root, hash) VALUES ($1, $2, $3, $4, $5)"
HEAD = "UPDATE shard_heads SET next = $2, head = $3, recorded_at = $4 WHERE shard = $1"


def month_of(at: datetime) -> str:
    return f"{at:%Y-%m}"


def told(facts: int, seed: int) -> list[Stored]:
    """What happened to the teams, each in a shard of its own, in the order in which it was recorded."""
    logs = []
    for number, team_id in enumerate(TEAMS):
        log = Past(Random(seed + number)).tell(facts)
        logs += [stored._replace(team_id=team_id, shard=shard_of(team_id)) for stored in log]
    return sorted(logs, key=lambda stored: (stored.recorded_at, stored.shard, stored.position))


async def lay_months(connection: Connection, log: Sequence[Stored], key: Ed25519PrivateKey) -> list[str]:
    """Lay all of it; a note is signed a minute after each month. The months."""
    heads: dict[int, bytes] = {}
    months = []
    for month, of_month in groupby(log, key=lambda stored: month_of(stored.recorded_at)):
        facts = list(of_month)
        for shard in sorted({stored.shard for stored in facts}):
            await _lay(connection, [stored for stored in facts if stored.shard == shard], heads)
        await sign_log(connection, key, bounds_of(month)[1].replace(minute=1))
        months.append(month)
    return months


async def _lay(connection: Connection, facts: Sequence[Stored], heads: dict[int, bytes]) -> None:
    shard = facts[0].shard
    for block in _blocks(facts):
        leaves = [_leaf(stored) for stored in block]
        root = merkle_root(leaves)
        first, last = block[0].position, block[-1].position
        heads[shard] = block_hash(shard, first, last, heads.get(shard, GENESIS), root)
        await connection.executemany(INSERT, [(*stored, leaf) for stored, leaf in zip(block, leaves, strict=True)])
        await connection.execute(BLOCK, shard, first, last, root, heads[shard])
    voids = [(stored, stored.fact()) for stored in facts]
    taken = [
        (shard, stored.team_id, fact.usage_position, stored.position)
        for stored, fact in voids
        if isinstance(fact, UsageVoided)
    ]
    await connection.executemany(VOIDED, taken)
    async with heads_unguarded(connection):
        await connection.execute(HEAD, shard, facts[-1].position + 1, heads[shard], facts[-1].recorded_at)


def _blocks(facts: Sequence[Stored]) -> Iterator[list[Stored]]:
    """As appends are: of facts that were recorded at one moment."""
    for _, at_once in groupby(facts, key=lambda stored: stored.recorded_at):
        block = list(at_once)
        yield from (block[at : at + BLOCK_MAX] for at in range(0, len(block), BLOCK_MAX))


def _leaf(stored: Stored) -> bytes:
    return leaf_of(
        pack_place(stored.shard, stored.position, microseconds(stored.recorded_at)) + pack_known(*stored[3:])
    )
