"""Kafka's jars: exactly those of `kafka.jars`.

They come from the user's Maven cache (~/.m2) or, the first time, from Maven Central.

`kafka.jars` is a lock file: it spares a newcomer the walk through the POM files (most of 20 seconds), and what runs is
what was hashed. After changing a version below, write it anew with `python -m deploy.local.servers.jars`.
"""

import fcntl
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import stamina

from deploy.local.say import Say, still
from deploy.local.trouble import StackTrouble

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
# Resolved on its own: in one call with Kafka, a logging binding takes kafka-clients back to 3.8 and the broker dies.
LOGGING = "org.slf4j:slf4j-simple:1.7.36"

LOCK = Path(__file__).with_name("kafka.jars")
DOWNLOADS = 6  # at once
ATTEMPTS = 4


@dataclass(frozen=True)
class Jar:
    """One line of the lock file."""

    sha256: str
    size: int
    coordinates: str


class NotTheJar(Exception):
    """What was downloaded is not what the lock file says."""


def fetch(say: Say) -> list[Path]:
    """The jars of the lock file, downloaded where they are missing and checked in any case."""
    from jgo.maven import MavenContext  # a third of a second, which PostgreSQL uses to start

    context = MavenContext()
    artifacts = [(jar, artifact(context, jar.coordinates)) for jar in locked()]
    with alone(context):
        missing = [(jar, artifact) for jar, artifact in artifacts if not is_there(jar, artifact)]
        if missing:
            download(missing, say)
    return [place(artifact) for _, artifact in artifacts]


def locked() -> list[Jar]:
    lines = (line.split() for line in LOCK.read_text().splitlines() if not line.startswith("#"))
    return [Jar(sha256, int(size), coordinates) for sha256, size, coordinates in lines]


def artifact(context: "MavenContext", coordinates: str) -> "Artifact":
    group, name, version = coordinates.split(":")
    return context.project(group, name).at_version(version).artifact()


def place(artifact: "Artifact") -> Path:
    """Where the jar is in the user's cache, or will be."""
    return Path(artifact.context.repo_cache / artifact.component.path_prefix / artifact.cached_filename)


@contextmanager
def alone(context: "MavenContext") -> Iterator[None]:
    """One process at a time: jgo writes into the cache in place, and nobody should meet half a jar."""
    context.repo_cache.mkdir(parents=True, exist_ok=True)
    with (context.repo_cache / ".creditwell.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_there(jar: Jar, artifact: "Artifact") -> bool:
    path = place(artifact)
    return (
        path.exists()
        and path.stat().st_size == jar.size
        and hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256
    )


def download(missing: list[tuple[Jar, "Artifact"]], say: Say) -> None:
    """Fetch the jars, a few at once.

    Raises:
        StackTrouble: Maven Central can't be reached, or has another file.
    """
    megabytes = sum(jar.size for jar, _ in missing) / 1e6
    done: list[int] = []

    def one(locked_artifact: tuple[Jar, "Artifact"]) -> None:
        get(*locked_artifact)
        done.append(locked_artifact[0].size)

    say(f"Kafka: fetching {megabytes:.0f} MB of jars (first time only)…")
    with (
        still(say, lambda: f"Kafka: {sum(done) / 1e6:.0f} of {megabytes:.0f} MB"),
        ThreadPoolExecutor(DOWNLOADS) as pool,
    ):
        try:
            list(pool.map(one, missing))
        except (OSError, RuntimeError, NotTheJar) as trouble:
            pool.shutdown(cancel_futures=True)
            raise StackTrouble(
                "Kafka",
                f"its jars cannot be had: {trouble}",
                way_out="It needs https://repo.maven.apache.org. Try again, or set CREDITWELL_KAFKA and CREDITWELL_DATABASE.",
            ) from trouble


@stamina.retry(on=(OSError, RuntimeError, NotTheJar), attempts=ATTEMPTS, wait_max=5)  # requests' errors are OSErrors
def get(jar: Jar, artifact: "Artifact") -> None:
    """Half a jar of an interrupted run, or another file of this name, is replaced.

    Raises:
        NotTheJar: its SHA-256 is not the one of the lock.
    """
    place(artifact).unlink(missing_ok=True)
    artifact.resolve()
    if not is_there(jar, artifact):
        raise NotTheJar(f"{jar.coordinates} has another SHA-256 than in {LOCK.name}")


def write_lock() -> None:
    """Resolve the versions above, through every POM, and write down what they are."""
    import jgo
    from jgo.maven import MavenContext

    context = MavenContext()
    names = {
        f"{resolved.groupId}:{resolved.artifactId}:{resolved.version}"
        for endpoint in (KAFKA, LOGGING)
        for resolved in jgo.resolve(endpoint)
    }
    lines = [f"# {KAFKA} and {LOGGING}, written by `python -m deploy.local.servers.jars`: SHA-256, bytes, coordinates"]
    for name in sorted(names):
        body = Path(artifact(context, name).resolve()).read_bytes()
        lines.append(f"{hashlib.sha256(body).hexdigest()} {len(body)} {name}")
    LOCK.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_lock()
