"""An authority that stamps the time of what it is shown (RFC 3161).

It signs the SHA-256 of the anchor's file together with its own time, and learns nothing else. The whole response is
kept, so that others need no code of ours:

    openssl ts -verify -data N.anchor -in N.anchor.tsr -CAfile ca.pem
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography.x509 import Certificate, load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerifierBuilder,
    decode_timestamp_response,
)

from services.audit.outside.witness import Anchored, PathSince, WitnessFailed, post

if TYPE_CHECKING:
    import httpx2  # loaded by whoever asks, and by nobody else

CERTIFICATES = 0xA0  # [0] of SignedData, in RFC 5652
QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"


def authorities_in(file: Path) -> tuple[Certificate, ...]:
    """The certificates that are trusted to name authorities, in PEM.

    Raises:
        ValueError, OSError: the file holds none.
    """
    return tuple(load_pem_x509_certificates(file.read_bytes()))


@dataclass(frozen=True, slots=True)
class TimestampAuthority:
    """Whoever these certificates let stamp the time."""

    roots: Sequence[Certificate]
    name: str = "timestamp authority"
    suffix: str = ".tsr"

    def check(self, anchor: str, word: bytes) -> datetime:
        """When the anchor was stamped. Raises WitnessFailed."""
        return self.check_answer(anchor, word, None)

    def check_answer(self, anchor: str, word: bytes, nonce: int | None) -> datetime:
        """As `check`; with a nonce it must be the answer to the question that had it. Raises WitnessFailed."""
        try:
            response = decode_timestamp_response(with_sorted_certificates(word))
            if response.status != PKIStatus.GRANTED:
                raise WitnessFailed(_refusal(response))
            VerifierBuilder(roots=list(self.roots), nonce=nonce).build().verify_message(response, anchor.encode())
            at = response.tst_info.gen_time
        except WitnessFailed:
            raise
        except Exception as error:  # of many kinds: a certificate in it may be wrong, or its algorithm
            message = f"it is no timestamp of this anchor by a trusted authority ({error})"
            raise WitnessFailed(message) from error
        return at


@dataclass(frozen=True, slots=True)
class TimestampService:
    """An authority that is asked over HTTP."""

    url: str
    attestor: TimestampAuthority

    async def ask(self, http: "httpx2.AsyncClient", anchored: Anchored, path_since: PathSince) -> bytes:  # noqa: ARG002 - it proves nothing but a time
        """A timestamp of the anchor. Raises WitnessFailed, and as `Witness.ask`."""
        request = (
            TimestampRequestBuilder()
            .data(anchored.text.encode())
            .hash_algorithm(HashAlgorithm.SHA256)
            .cert_request(cert_request=True)
            .build()
        )
        answer = await post(http, self.url, request.as_bytes(), QUERY)
        if answer.status != 200 or answer.content_type.partition(";")[0].strip().lower() != REPLY:
            message = f"it answered {answer.status} {answer.content_type!r}"
            raise WitnessFailed(message)
        self.attestor.check_answer(anchored.text, answer.body, request.nonce)
        return answer.body


def with_sorted_certificates(response: bytes) -> bytes:
    """The same response with its certificates in the order of DER, which OpenSSL does not keep and the library wants.

    No signature covers that order. What is no such response is given back as it is.
    """
    try:
        _, token = _parts(response, *_parts(response, 0, len(response))[0][1:])
        _, content = _parts(response, *token[1:])
        [signed] = _parts(response, *content[1:])
        certificates = next(part for part in _parts(response, *signed[1:]) if part.tag == CERTIFICATES)
        members = _parts(response, *certificates[1:])
    except (ValueError, IndexError, StopIteration):
        return response
    ends = [certificates.begin, *(member.end for member in members)]
    members_bytes = sorted(response[begin:end] for begin, end in pairwise(ends))
    return response[: certificates.begin] + b"".join(members_bytes) + response[certificates.end :]


class _Part(NamedTuple):
    """A value of DER: its tag, and where its contents are."""

    tag: int
    begin: int
    end: int


def _parts(data: bytes, begin: int, end: int) -> list[_Part]:
    """The values that stand here one after another. Raises ValueError, IndexError: they do not."""
    parts = []
    while begin < end:
        tag, length, at = data[begin], data[begin + 1], begin + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        begin = at + length
        if begin > end:
            message = "a value goes beyond the one that holds it"
            raise ValueError(message)
        parts.append(_Part(tag, at, begin))
    return parts


def _refusal(response: TimeStampResponse) -> str:
    words = "; ".join(response.status_string)
    return f"the authority refused: status {response.status}{f' ({words})' if words else ''}"[:500]
