"""Notes in the hands of others: opened and proved by Go's own libraries, cosigned by an unmodified litewitness.

Usage: python -m tests.outside.witnesses FOLDER, in which `go install` has put litewitness and witnessctl.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from deploy.local.folders import free_ports
from services.audit.anchors import text_of_anchor
from services.audit.checkpoints import Checkpoint, sign, verifier_key
from services.audit.notes.tree import Frontier, Node, consistency, inclusion, root_of
from services.audit.notes.vectors import Vector
from services.audit.outside.cosignatures import Cosigner, CosigningWitness
from services.audit.outside.witness import Anchored, PathSince, WitnessFailed
from services.audit.sign_log import Signed
from tests.support.cosigning import cosigner_key
from tests.support.waiting import until_in_a_thread

NOTES, APART = 1_000, 5
ORIGIN = "creditwell/outside"
NAME = "witness.example/lite"
KEY = Ed25519PrivateKey.generate()
BEGIN = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass
class NoteLog:
    """The notes of a log, and the hashes that are stored with them."""

    seed: int = 0
    tree: Frontier = field(default_factory=Frontier)
    hashes: dict[Node, bytes] = field(default_factory=dict)

    def next(self) -> Anchored:
        """One more note."""
        vector = Vector(BEGIN + timedelta(seconds=self.tree.size, days=self.seed))
        completed = self.tree.append(vector.leaf_hash)
        number = self.tree.size
        self.hashes |= {Node(level, (number >> level) - 1): one for level, one in enumerate(completed)}
        checkpoint = Checkpoint(ORIGIN, number, self.tree.root)
        signed = Signed(checkpoint, vector, sign(checkpoint, KEY))
        path = [root_of(span, self.hashes) for span in inclusion(number - 1, number)]
        return Anchored(text_of_anchor(signed, path), signed)

    def path(self, old: int, new: int) -> list[bytes]:
        """The proof between two notes."""
        return [root_of(span, self.hashes) for span in consistency(old, new)]


def read_by_go() -> str:
    """Any two of a thousand notes."""
    log = NoteLog()
    key = verifier_key(ORIGIN, KEY.public_key())
    lines: list[dict[str, object]] = [{"key": key}]
    lines += ({"note": log.next().signed.note} for _ in range(NOTES))
    lines += (
        {"old": old, "new": new, "path": [b64encode(one).decode() for one in log.path(old, new)]}
        for new in range(APART, NOTES + 1, APART)
        for old in range(1, new)
    )
    text = "\n".join(map(json.dumps, lines))
    go = ["go", "run", "-mod=readonly", "."]
    folder = Path(__file__).with_name("notes")
    return subprocess.run(go, cwd=folder, input=text, text=True, check=True, stdout=subprocess.PIPE).stdout.strip()


@contextmanager
def a_litewitness(programs: Path) -> Iterator[tuple[str, str]]:
    """Its address, and its key as it publishes it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="litewitness-")))
        key, agent, database = folder / "key", folder / "agent", folder / "witness.db"
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        stack.enter_context(_running("ssh-agent", "-D", "-a", agent))
        until_in_a_thread(agent.exists, what="the agent listens")
        _run("ssh-add", "-q", key, environment={"SSH_AUTH_SOCK": str(agent)})
        _run(programs / "witnessctl", "add-log", "-db", database, "-origin", ORIGIN)
        log_key = verifier_key(ORIGIN, KEY.public_key())
        _run(programs / "witnessctl", "add-key", "-db", database, "-origin", ORIGIN, "-key", log_key)
        fingerprint = re.search(r"SHA256:\S+", _run("ssh-keygen", "-l", "-f", key))
        assert fingerprint is not None
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        arguments: list[str | Path] = ["-db", database, "-name", NAME, "-key", fingerprint[0], "-ssh-agent", agent]
        stack.enter_context(_running(programs / "litewitness", *arguments, "-listen", f"127.0.0.1:{port}"))
        until_in_a_thread(lambda: _answers(url), what="litewitness listens")
        public = load_ssh_public_key(key.with_suffix(".pub").read_bytes())
        assert isinstance(public, Ed25519PublicKey)
        yield url, cosigner_key(NAME, public)


async def cosign(url: str, key: str) -> list[datetime]:
    """Three notes in a row, one more by a process that knows of none, and none for another past."""
    log, cosigner, seen = NoteLog(), Cosigner.parse(key), []
    witness = CosigningWitness(url, cosigner)
    async with httpx2.AsyncClient(timeout=60) as http:
        for number in range(1, 5):
            shown = log.next()
            asked = CosigningWitness(url, cosigner) if number == 4 else witness
            seen.append(cosigner.check(shown.text, await asked.ask(http, shown, _paths(log, number))))
        other = NoteLog(seed=1)
        for _ in range(5):
            shown = other.next()
        with pytest.raises(WitnessFailed, match="somebody rewrote the past"):
            await CosigningWitness(url, cosigner).ask(http, shown, _paths(other, 5))
    return seen


def _paths(log: NoteLog, new: int) -> PathSince:
    async def path_since(old: int) -> Sequence[bytes]:
        return log.path(old, new)

    return path_since


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False


def _run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    everything = {**os.environ, **(environment or {})}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=everything).stdout


@contextmanager
def _running(*command: str | Path) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def main() -> None:
    """All of it, with a line for each."""
    print(read_by_go())
    with a_litewitness(Path(sys.argv[1])) as (url, key):
        seen = asyncio.run(cosign(url, key))
    print(f"litewitness cosigned {len(seen)} notes in a row, and none of another past")


if __name__ == "__main__":
    main()
