"""Processes of ours for tests: as they run in production, killed at a named place."""

import asyncio
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from deploy.local.folders import own_environment
from deploy.local.forkserver import Forked, fork_server
from deploy.local.processes import service_command
from schemas.credits import MICRO
from schemas.facts import AnyFact, NewFact, PlanAssigned, UsageRecorded
from services.store.append import Appended, append
from services.store.connect import Connection
from tests.conftest import url_of
from tests.support.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]


def as_role(database: str, role: str) -> str:
    """The database as a process sees it, with the privileges that it has in production."""
    return url_of(database, database.rpartition("/")[2], role=role)


def plan(credits: int = 3_000, *, notice: int = 0, anchor: datetime | None = None, zone: str = "UTC") -> PlanAssigned:
    """A team's first plan, in whole credits; its first cycle begins now, or at the anchor."""
    return PlanAssigned(
        plan="pro",
        anchor=anchor or datetime.now(UTC),
        zone=zone,
        allowance_credits=credits * MICRO,
        notice_threshold_credits=notice * MICRO,
    )


def used(credits: int) -> UsageRecorded:
    """A usage of whole credits."""
    return UsageRecorded(feature="ai_video.generate", quantity="1", credits=credits * MICRO, rate_card=1)


async def store(connection: Connection, team_id: str, facts: Iterable[AnyFact], *, source: str = "test") -> Appended:
    """Append facts of a team, their ids counted from the number of those that are there."""
    async with connection.transaction():
        first = await connection.fetchval("SELECT count(*) FROM facts WHERE team_id = $1", team_id)
        new = [NewFact(team_id, source, f"{first + n:06d}", datetime.now(UTC), fact) for n, fact in enumerate(facts)]
        return await append(connection, new)


async def leases_run_out(connection: Connection) -> None:
    """What the clock would do in some seconds more: whoever stands still loses its shards, and counts for nobody's share."""
    await connection.execute("UPDATE checkpoints SET seen_at = '-infinity'")
    await connection.execute("UPDATE readers SET seen_at = '-infinity'")


class Running:
    """One of our processes, and how it may end."""

    def __init__(self, process: Forked | subprocess.Popen[bytes]) -> None:
        self.process = process

    async def ended(self) -> int:
        """Its exit code; -9 for the kill that a crash point is."""
        return await asyncio.to_thread(self.process.wait, PATIENCE_SECONDS)

    def kill(self) -> None:
        """As the kernel would: no good-byes."""
        self.process.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        """Suspended in the middle of whatever it does."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Woken, with no idea how much time has passed."""
        self.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def serving(name: str, environment: Mapping[str, str], *, crash_at: str | None = None) -> AsyncIterator[Running]:
    """`creditwell serve NAME` while the block runs; afterwards it is gone."""
    more = {"CREDITWELL_CRASH_AT": crash_at} if crash_at else {}
    process = start(service_command(name), {**own_environment(), "CREDITWELL_INSECURE_DEV": "1", **environment, **more})
    try:
        yield Running(process)
    finally:
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)


def start(
    command: Sequence[str], environment: Mapping[str, str], *, output: int = 1, errors: int = 2
) -> Forked | subprocess.Popen[bytes]:
    """A process that writes into these files, ours by default; from the fork server where the system has one."""
    server = fork_server()
    if server is None:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=errors)
    process = server.fork(output=output, errors=errors)
    process.begin(command, env=environment, cwd=ROOT)
    return process


async def run(*arguments: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """`creditwell …` as a process of its own: exit code, output, complaints."""
    command = [sys.executable, "-m", "services.cli", *arguments]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start(command, {**own_environment(), **environment}, output=output.fileno(), errors=errors.fileno())
        try:
            code = await asyncio.to_thread(process.wait, PATIENCE_SECONDS)
        finally:
            process.send_signal(signal.SIGKILL)
        output.seek(0)
        errors.seek(0)
        return code, output.read().decode(), errors.read().decode()


@asynccontextmanager
async def connected(database: str) -> AsyncIterator[Connection]:
    """A superuser's connection."""
    connection = await asyncpg.connect(database, server_settings={"timezone": "UTC"})
    try:
        yield connection
    finally:
        await connection.close()


async def read_topic(kafka: str, topic: str, wanted: Callable[[ConsumerRecord], bool]) -> list[ConsumerRecord]:
    """Everything that a topic holds now, of what is wanted; in the order of each partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in await _partitions(consumer, topic)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[ConsumerRecord] = []
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [record for record in records if wanted(record)]
        return found
    finally:
        await consumer.stop()


async def _partitions(consumer: Any, topic: str) -> set[int]:
    await consumer._client.add_topic(topic)
    await consumer._client._wait_on_metadata(topic)
    return consumer.partitions_for_topic(topic) or set()
