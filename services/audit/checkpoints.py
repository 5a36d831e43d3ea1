"""Signed checkpoints: what the whole log was at one moment, in a note that anybody can keep and check.

A note is a C2SP signed note whose text is a tlog-checkpoint:

    creditwell/<log>                      origin, and the name of the key
    1234567                               size: the facts in all shards
    <base64>                              root: the Merkle tree (RFC 9162) over the leaves (shard, last, head) of 64
                                          shards
    time 2026-11-23T10:15:30.123456Z      when it was signed
    previous <base64>                     SHA-256 of the whole note before; 32 zeros for the first
    shard 31 20418 <base64>               of each shard that has facts: its last position, its last block's hash

    — creditwell/<log> <base64>           Ed25519 signature of the text

A leaf is SHA-256(0x00, shard 2 bytes, last 8 bytes, head 32 bytes). The private key is 32 bytes in base64; the public
key 32 bytes in base64, or the `name+id+key` that other tools for signed notes read.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from struct import Struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.instants import instant
from services.store.proofs import GENESIS, merkle_root
from services.store.shards import SHARDS

KEY_BYTES = 32
ED25519 = b"\x01"  # the signature type of the signed-note specification
SIGNATURE = re.compile(r"— (\S+) (\S+)")
VERIFIER_KEY = re.compile(r"(\S+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{44})")
_LEAF = Struct(">chq")


class NoteInvalid(ValueError):
    """A text is no note of ours, with what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ShardHead:
    """The end of one shard: its last position, and the hash of its last block."""

    last: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a note says. `heads` has the shards that have facts."""

    origin: str
    signed_at: datetime
    previous: bytes
    heads: Mapping[int, ShardHead] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The facts in all shards."""
        return sum(head.last for head in self.heads.values())

    @property
    def root(self) -> bytes:
        """The Merkle root over all shards."""
        empty = ShardHead(0, GENESIS)
        return merkle_root([leaf_of_head(shard, self.heads.get(shard, empty)) for shard in range(SHARDS)])


def origin_of(log: str) -> str:
    """The name of a log, and of its key."""
    return f"creditwell/{log}"


def leaf_of_head(shard: int, head: ShardHead) -> bytes:
    """The leaf of a shard in the tree over all shards."""
    return sha256(_LEAF.pack(b"\x00", shard, head.last) + head.hash).digest()


def text_of(checkpoint: Checkpoint) -> str:
    """The text that is signed."""
    return "".join(
        f"{line}\n"
        for line in (
            checkpoint.origin,
            str(checkpoint.size),
            _base64(checkpoint.root),
            f"time {instant(checkpoint.signed_at)}",
            f"previous {_base64(checkpoint.previous)}",
            *(f"shard {shard} {head.last} {_base64(head.hash)}" for shard, head in sorted(checkpoint.heads.items())),
        )
    )


def parse(note: str) -> Checkpoint:
    """What a note says; its signature is for `signature_fits`.

    Raises:
        NoteInvalid: it is malformed, or its size or root do not follow from its shards.
    """
    text, blank, _ = note.rpartition("\n\n")
    try:
        origin, _, _, time, previous, *shards = text.split("\n")
        signed_at = datetime.fromisoformat(time.removeprefix("time "))
        parsed = Checkpoint(origin, signed_at, _bytes(previous.removeprefix("previous ")), dict(map(_head, shards)))
        exact = text_of(parsed)
    except ValueError as error:
        message = f"it is no note of a Creditwell log ({error})"
        raise NoteInvalid(message) from error
    if not blank or exact != f"{text}\n":
        message = "its size and its root do not follow from its shards"
        raise NoteInvalid(message)
    return parsed


def _head(line: str) -> tuple[int, ShardHead]:
    word, shard, last, head = line.split(" ")
    if word != "shard" or not 0 <= int(shard) < SHARDS:
        message = f"unknown line {line!r}"
        raise ValueError(message)
    return int(shard), ShardHead(int(last), _bytes(head))


def note_hash(note: str) -> bytes:
    """How the next note names this one."""
    return sha256(note.encode()).digest()


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """The signed note."""
    text = text_of(checkpoint)
    signature = key_id(checkpoint.origin, key.public_key()) + key.sign(text.encode())
    return f"{text}\n— {checkpoint.origin} {_base64(signature)}\n"


def signature_fits(note: str, keys: Sequence[Ed25519PublicKey]) -> bool:
    """True if one of these keys signed the note."""
    text, _, signatures = note.rpartition("\n\n")
    signed = f"{text}\n".encode()
    return any(
        _fits(key, _bytes_or_nothing(signature), name, signed)
        for name, signature in SIGNATURE.findall(signatures)
        for key in keys
    )


def _fits(key: Ed25519PublicKey, signature: bytes, name: str, signed: bytes) -> bool:
    if signature[:4] != key_id(name, key):
        return False
    try:
        key.verify(signature[4:], signed)
    except InvalidSignature:
        return False
    return True


def key_id(name: str, key: Ed25519PublicKey) -> bytes:
    """The four bytes by which a signature names its key."""
    return sha256(name.encode() + b"\n" + ED25519 + key.public_bytes_raw()).digest()[:4]


def verifier_key(name: str, key: Ed25519PublicKey) -> str:
    """The public key as other tools for signed notes want it."""
    return f"{name}+{key_id(name, key).hex()}+{_base64(ED25519 + key.public_bytes_raw())}"


def parse_signing_key(text: str) -> Ed25519PrivateKey:
    """The private key of `CREDITWELL_SIGNING_KEY`. Raises ValueError; the text is never in the message."""
    key = _bytes_or_nothing(text)
    if len(key) != KEY_BYTES:
        message = "it is not 32 bytes in base64"
        raise ValueError(message)
    return Ed25519PrivateKey.from_private_bytes(key)


def parse_public_key(text: str) -> Ed25519PublicKey:
    """A public key in either form. Raises ValueError."""
    parts = VERIFIER_KEY.fullmatch(text)
    key = _bytes_or_nothing(parts[3])[1:] if parts else _bytes_or_nothing(text)
    if len(key) != KEY_BYTES:
        message = f"{text!r} is not an Ed25519 public key: 32 bytes in base64, or name+id+key"
        raise ValueError(message)
    return Ed25519PublicKey.from_public_bytes(key)


def new_key_pair() -> tuple[str, str]:
    """A new private key and its public half, in base64."""
    key = Ed25519PrivateKey.generate()
    return _base64(key.private_bytes_raw()), _base64(key.public_key().public_bytes_raw())


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _bytes(text: str) -> bytes:
    data = b64decode(text, validate=True)
    if len(data) != len(GENESIS):
        message = f"{text!r} is not a SHA-256 hash in base64"
        raise ValueError(message)
    return data


def _bytes_or_nothing(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (NotBase64, ValueError):
        return b""
