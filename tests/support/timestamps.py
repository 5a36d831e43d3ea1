"""A timestamp authority: `openssl ts -reply` over HTTP, with a key and an authority of its own (RFC 3161)."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.absent import absent

REPLY = "application/timestamp-reply"
CONFIG = """\
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
certs = {folder}/ca.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
ess_cert_id_alg = sha256
"""

Behaviour = Literal[
    "honest", "refuses", "silent", "another nonce", "another imprint", "no answer of its kind", "endless"
]


class TimestampStandIn(ThreadingHTTPServer):
    """It stamps what it is asked for, unless it is told to behave otherwise.

    Attributes:
        folder: its keys; `ca.pem` is what others trust it by.
        asked: how many questions came.
        goes_on: a silent one answers when this is set.
    """

    daemon_threads = True

    def __init__(self, folder: Path, *, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING) -> None:
        self.folder, self.behaviour, self.asked = folder, "honest", 0
        self.goes_on, self.lock = threading.Event(), threading.Lock()
        folder.mkdir()
        write_keys(folder, usage)
        super().__init__(("127.0.0.1", 0), _Stamped)

    behaviour: Behaviour

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/tsr"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def answer(self, query: bytes) -> bytes:
        """The response to a question, in DER."""
        assert query.endswith(b"\x01\x01\xff"), "it asks for the certificate, right after the nonce"
        if self.behaviour == "another nonce":
            query = query[:-4] + bytes([query[-4] ^ 1]) + query[-3:]
        if self.behaviour == "another imprint":
            at = query.index(b"\x04\x20") + 2
            query = query[:at] + bytes([query[at] ^ 1]) + query[at + 1 :]
        with self.lock:  # the serial is one file
            self.asked += 1
            digests = "sha512" if self.behaviour == "refuses" else "sha256"
            (self.folder / "ts.cnf").write_text(CONFIG.format(folder=self.folder, digests=digests))
            (self.folder / "query").write_bytes(query)
            arguments: list[str | Path] = ["-config", self.folder / "ts.cnf", "-queryfile", self.folder / "query"]
            made = subprocess.run(["openssl", "ts", "-reply", *arguments], capture_output=True, check=True)
        return made.stdout


class _Stamped(BaseHTTPRequestHandler):
    server: TimestampStandIn

    def do_POST(self) -> None:
        assert self.headers["content-type"] == "application/timestamp-query"
        query = self.rfile.read(int(self.headers["content-length"]))
        behaviour = self.server.behaviour
        if behaviour == "silent":
            self.server.asked += 1
            self.server.goes_on.wait()
        body = b"x" * 1_000_000 if behaviour == "endless" else self.server.answer(query)
        with suppress(ConnectionError):  # who asked may have gone
            self.send_response(200)
            self.send_header("content-type", "text/html" if behaviour == "no answer of its kind" else REPLY)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def a_timestamp_authority(
    folder: Path, *, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING
) -> Iterator[TimestampStandIn]:
    """It listens for as long as the block runs."""
    if shutil.which("openssl") is None:
        absent("there is no openssl here: no authority stamped the time of an anchor")
    server = TimestampStandIn(folder, usage=usage)
    serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    try:
        yield server
    finally:
        server.goes_on.set()
        server.shutdown()
        serving.join()
        server.server_close()


def write_keys(folder: Path, usage: x509.ObjectIdentifier) -> None:
    """An authority for certificates, and one for timestamps that it has certified."""
    root, stamping = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, name = _name("Root of the tests"), _name("Timestamps of the tests")
    ca = _certificate(root_name, root_name, root).add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    tsa = _certificate(name, root_name, stamping).add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    for file, certificate in (("ca.pem", ca), ("tsa.pem", tsa)):
        (folder / file).write_bytes(certificate.sign(root, hashes.SHA256()).public_bytes(Encoding.PEM))
    key = stamping.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "tsa.key").write_bytes(key)
    (folder / "serial").write_text("01")


def _certificate(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
