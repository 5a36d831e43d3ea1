"""Kafka and PostgreSQL in Docker, through testcontainers, where Docker answers.

The containers belong to a process of their own (this file, run as a module): it can be given up on when pulling an
image takes too long, and the guard ends it like every other. Its own end removes the containers; when it is killed,
testcontainers' reaper does.
"""

import json
import os
import secrets
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deploy.local.children import Guard, signal_group
from deploy.local.folders import ROOT, free_ports
from deploy.local.say import Say
from deploy.local.servers.kafka import properties
from deploy.local.servers.postgres import DATABASE, OWNER
from deploy.local.servers.postgres_settings import INITDB_ARGS, settings
from deploy.local.together import together
from deploy.local.trouble import StackTrouble, tail
from deploy.local.waiting import Patience, wait_until

KAFKA_IMAGE = "apache/kafka:4.3.1"
POSTGRES_IMAGE = "postgres:18"
START_SECONDS = 60
STOP_SECONDS = 10
NO_DOCKER = 3  # exit code

BROKER_PORT = 9092
CONTROLLER_PORT = 9093


def start(guard: Guard, folder: Path, *, say: Say, start_seconds: float = START_SECONDS) -> tuple[str, str] | None:
    """Bootstrap servers and the superuser's URL, or None where no Docker answers.

    When one answers and fails, that is said.
    """
    if not docker_may_be_here():
        return None
    answer, log = folder / "containers.json", folder / "logs" / "containers.log"
    owner = guard.spawn(
        [sys.executable, "-m", "deploy.local.servers.containers", str(answer)],
        log=log,
        cwd=ROOT,
        grace_seconds=STOP_SECONDS,
    )
    try:
        wait_until(answer.exists, Patience("Docker", owner, log, at_most_seconds=start_seconds))
    except StackTrouble:
        if owner.poll() != NO_DOCKER:
            reason = f"not ready within {start_seconds} s" if owner.poll() is None else tail(log, lines=1).strip()
            say(f"Docker: {reason}; going on without it")
        signal_group(owner, signal.SIGTERM)  # it stops what it has started, while we go on; the guard sees to its end
        return None
    kafka, database = json.loads(answer.read_text())
    say(f"Docker: Kafka on {kafka}, PostgreSQL on {database.rpartition('@')[2]}")
    return kafka, database


def docker_may_be_here() -> bool:
    """Cheap, because most often the answer is no and importing testcontainers takes a second."""
    home = Path.home()
    signs = (
        Path("/var/run/docker.sock"),
        home / ".docker" / "run" / "docker.sock",
        home / ".testcontainers.properties",
    )
    contexts = home / ".docker" / "contexts"
    return bool(os.environ.get("DOCKER_HOST")) or contexts.exists() or any(sign.exists() for sign in signs)


def own(answer: Path) -> None:
    """Start both containers, write down where they are, and keep them until we are asked to end."""
    from docker.errors import DockerException  # type: ignore[import-untyped]
    from testcontainers.core.docker_client import DockerClient

    signal.signal(signal.SIGTERM, leave)
    try:
        client = DockerClient(timeout=5)
        client.client.ping()
    except DockerException as trouble:
        print(trouble, flush=True)
        sys.exit(NO_DOCKER)
    with ExitStack() as running:
        kafka, database = run(running, host=client.host())
        unfinished = answer.with_suffix(".part")
        unfinished.write_text(json.dumps([kafka, database]))
        unfinished.rename(answer)
        signal.pause()


def run(running: ExitStack, *, host: str) -> tuple[str, str]:
    """Both at once; returns when both answer."""
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    (port,) = free_ports(1)  # the broker must tell its clients where it is before it starts
    kafka = DockerContainer(KAFKA_IMAGE).with_bind_ports(BROKER_PORT, port)
    kafka.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(START_SECONDS))
    broker_settings = properties(
        broker_port=BROKER_PORT, controller_port=CONTROLLER_PORT, data=Path("/var/lib/kafka/data")
    ) | {
        "listeners": f"PLAINTEXT://0.0.0.0:{BROKER_PORT},CONTROLLER://127.0.0.1:{CONTROLLER_PORT}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        # The image formats its storage for a fixed set of voters.
        "controller.quorum.voters": f"1@127.0.0.1:{CONTROLLER_PORT}",
    }
    del broker_settings["controller.quorum.bootstrap.servers"]
    for name, value in broker_settings.items():
        kafka.with_env("KAFKA_" + name.upper().replace(".", "_"), value)

    password = secrets.token_urlsafe(18)
    postgres = PostgresContainer(POSTGRES_IMAGE, username=OWNER, password=password, dbname=DATABASE, driver=None)
    postgres.with_env("POSTGRES_INITDB_ARGS", " ".join(INITDB_ARGS))
    postgres.with_command(["postgres", *(f"--{name}={value}" for name, value in settings().items())])

    running.callback(kafka.stop)
    running.callback(postgres.stop)
    together(kafka.start, postgres.start)
    return f"{host}:{port}", postgres.get_connection_url()


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """Through the blocks that stop the containers."""
    sys.exit(0)


if __name__ == "__main__":
    own(Path(sys.argv[1]))
