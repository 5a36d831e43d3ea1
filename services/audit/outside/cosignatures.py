"""A witness that signs a note only where it continues the last one that it signed (C2SP tlog-witness).

So nobody can show one log to the auditor and another one to the witness: there is one history, or no cosignature. A
cosignature is one more signature line of the note, `cosignature/v1` with Ed25519, and carries the witness's time.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.audit.anchors import note_of
from services.audit.checkpoints import KEY_BYTES, SIGNATURE, VERIFIER_KEY, base64_of, bytes_or_nothing
from services.audit.outside.witness import Anchored, PathSince, WitnessAnswer, WitnessFailed, post

if TYPE_CHECKING:
    import httpx2  # loaded by whoever asks, and by nobody else

COSIGNATURE = b"\x04"  # the signature type of a cosignature/v1
ID_BYTES, TIME_BYTES, SIGNATURE_BYTES = 4, 8, 64
CONFLICT, SIZE_TYPE = 409, "text/x.tlog.size"
SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
MEANINGS = {
    403: "it does not know the key that signed the note",
    404: "it does not know this log",
    409: "it has cosigned another note of this number: somebody rewrote the past",
    422: "what it cosigned before is not the beginning of this log: somebody rewrote the past",
}


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness and its key."""

    witness: str
    key: Ed25519PublicKey
    suffix: str = ".cosigned"

    @classmethod
    def parse(cls, text: str) -> "Cosigner":
        """From the form `name+id+key` in which witnesses publish their keys. Raises ValueError."""
        parts = VERIFIER_KEY.fullmatch(text)
        key = bytes_or_nothing(parts[3]) if parts else b""
        if parts is None or len(key) != 1 + KEY_BYTES or key[:1] != COSIGNATURE:
            message = f"{text!r} is not the Ed25519 key of a witness: name+id+key, of type 4"
            raise ValueError(message)
        cosigner = cls(parts[1], Ed25519PublicKey.from_public_bytes(key[1:]))
        if cosigner.key_id.hex() != parts[2]:
            message = f"{text!r} is not the key of a witness: name and key do not make the id"
            raise ValueError(message)
        return cosigner

    @property
    def name(self) -> str:
        """How verdicts, logs and metrics call it."""
        return f"witness {self.witness}"

    @property
    def key_id(self) -> bytes:
        """The four bytes by which a cosignature names its key."""
        return sha256(self.witness.encode() + b"\n" + COSIGNATURE + self.key.public_bytes_raw()).digest()[:ID_BYTES]

    def check(self, anchor: str, word: bytes) -> datetime:
        """When it cosigned the note of an anchor. Raises WitnessFailed."""
        text = _text_of(note_of(anchor))
        try:
            note = word.decode()
        except UnicodeDecodeError as error:
            message = "it is no text"
            raise WitnessFailed(message) from error
        if _text_of(note) != text:
            message = "it is not the note of this anchor"
            raise WitnessFailed(message)
        for line in note.removeprefix(f"{text}\n").splitlines():
            at = self.cosigned_at(text, line)
            if at is not None:
                return at
        message = f"{self.witness} did not cosign it"
        raise WitnessFailed(message)

    def cosigned_at(self, text: str, line: str) -> datetime | None:
        """When a signature line was made, if it is a cosignature of this witness for that text."""
        parts = SIGNATURE.fullmatch(line)
        written = parts[2] if parts and parts[1] == self.witness else ""
        data = bytes_or_nothing(written)
        if len(data) != ID_BYTES + TIME_BYTES + SIGNATURE_BYTES or data[:ID_BYTES] != self.key_id:
            return None
        if base64_of(data) != written:  # the last bits of base64 are nobody's: there is one way to write it
            return None
        seconds = int.from_bytes(data[ID_BYTES : ID_BYTES + TIME_BYTES], "big")
        try:
            self.key.verify(data[ID_BYTES + TIME_BYTES :], f"cosignature/v1\ntime {seconds}\n{text}".encode())
            return datetime.fromtimestamp(seconds, UTC)
        except (InvalidSignature, ValueError, OverflowError, OSError):  # a time that no calendar has
            return None


@dataclass(slots=True)
class CosigningWitness:
    """A witness that is asked over HTTP.

    Attributes:
        cosigned: the number of the note that it cosigned last, as far as is known; it says so where we are wrong.
    """

    url: str
    attestor: Cosigner
    cosigned: int = 0

    async def ask(self, http: "httpx2.AsyncClient", anchored: Anchored, path_since: PathSince) -> bytes:
        """The note with a cosignature. Raises WitnessFailed, and as `Witness.ask`."""
        answer = await self._add(http, anchored, path_since)
        if answer.status == CONFLICT and (size := self._size(answer, anchored)) is not None:
            self.cosigned = size
            answer = await self._add(http, anchored, path_since)
        if answer.status != 200:
            message = f"it answered {answer.status}: {MEANINGS.get(answer.status, repr(answer.body[:200]))}"
            raise WitnessFailed(message)
        self.cosigned = anchored.signed.number
        note = anchored.signed.note
        lines = answer.body.decode(errors="replace").splitlines()
        ours = [line for line in lines if self.attestor.cosigned_at(_text_of(note), line) is not None]
        return (note + "".join(f"{line}\n" for line in ours)).encode()

    async def _add(self, http: "httpx2.AsyncClient", anchored: Anchored, path_since: PathSince) -> WitnessAnswer:
        old = min(self.cosigned, anchored.signed.number)
        path = await path_since(old) if old else ()
        lines = "".join(f"{line}\n" for line in (f"old {old}", *map(base64_of, path), ""))
        url = f"{self.url.rstrip('/')}/add-checkpoint"
        return await post(http, url, (lines + anchored.signed.note).encode(), "text/plain; charset=utf-8")

    def _size(self, answer: WitnessAnswer, anchored: Anchored) -> int | None:
        """What it cosigned last, where that is the reason.

        Raises:
            WitnessFailed: it knows a newer note than the anchor's.
        """
        size = SIZE.fullmatch(answer.body)
        if size is None or answer.content_type.partition(";")[0].strip() != SIZE_TYPE:
            return None
        if (number := int(size[1])) > anchored.signed.number:
            message = f"it has cosigned checkpoint {number}, newer than {anchored.signed.number}: facts were taken away, or an old backup was restored"
            raise WitnessFailed(message)
        return number


def _text_of(note: str) -> str:
    """What is signed of a note."""
    return note.rpartition("\n\n")[0] + "\n"
