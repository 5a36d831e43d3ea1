"""Proving one fact: its block, its shard's line in a note, and the note, read from the database.

Whoever sees one team alone may ask: of other teams only hashes are read.
"""

from typing import Any

from asyncpg import Record

from schemas.instants import instant
from schemas.places import Place
from services.audit.checkpoints import base64_of
from services.audit.entry_proof import FORMAT, Json, check_proof, path_text
from services.audit.notes.tree import inclusion, path_in, root_of
from services.audit.notes.vectors import ShardTree
from services.audit.sign_log import signed_shards, tree_nodes
from services.runtime.errors import LogChanged, Refused
from services.store.connect import Connection
from services.store.proofs import leaf_of
from services.store.read import FACT_COLUMNS, stored_of

FACT = f"SELECT {FACT_COLUMNS} FROM facts WHERE shard = $1 AND position = $2 AND ($3::text IS NULL OR team_id = $3)"
BLOCK = """
    SELECT b.first, b.last, before.hash AS before, (SELECT array_agg(l.leaf ORDER BY l.place)
                                                    FROM leaves_of_block(b.shard, b.last) AS l) AS leaves
    FROM blocks AS b LEFT JOIN blocks AS before ON before.shard = b.shard AND before.last = b.first - 1
    WHERE b.shard = $1 AND b.last >= $2 ORDER BY b.last LIMIT 1
"""
LINE = """
    SELECT number, last, head, (SELECT coalesce(max(last), 0) FROM signed_shards WHERE shard = $1 AND last < $2) AS before
    FROM signed_shards WHERE shard = $1 AND last >= $2 ORDER BY last LIMIT 1
"""
HASHES = "SELECT last, hash FROM blocks WHERE shard = $1 AND last > $2 AND last <= $3 ORDER BY last"
NOTE = "SELECT number, signed_at, unpublished, note FROM signed_checkpoints WHERE number = $1"


async def prove(connection: Connection, place: Place, team_id: str | None = None, *, to: int | None = None) -> Json:
    """The proof of a fact, of this team where one is given, in the caller's snapshot.

    It leads to the first note that covers the fact, or to the newer note `to`.

    Raises:
        Refused: `unknown_entry`; `not_signed_yet`, no note covers it; `unknown_checkpoint`, `to` is none or an
            older one.
        LogChanged: what is stored of the notes is incomplete.
    """
    shard, position = place
    row = await connection.fetchrow(FACT, shard, position, team_id)
    if row is None:
        raise Refused("unknown_entry", f"there is no entry at {place}")
    fact = stored_of(row)
    line = await connection.fetchrow(LINE, shard, position)
    if line is None:
        raise Refused("not_signed_yet", f"no signed checkpoint covers {place} yet; ask again in a minute")
    block = await connection.fetchrow(BLOCK, shard, position)
    if block is None or block["leaves"] is None or len(block["leaves"]) <= block["last"] - block["first"]:
        message = f"the proof of {place} was taken away; run `creditwell verify`"
        raise LogChanged(message)
    return _checked(place, {
        "format": FORMAT,
        "fact": {
            "shard": shard, "position": position, "recorded_at": instant(fact.recorded_at),
            "occurred_at": instant(fact.occurred_at), "team_id": fact.team_id, "source": fact.source, "id": fact.id,
            "type": fact.type, "body": _text(fact.body),
        },
        "block": {
            "first": block["first"], "last": block["last"], "before": base64_of(block["before"] or bytes(32)),
            "path": path_text(path_in(block["leaves"], position - block["first"])),
        },
        "shard": await _shard(connection, shard, line, block["last"]),
        "note": await _note(connection, line["number"], to or line["number"]),
    })  # fmt: skip


def _text(body: bytes | None) -> str:
    """Every body is JSON in UTF-8; what is not was never stored by us, and fits no proof."""
    return (body or b"").decode("utf-8", errors="replace")


def _checked(place: Place, proof: Json) -> Json:
    """A proof that holds, whoever signed it."""
    _, problem = check_proof(proof, ())
    if problem is not None:
        message = f"what is stored does not prove {place} ({problem.what}); run `creditwell verify`"
        raise LogChanged(message)
    return proof


async def _shard(connection: Connection, shard: int, line: Record, end: int) -> Json:
    """The line of the shard in its note, the way to it from the block that ends at `end`, and its way to the vector."""
    hashes = await connection.fetch(HASHES, shard, line["before"], line["last"])
    index = [one["last"] for one in hashes].index(end)
    tree = ShardTree(await signed_shards(connection, line["number"]))
    return {
        "last": line["last"], "head": base64_of(line["head"]), "index": index, "size": len(hashes),
        "blocks": path_text(path_in([leaf_of(one["hash"]) for one in hashes], index)),
        "path": path_text(tree.path(shard)),
    }  # fmt: skip


async def _note(connection: Connection, number: int, to: int) -> dict[str, Any]:
    """The leaf of note `number`, and its way to the root of note `to`."""
    leaf = await connection.fetchrow(NOTE, number)
    note = await connection.fetchrow(NOTE, to) if to >= number else None
    if leaf is None or note is None:
        raise Refused("unknown_checkpoint", f"the log has no checkpoint {to} that covers the entry")
    spans = inclusion(number - 1, to)
    nodes = await tree_nodes(connection, spans)
    return {
        "number": number, "time": instant(leaf["signed_at"]), "unpublished": leaf["unpublished"],
        "path": path_text([root_of(span, nodes) for span in spans]), "text": note["note"],
    }  # fmt: skip
