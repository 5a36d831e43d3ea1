"""Where Python comes without pip, the pinned uv is fetched by hand: the right wheel, by its hash, or nothing at all."""

import hashlib
import io
import json
import platform
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from deploy.local import uv_without_pip

OURS = "manylinux_2_17_x86_64.manylinux2014_x86_64"
WHEELS = {  # several pythons, machines and versions, as an index lists them
    f"uv-0.9.1-py3-none-{OURS}.whl": b"this machine's",
    "uv-0.9.1-py3-none-musllinux_1_1_x86_64.whl": b"of another libc",
    "uv-0.9.1-py3-none-manylinux_2_28_aarch64.whl": b"of another processor",
    "uv-0.9.1-py3-none-macosx_11_0_arm64.whl": b"of another system",
    f"uv-0.9.10-py3-none-{OURS}.whl": b"of another version",
}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package index on this machine, whose pages are the files of a folder; the machine is one with glibc on x86."""
    folder = tmp_path / "simple" / "uv"
    folder.mkdir(parents=True)
    for name, program in WHEELS.items():
        (folder / name).write_bytes(wheel(program))
    (folder / "index.html").write_text(json.dumps({"files": [{"filename": name, "url": name} for name in WHEELS]}))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(tmp_path)))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_port}/simple/")
    yield folder
    server.shutdown()
    server.server_close()


class Silent(SimpleHTTPRequestHandler):
    """Says nothing of each request."""

    def log_message(self, *_: Any) -> None:
        pass


def wheel(program: bytes) -> bytes:
    """A wheel with one program in it, the same bytes each time: a ZipInfo of its own says 1980, a bare name the time of day."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("uv/__init__.py"), b"")
        archive.writestr(zipfile.ZipInfo("uv-0.9.1.data/scripts/uvx"), b"another program")
        archive.writestr(zipfile.ZipInfo("uv-0.9.1.data/scripts/uv"), program)
    return packed.getvalue()


def pinned(tmp_path: Path, *wheels: bytes) -> Path:
    """A requirements file that pins uv 0.9.1 to these wheels."""
    hashes = "".join(f" \\\n    --hash=sha256:{hashlib.sha256(content).hexdigest()}" for content in wheels)
    file = tmp_path / "uv.txt"
    file.write_text(f"# made by a tool\nuv==0.9.1{hashes}\n")
    return file


def test_the_pinned_version_for_this_machine_is_unpacked_and_may_be_run(index: Path, tmp_path: Path) -> None:
    target = tmp_path / "own" / "bin" / "uv"

    uv_without_pip.main(pinned(tmp_path, wheel(b"this machine's"), wheel(b"of another libc")), target)

    assert target.read_bytes() == b"this machine's"
    assert target.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("system", "machine", "libc", "program"),
    [
        ("linux", "x86_64", "", b"of another libc"),
        ("linux", "aarch64", "glibc", b"of another processor"),
        ("darwin", "arm64", "", b"of another system"),
    ],
)
def test_each_machine_gets_its_own_wheel(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str, libc: str, program: bytes
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))

    uv_without_pip.main(pinned(tmp_path, wheel(program)), tmp_path / "uv")

    assert (tmp_path / "uv").read_bytes() == program


def test_a_wheel_that_is_not_the_pinned_one_is_not_installed(index: Path, tmp_path: Path) -> None:
    (index / f"uv-0.9.1-py3-none-{OURS}.whl").write_bytes(wheel(b"somebody else's"))

    with pytest.raises(SystemExit, match=r"is not what .*uv\.txt says it is; not installed"):
        uv_without_pip.main(pinned(tmp_path, wheel(b"this machine's")), tmp_path / "uv")

    assert not (tmp_path / "uv").exists()


def test_a_machine_without_a_wheel_is_told_to_install_uv_itself(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    with pytest.raises(SystemExit, match=r"has no uv 0\.9\.1 for .*: install uv yourself"):
        uv_without_pip.main(pinned(tmp_path), tmp_path / "uv")


def test_without_an_index_and_without_a_pin_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    with pytest.raises(SystemExit, match="UV_DEFAULT_INDEX="):
        uv_without_pip.main(pinned(tmp_path), tmp_path / "uv")

    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(SystemExit, match="pins no uv"):
        uv_without_pip.main(tmp_path / "empty.txt", tmp_path / "uv")


def test_the_hashes_that_setup_trusts_pin_uv_for_every_machine() -> None:
    lines = Path(uv_without_pip.__file__).with_name("uv.txt").read_text().splitlines()

    assert sum(line.startswith("uv==") for line in lines) == 1
    assert sum("--hash=sha256:" in line for line in lines) > 5
