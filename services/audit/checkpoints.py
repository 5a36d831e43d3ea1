"""Signed notes: how many checkpoints there are, and the root over them, in a text that anybody can keep and check.

A note is a C2SP signed note whose text is a tlog-checkpoint:

    creditwell/<log>                      origin, and the name of the key
    20419                                 how many leaves the tree has: this is note 20,419
    <base64>                              the root of RFC 6962 over them; each leaf is the vector of one note

    — creditwell/<log> <base64>           Ed25519 signature of the text

So any two notes of a log have a proof that the newer one continues the older one, and a witness may sign them, too. The
private key is 32 bytes in base64; the public key 32 bytes in base64, or the `name+id+key` that other tools for signed
notes read.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.store.proofs import GENESIS

KEY_BYTES = 32
ED25519 = b"\x01"  # the signature type of the signed-note specification
SIGNATURE = re.compile(r"— (\S+) (\S+)")
VERIFIER_KEY = re.compile(r"(\S+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{44})")


class NoteInvalid(ValueError):
    """A text is no note of ours, with what is wrong with it."""


class Checkpoint(NamedTuple):
    """What a note says: whose log, how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes


def origin_of(log: str) -> str:
    """The name of a log, and of its key."""
    return f"creditwell/{log}"


def text_of(checkpoint: Checkpoint) -> str:
    """The text that is signed."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{base64_of(checkpoint.root)}\n"


def parse(note: str) -> Checkpoint:
    """What a note says; its signature is for `signer_of`.

    Raises:
        NoteInvalid: it is malformed.
    """
    text, blank, _ = note.rpartition("\n\n")
    try:
        origin, size, root = text.split("\n")
        parsed = Checkpoint(origin, int(size), hash_from(root))
    except ValueError as error:
        message = f"it is no note of a Creditwell log ({error})"
        raise NoteInvalid(message) from error
    if not blank or not origin or parsed.size < 1 or text_of(parsed) != f"{text}\n":
        message = "it is no note of a Creditwell log"
        raise NoteInvalid(message)
    return parsed


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """The signed note."""
    text = text_of(checkpoint)
    signature = key_id(checkpoint.origin, key.public_key()) + key.sign(text.encode())
    return f"{text}\n— {checkpoint.origin} {base64_of(signature)}\n"


def signer_of(note: str, keys: Sequence[Ed25519PublicKey]) -> str | None:
    """The verifier key of that one of these keys which signed the note in the name of its log."""
    text, _, signatures = note.rpartition("\n\n")
    origin, signed = text.partition("\n")[0], f"{text}\n".encode()
    for name, signature in SIGNATURE.findall(signatures):
        for key in keys if name == origin else ():
            if _fits(key, bytes_or_nothing(signature), name, signed):
                return verifier_key(name, key)
    return None


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
    return f"{name}+{key_id(name, key).hex()}+{base64_of(ED25519 + key.public_bytes_raw())}"


def parse_signing_key(text: str) -> Ed25519PrivateKey:
    """The private key of `CREDITWELL_SIGNING_KEY`. Raises ValueError; the text is never in the message."""
    key = bytes_or_nothing(text)
    if len(key) != KEY_BYTES:
        message = "it is not 32 bytes in base64"
        raise ValueError(message)
    return Ed25519PrivateKey.from_private_bytes(key)


def parse_public_key(text: str) -> Ed25519PublicKey:
    """A public key in either form. Raises ValueError."""
    parts = VERIFIER_KEY.fullmatch(text)
    key = bytes_or_nothing(parts[3])[1:] if parts else bytes_or_nothing(text)
    if len(key) != KEY_BYTES:
        message = f"{text!r} is not an Ed25519 public key: 32 bytes in base64, or name+id+key"
        raise ValueError(message)
    return Ed25519PublicKey.from_public_bytes(key)


def new_key_pair() -> tuple[str, str]:
    """A new private key and its public half, in base64."""
    key = Ed25519PrivateKey.generate()
    return base64_of(key.private_bytes_raw()), base64_of(key.public_key().public_bytes_raw())


def base64_of(data: bytes) -> str:
    """As hashes, keys and signatures are written."""
    return b64encode(data).decode()


def hash_from(text: str) -> bytes:
    """A hash that was written in base64. Raises ValueError."""
    data = b64decode(text, validate=True)
    if len(data) != len(GENESIS):
        message = f"{text!r} is not a SHA-256 hash in base64"
        raise ValueError(message)
    return data


def bytes_or_nothing(text: str) -> bytes:
    """What was written in base64; nothing where it was not."""
    try:
        return b64decode(text, validate=True)
    except (NotBase64, ValueError):
        return b""
