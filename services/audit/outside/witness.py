"""Somebody outside who says when an anchor was there, and whose word anybody can check later.

The folder of anchors is the first witness, and may be rewritten by whoever has it. These are told of each anchor after
it was written. Their word is a file beside it, so that the folder is all that an auditor needs:

    00000000000000020419.anchor
    00000000000000020419.anchor.tsr         a timestamp of RFC 3161
    00000000000000020419.anchor.cosigned    the note with a cosignature of C2SP

Each word covers all that was signed before, so one that never came is made good by the next.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from services.audit.sign_log import Signed

if TYPE_CHECKING:
    import httpx2  # loaded by whoever asks, and by nobody else

ANSWER_MAX_BYTES = 65_536

# The proof that the tree of an anchor's note continues the one of so many leaves.
PathSince = Callable[[int], Awaitable[Sequence[bytes]]]


class WitnessFailed(Exception):
    """There is no word, or none that holds: why."""


class Attestor(Protocol):
    """Who gives words, as those know it who check them."""

    @property
    def name(self) -> str:
        """How verdicts, logs and metrics call it."""

    @property
    def suffix(self) -> str:
        """What the file of a word is called after the anchor's name."""

    def check(self, anchor: str, word: bytes) -> datetime:
        """When it saw the anchor, by its own clock.

        Raises:
            WitnessFailed: the word is not one of its, or not on this anchor.
        """


class Anchored(NamedTuple):
    """An anchor to be witnessed: its text, and what it says."""

    text: str
    signed: Signed


class Witness(Protocol):
    """An attestor that can be asked."""

    @property
    def attestor(self) -> Attestor:
        """Who checks what it says."""

    async def ask(self, http: "httpx2.AsyncClient", anchored: Anchored, path_since: PathSince) -> bytes:
        """Its word on an anchor, which `attestor` still has to check.

        Raises:
            WitnessFailed: it gave none.
            httpx2.HTTPError: it did not answer.
        """


class WitnessAnswer(NamedTuple):
    """What came back over HTTP."""

    status: int
    content_type: str
    body: bytes


def word_beside(anchor: Path, attestor: Attestor) -> Path:
    """Where the word on an anchor lies."""
    return anchor.with_name(anchor.name + attestor.suffix)


async def post(http: "httpx2.AsyncClient", url: str, body: bytes, content_type: str) -> WitnessAnswer:
    """Ask a witness over HTTP, for an answer that is not compressed: a few bytes of one could be millions.

    Raises:
        WitnessFailed: it answers without end.
        httpx2.HTTPError: it did not answer.
    """
    answer, headers = b"", {"content-type": content_type, "accept-encoding": "identity"}
    async with http.stream("POST", url, content=body, headers=headers) as response:
        async for chunk in response.aiter_raw():
            answer += chunk
            if len(answer) > ANSWER_MAX_BYTES:
                message = f"its answer is longer than {ANSWER_MAX_BYTES} bytes"
                raise WitnessFailed(message)
    return WitnessAnswer(response.status_code, response.headers.get("content-type", ""), answer)
