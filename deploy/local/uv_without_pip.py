"""Fetch the pinned uv where Python comes without pip, as Debian's does.

It is one wheel, with its SHA-256 in `uv.txt`, unpacked by hand.

Runs before anything is installed: the standard library alone, on any Python that setup.sh accepts.
"""

import hashlib
import io
import json
import os
import platform
import re
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

JSON_INDEX = "application/vnd.pypi.simple.v1+json"  # PEP 691
TIMEOUT_SECONDS = 60


def main(requirements: Path, target: Path) -> None:
    """Write the program `uv` to `target`."""
    if not index():
        sys.exit(
            "this Python has neither pip nor uv: install one (on Debian: apt-get install python3-venv), or say where packages are, "
            "UV_DEFAULT_INDEX=https://…/simple"
        )
    text = requirements.read_text()
    version = re.search(r"^uv==(\S+)", text, re.MULTILINE)
    if version is None:
        sys.exit(f"{requirements} pins no uv")
    url = wheel_url(version[1], platform_tag())
    wheel = fetch(url)
    if f"sha256:{hashlib.sha256(wheel).hexdigest()}" not in text:
        sys.exit(f"{url} is not what {requirements} says it is; not installed")
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        (program,) = (name for name in archive.namelist() if name.endswith("/scripts/uv"))
        target.write_bytes(archive.read(program))
    target.chmod(0o755)


def platform_tag() -> str:
    """What the name of the wheel for this machine looks like."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if sys.platform == "darwin":
        return rf"macosx_\d+_\d+_{'arm64' if machine == 'aarch64' else machine}"
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    return rf"{libc}_\d+_\d+_{machine}"


def index() -> str:
    """Where packages are; empty where nobody said so."""
    return os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or ""


def wheel_url(version: str, tag: str) -> str:
    page = f"{index().rstrip('/')}/uv/"
    listing = json.loads(fetch(page, accept=JSON_INDEX))
    for file in listing["files"]:
        if re.fullmatch(rf"uv-{re.escape(version)}-py3-none-.*{tag}.*\.whl", file["filename"]):
            return urllib.parse.urljoin(page, str(file["url"]))
    sys.exit(f"{index()} has no uv {version} for {platform.platform()}: install uv yourself, https://docs.astral.sh/uv")


def fetch(url: str, *, accept: str = "*/*") -> bytes:
    with urllib.request.urlopen(
        urllib.request.Request(url, headers={"Accept": accept}), timeout=TIMEOUT_SECONDS
    ) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
