"""A broker's disk is full: it has a small one of its own, others fill it, and an emitter goes on reporting.

Kafka ends a broker whose disk is full. What it had acknowledged is there when it is started again on a larger one, and
what was reported meanwhile comes from the emitter's spool.
"""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from confluent_kafka import KafkaException, Message, Producer
from rich.console import Console

from deploy.local.children import Guard
from deploy.local.servers.kafka import NativeKafka
from deploy.local.trouble import StackTrouble
from schemas.emitter import Emitter
from schemas.topics import USAGE
from schemas.usage import parse_usage
from tests.support.topics import TopicReader
from tests.support.waiting import until_in_a_thread

DISK_MB, LARGER_MB = 64, 512
FILLER = b"x" * 100_000
FILLERS_MAX = 20 * DISK_MB
PARTITIONS = 4
EACH = 500


@contextmanager
def small_disk() -> Iterator[Path]:
    """A disk in memory; takes root."""
    mount = Path(tempfile.mkdtemp(prefix="creditwell-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", mount], check=True)
        mount.rmdir()


class SmallBroker(NativeKafka):
    """One whose end is noticed."""

    @property
    def has_ended(self) -> bool:
        """By itself, or not at all."""
        return self._broker is not None and self._broker.poll() is not None


def fill(kafka: str, broker: SmallBroker) -> set[int]:
    """Records until the broker has ended; which of them it acknowledged."""
    acknowledged: set[int] = set()
    producer = Producer({"bootstrap.servers": kafka, "acks": "all", "message.timeout.ms": 5_000, "log_level": 0})

    def heard(error: object, filler: Message) -> None:
        if error is None:
            acknowledged.add(int(filler.key() or b"-1"))

    for number in range(FILLERS_MAX):
        if broker.has_ended:
            break
        with suppress(BufferError, KafkaException):
            producer.produce(USAGE, FILLER, str(number).encode(), number % PARTITIONS, on_delivery=heard)
        producer.poll(0.02)
    producer.flush(10)
    return acknowledged


def play(folder: Path, console: Console) -> list[str]:
    """What was wrong in the end."""
    with small_disk() as disk, tempfile.TemporaryDirectory() as spool, _guard(folder) as guard:
        (disk / "logs").mkdir()
        broker = SmallBroker(guard, disk, say=lambda line: None, partitions=PARTITIONS)
        broker.create()
        with Emitter(kafka=broker.servers, source="/features/full", spool=Path(spool)) as emitter:
            sent = [_report(emitter, number) for number in range(EACH)]
            if not emitter.flush(60):
                return ["the emitter could not deliver before anything was wrong"]
            acknowledged = fill(broker.servers, broker)
            until_in_a_thread(lambda: broker.has_ended, what="the broker ends for its disk is full")
            console.print(f"the disk is full: the broker has ended, {len(acknowledged)} fillers are acknowledged")
            sent += [_report(emitter, number) for number in range(EACH, 2 * EACH)]
            with suppress(StackTrouble):
                broker.stop()
            subprocess.run(["mount", "-o", f"remount,size={LARGER_MB}m", disk], check=True)
            broker.start()
            delivered = emitter.flush(120)
            sent += [_report(emitter, number) for number in range(2 * EACH, 3 * EACH)]
            delivered = emitter.flush(120) and delivered
        problems = [] if delivered else ["the emitter could not deliver what it had spooled"]
        problems += asyncio.run(_missing(broker.servers, set(sent), acknowledged))
        broker.stop()
    return problems


def _report(emitter: Emitter, number: int) -> str:
    return emitter.report(team=f"team_{number % 7}", feature="ai_image.generate", quantity=1).id


async def _missing(kafka: str, sent: set[str], acknowledged: set[int]) -> list[str]:
    reader = TopicReader(kafka, USAGE)
    try:
        records = await reader.read_to_end()
    finally:
        reader.close()
    fillers = {int(record.key or b"-1") for record in records if record.value == FILLER}
    arrived = {
        parse_usage(record.value or b"", tuple(record.headers.items())).id
        for record in records
        if record.value != FILLER
    }
    lost = len(sent - arrived), len(acknowledged - fillers)
    return [f"{lost[0]} reports and {lost[1]} acknowledged records are lost"] if any(lost) else []


@contextmanager
def _guard(folder: Path) -> Iterator[Guard]:
    guard = Guard(folder / "lock")
    try:
        yield guard
    finally:
        guard.close()


def full_disk(console: Console) -> int:
    """The exit code."""
    if os.geteuid() != 0:
        console.print("not played: to make a small disk takes root")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        problems = play(Path(folder), console)
    console.print(
        "; ".join(problems) or "the broker's disk was full: nothing that was acknowledged or reported is lost",
        markup=False,
    )
    return 1 if problems else 0
