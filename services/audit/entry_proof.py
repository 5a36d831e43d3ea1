"""The proof of one fact, which anybody can check offline: from its bytes to a signed note. Pure.

docs/log-format.md has its shape. A path is hashes one after another, in base64.
"""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.places import Place
from services.audit.checkpoints import NoteInvalid, base64_of, hash_from, parse, signer_of
from services.audit.notes.tree import root_of_path
from services.audit.notes.vectors import SignedShard, leaf_text, line_of
from services.audit.verdict import LogProblem
from services.store.copying import microseconds
from services.store.proofs import GENESIS, block_hash, leaf_of, pack_known, pack_place
from services.store.shards import SHARDS

FORMAT = "creditwell proof 1"
HASH_BYTES = len(GENESIS)

Json = dict[str, Any]


def path_text(path: Sequence[bytes]) -> str:
    """A path as a proof has it."""
    return base64_of(b"".join(path))


def check_proof(proof: Mapping[str, Any], keys: Sequence[Ed25519PublicKey]) -> tuple[str | None, LogProblem | None]:
    """The key that signed, of those that are known, or what is wrong with a proof."""
    try:
        place = Place(proof["fact"]["shard"], proof["fact"]["position"])
        if proof["format"] != FORMAT:
            return None, LogProblem("format", f"it is no {FORMAT!r}")
        note = proof["note"]
        signed = parse(note["text"])
        root = root_of_path(_leaf_of_note(proof), note["number"] - 1, signed.size, _path(note["path"]))
        signer = signer_of(note["text"], keys)
    except NoteInvalid as invalid:
        return None, LogProblem("note", str(invalid))
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        return None, LogProblem("proof", f"it is no proof ({error!r})")
    if root != signed.root:
        return None, LogProblem(str(place), "this is not what the note signs")
    if keys and signer is None:
        return None, LogProblem("note", "it was not signed by a known key")
    return signer, None


def _leaf_of_note(proof: Mapping[str, Any]) -> bytes:
    """From the fact to the leaf of its note."""
    fact, block, grown, note = proof["fact"], proof["block"], proof["shard"], proof["note"]
    shard, first, last = fact["shard"], block["first"], block["last"]
    row = pack_place(shard, fact["position"], _microseconds(fact["recorded_at"])) + pack_known(
        datetime.fromisoformat(fact["occurred_at"]), fact["team_id"], fact["source"], fact["id"], fact["type"],
        fact["body"].encode(),
    )  # fmt: skip
    root = root_of_path(leaf_of(row), fact["position"] - first, last - first + 1, _path(block["path"]))
    link = block_hash(shard, first, last, hash_from(block["before"]), root)
    blocks = root_of_path(leaf_of(link), grown["index"], grown["size"], _path(grown["blocks"]))
    line = line_of(shard, SignedShard(grown["last"], hash_from(grown["head"]), blocks))
    shards = root_of_path(leaf_of(line.encode()), shard, SHARDS, _path(grown["path"]))
    text = leaf_text(datetime.fromisoformat(note["time"]), shards, unpublished=note["unpublished"])
    return leaf_of(text.encode())


def _microseconds(text: str) -> int:
    return microseconds(datetime.fromisoformat(text))


def _path(text: str) -> list[bytes]:
    """The hashes of a path. Raises ValueError."""
    data = b64decode(text, validate=True)
    if len(data) % HASH_BYTES:
        message = "a path is made of hashes"
        raise ValueError(message)
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
