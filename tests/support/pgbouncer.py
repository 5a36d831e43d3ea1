"""A real PgBouncer: the machine's own, or Debian's package, unpacked beside the checkout's state and not installed."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from deploy.local.folders import STATE, free_ports, unprivileged_user
from tests.support.absent import absent
from tests.support.waiting import until_in_a_thread

FOLDER = STATE / "pgbouncer"
PACKAGES = ("pgbouncer", "libevent-2.1-7t64", "libevent-2.1-7", "libcares2", "libc-ares2")  # of two names one exists
KEEPS_STATEMENTS = (1, 21)

# What it would refuse at the start of a session: docs/postgresql.md.
IGNORED = (
    "default_transaction_isolation,enable_bitmapscan,enable_sort,idle_in_transaction_session_timeout,jit,lock_timeout,"
    "search_path,statement_timeout"
)


def program() -> Path:
    """Where it is; the test is skipped where it can't be had."""
    installed = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if installed is not None:
        return Path(installed)
    unpacked = FOLDER / "usr" / "sbin" / "pgbouncer"
    if not unpacked.exists() and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        FOLDER.mkdir(parents=True, exist_ok=True)
        for package in PACKAGES:
            subprocess.run(["apt-get", "download", "-qq", package], cwd=FOLDER, capture_output=True)
        for archive in FOLDER.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", archive, FOLDER], check=True)
    if not unpacked.exists():
        absent("no pgbouncer: poolers were not tested (apt-get install pgbouncer)")
    return unpacked


def environment() -> dict[str, str]:
    """Where the libraries of an unpacked package are."""
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, FOLDER.glob("usr/lib/*-linux-*")))}


def version() -> tuple[int, int]:
    """Major and minor."""
    words = subprocess.run(
        [program(), "--version"], env=environment(), check=True, capture_output=True, text=True
    ).stdout
    major, minor = re.findall(r"\d+", words)[:2]
    return int(major), int(minor)


@contextmanager
def a_pooler(folder: Path, database: str, settings: Mapping[str, str]) -> Iterator[str]:
    """The database of this URL by way of a PgBouncer with these settings, as the same login, until it is killed."""
    login = urlsplit(database)
    (port,) = free_ports(1)
    (folder / "users.txt").write_text(f'"{login.username}" "{login.password}"\n')
    common = {
        "listen_addr": "127.0.0.1", "listen_port": str(port), "unix_socket_dir": "", "auth_type": "trust",
        "auth_file": str(folder / "users.txt"), "default_pool_size": "10", "logfile": str(folder / "log"),
    }  # fmt: skip
    lines = [f"{name} = {value}" for name, value in (common | dict(settings)).items()]
    target = f"* = host={login.hostname} port={login.port}"
    (folder / "pgbouncer.ini").write_text("\n".join(["[databases]", target, "[pgbouncer]", *lines, ""]))
    user = unprivileged_user()  # as PostgreSQL, it refuses to be root
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
        if user is not None:
            shutil.chown(path, user)
    running = subprocess.Popen([program(), "-q", folder / "pgbouncer.ini"], env=environment(), user=user, cwd="/")
    try:
        until_in_a_thread(lambda: _listens(folder, running), what="PgBouncer listens")
        yield urlunsplit(login._replace(netloc=login.netloc.rpartition("@")[0] + f"@127.0.0.1:{port}"))
    finally:
        running.kill()  # asked to end, it would wait for its last client
        running.wait()


def _listens(folder: Path, running: "subprocess.Popen[bytes]") -> bool:
    assert running.poll() is None, (folder / "log").read_text()
    return (folder / "log").exists() and "process up" in (folder / "log").read_text()
