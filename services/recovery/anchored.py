"""What anchors say of the lost facts: a signed note that lies outside the database proves them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.audit.anchors import anchors_in, parse_anchor, read_anchor
from services.audit.checkpoints import NoteInvalid, origin_of, parse_public_key, signer_of
from services.audit.notes.checking import NEWEST
from services.audit.sign_log import LOG, Signed
from services.recovery.tail import Tail
from services.runtime.settings import Settings
from services.store.connect import Connection


def proven_by(settings: Settings) -> list[Signed]:
    """The newest anchor that a known key signed, if there is one."""
    keys = [parse_public_key(text.strip()) for text in (settings.public_key or "").split(",") if text.strip()]
    files = [] if settings.anchors is None else anchors_in(settings.anchors)
    for file in reversed(files):
        anchor = _read(file, keys)
        if anchor is not None:
            return [anchor]
    return []


def _read(file: Path, keys: list[Ed25519PublicKey]) -> Signed | None:
    try:
        anchor = parse_anchor(read_anchor(file))
    except NoteInvalid:
        return None
    return anchor if signer_of(anchor.note, keys) is not None else None


async def lost_notes(connection: Connection, anchors: Sequence[Signed]) -> tuple[int, int] | None:
    """The first and the last note that the store lacks and that these anchors know of."""
    origin, newest = origin_of(await connection.fetchval(LOG)), await connection.fetchval(NEWEST)
    last = max((one.number for one in anchors if one.checkpoint.origin == origin), default=0)
    return (newest + 1, last) if last > newest else None


def proven(anchors: Sequence[Signed], log: str, tails: Mapping[int, Tail]) -> dict[int, int]:
    """The last position of each shard that an anchor covers: the chain comes to the very hash that it says."""
    reached: dict[int, int] = {}
    for anchor in anchors:
        if anchor.checkpoint.origin != origin_of(log):
            continue
        for shard, signed in anchor.vector.shards.items():
            blocks = tails[shard].blocks if shard in tails else ()
            if any((last, hash_) == (signed.last, signed.head) for _, _, last, _, hash_ in blocks):
                reached[shard] = max(reached.get(shard, 0), signed.last)
    return reached
