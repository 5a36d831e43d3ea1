"""Where the local stack keeps its state, and ports that nobody else takes.

    .creditwell/run/NAME-xxxx/        one per running stack: logs, Kafka's data, PostgreSQL's data
    .creditwell/run/NAME-xxxx.lock    held by its guard; free where the machine lost power and left the folder

PostgreSQL refuses to run as root. As root its program and data therefore live in a folder of the system's temporary
folder that the unprivileged user may enter; the folders of the checkout and of root's home stay closed. Data that
nobody needs after a crash of the machine lives in memory, where the system has a disk there.
"""

import fcntl
import itertools
import os
import random
import secrets
import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".creditwell"
RUN = STATE / "run"
TEMPORARY_PREFIX = "creditwell-"
OUTSIDE = "outside"  # a file in a stack's folder: the paths that belong to it and lie elsewhere, one a line

MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of our own in it is used
MEMORY_FREE_MIN = 4 * 2**30  # bytes; a cluster of the tests takes a tenth of it, and a container often has but 64 MB

# Below what Linux and macOS give to outgoing connections and to whoever binds port 0, so that nobody gets one by
# chance: a server finds its port free when it starts, and again when it restarts.
PORTS = range(20_000, 32_000)
# Wherever TMPDIR points: every process of this user must mean the same file. Byte n is locked by the process that has
# port n.
LEASES = Path(f"/tmp/creditwell-ports-{os.getuid()}")  # noqa: S108 - nothing is in it, and a link is not followed


def new_lock(name: str) -> Path:
    """Where the guard of a new stack holds its lock; the stack's folder is `folder_of` it."""
    RUN.mkdir(parents=True, exist_ok=True)
    return RUN / f"{name}-{secrets.token_hex(4)}.lock"


def folder_of(lock: Path) -> Path:
    return lock.with_suffix("")


def lock_of(folder: Path) -> Path:
    return folder.with_suffix(".lock")


def folder_outside(folder: Path, within: Path | None = None) -> Path:
    """A folder that an unprivileged user may enter, noted in the stack's own folder before anything is in it."""
    outside = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=within))
    with (folder / OUTSIDE).open("a") as noted:
        noted.write(f"{outside}\n")
    outside.chmod(0o711)
    return outside


def disk_in_memory(memory: Path = MEMORY, free_min: int = MEMORY_FREE_MIN) -> Path | None:
    """For what need not outlive the machine; None where there is none, or fewer bytes free.

    On ext4 a file that is made soon after others were removed costs more the more they were: databases of 400 files
    each, made and dropped for test after test, took a third of the processor time of `make test`.
    """
    return memory if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= free_min else None


def remove_abandoned() -> None:
    """Folders whose guard is gone: the machine lost power, or somebody killed guard and owner at once."""
    for lock in RUN.glob("*.lock"):
        # Never made here: of a file that somebody has removed meanwhile, the guard may be making and locking the next.
        with suppress(FileNotFoundError, BlockingIOError), lock.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(held.fileno()), lock.stat()):
                remove(folder_of(lock))
                lock.unlink()


def remove_all() -> None:
    """Folders of stacks that run no more, kept ones too."""
    remove_abandoned()
    for folder in RUN.glob("*/"):
        remove(folder)


def remove(folder: Path) -> None:
    """A stack's folder with what belongs to it elsewhere."""
    noted = folder / OUTSIDE
    for outside in map(Path, noted.read_text().splitlines() if noted.exists() else ()):
        if outside.name.startswith(TEMPORARY_PREFIX):
            shutil.rmtree(outside, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address on which nobody listens.

    They are ours, and no other stack's or test's, while we run.
    """
    ports = list(itertools.islice(filter(_is_ours_now, random.sample(PORTS, k=len(PORTS))), count))
    if len(ports) < count:
        raise OSError(f"no free port between {PORTS.start} and {PORTS.stop}")
    return ports


def free_ports_in_a_row(count: int) -> int:
    """As `free_ports`: the first of so many that follow each other."""
    for first in random.sample(PORTS, k=len(PORTS)):
        if all(map(_is_ours_now, range(first, first + count))):
            return first
    raise OSError(f"no {count} free ports in a row between {PORTS.start} and {PORTS.stop}")


_leasing = threading.Lock()
_leased: set[int] = set()  # a lock on a byte keeps out others, not ourselves


def _is_ours_now(port: int) -> bool:
    """Take the port, unless somebody has taken it or listens there.

    Locks end with us, however we end; children get none.
    """
    with _leasing, socket.socket() as candidate:
        if port in _leased:
            return False
        try:
            fcntl.lockf(_leases(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except (BlockingIOError, PermissionError):
            return False
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            fcntl.lockf(_leases(), fcntl.LOCK_UN, 1, port)
            return False
        _leased.add(port)
        return True


@cache
def _leases() -> int:
    """Opened once: whoever closes a file loses all locks that the process has on it."""
    return os.open(LEASES, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def unprivileged_user() -> str | None:
    """Who runs PostgreSQL: ourselves (None), or `nobody` when we are root. No account is created."""
    return "nobody" if os.geteuid() == 0 else None


def own_environment() -> dict[str, str]:
    """Our environment, for what we start, save that compiled modules are kept.

    Seven processes that each compile everything keep two cores busy for long.
    """
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(ROOT / ".creditwell" / "compiled")}
