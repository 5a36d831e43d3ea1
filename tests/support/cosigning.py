"""A witness that cosigns as C2SP's tlog-witness says, over HTTP. The proofs are checked by code of its own."""

import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NAME = "witness.example/w1"
NAME_LINE = f"{NAME}\n".encode()
Reply = tuple[int, str, str]


def continues(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """RFC 9162, 2.1.4.2: does the path prove that the tree of `old` leaves is the beginning of the one of `new`?"""
    if old == new or old == 0:
        return not path and (old == 0 or old_root == new_root)
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not hashes:
        return False
    first, second = old - 1, new - 1
    while first & 1:
        first, second = first >> 1, second >> 1
    older = newer = hashes[0]
    for sibling in hashes[1:]:
        if second == 0:
            return False
        if first & 1 or first == second:
            older, newer = _node(sibling, older), _node(sibling, newer)
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            newer = _node(newer, sibling)
        first, second = first >> 1, second >> 1
    return (older, newer, second) == (old_root, new_root, 0)


class CosigningStandIn(ThreadingHTTPServer):
    """It remembers of each log the last note that it cosigned.

    Attributes:
        logs: the public key of each log that it knows, by origin.
        cosigned: size and root of the last note of each, by origin.
        asked: the status of each answer.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.logs: dict[str, Ed25519PublicKey] = {}
        self.cosigned: dict[str, tuple[int, bytes]] = {}
        self.asked: list[int] = []
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Cosigned)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/w1"

    @property
    def verifier_key(self) -> str:
        return cosigner_key(NAME, self.key.public_key())

    def add_checkpoint(self, body: str) -> Reply:
        """Status, content type and body of the answer."""
        proof, note = body.split("\n\n", 1)
        head, *path = proof.split("\n")
        old, text = int(head.removeprefix("old ")), note.split("\n\n")[0] + "\n"
        origin, size, root = text.split("\n")[:3]
        new, new_root = int(size), b64decode(root)
        if origin not in self.logs:
            return 404, "text/plain", "unknown log"
        if not any(self._signed_by_log(origin, text, line) for line in note.split("\n\n")[1].splitlines()):
            return 403, "text/plain", "unknown key"
        if old > new:
            return 400, "text/plain", "older than before"
        seen, seen_root = self.cosigned.get(origin, (0, b""))
        if old != seen or (seen == new and seen_root != new_root):
            return 409, "text/x.tlog.size", f"{seen}\n"
        if not continues(old, seen_root, new, new_root, [b64decode(line) for line in path]):
            return 422, "text/plain", "no proof"
        self.cosigned[origin] = new, new_root
        return 200, "text/plain", f"— somebody.else AAAAAAAA\n{self.cosign(text, int(time.time()))}\n"

    def cosign(self, text: str, seconds: int) -> str:
        """The line of a cosignature."""
        public = b"\x04" + self.key.public_key().public_bytes_raw()
        made = self.key.sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
        key_id = sha256(NAME_LINE + public).digest()[:4]
        return f"— {NAME} {b64encode(key_id + seconds.to_bytes(8, 'big') + made).decode()}"

    def _signed_by_log(self, origin: str, text: str, line: str) -> bool:
        _, name, signature = line.split(" ")
        try:
            self.logs[origin].verify(b64decode(signature)[4:], text.encode())
        except InvalidSignature:
            return False
        return name == origin


class _Cosigned(BaseHTTPRequestHandler):
    server: CosigningStandIn

    def do_POST(self) -> None:
        assert self.path == "/w1/add-checkpoint"
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        with self.server.lock:
            status, content_type, text = self.server.add_checkpoint(body)
            self.server.asked.append(status)
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def a_cosigning_witness() -> Iterator[CosigningStandIn]:
    """It listens for as long as the block runs."""
    server = CosigningStandIn()
    serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    try:
        yield server
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def cosigner_key(name: str, key: Ed25519PublicKey) -> str:
    """A witness's verifier key, as C2SP signed-note writes it for cosignatures of version 1."""
    public = b"\x04" + key.public_bytes_raw()
    return f"{name}+{sha256(f'{name}{chr(10)}'.encode() + public).digest()[:4].hex()}+{b64encode(public).decode()}"


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
