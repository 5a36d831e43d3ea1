"""A process that has nothing to send says all the same that Kafka is away, and that it is back."""

import asyncio
from asyncio import StreamReader, StreamWriter
from contextlib import suppress

from deploy.local.folders import free_ports
from deploy.local.stack import Stack
from services.runtime.health import Health
from services.runtime.kafka.watch import KAFKA, watch_kafka
from services.runtime.settings import Settings
from tests.support.waiting import until


async def test_that_kafka_is_away_is_said_by_who_does_not_need_it_at_the_moment(stack: Stack) -> None:
    (port,) = free_ports(1)
    health, stop = Health("relay"), asyncio.Event()
    health.ready()

    async def is_away() -> bool:
        return KAFKA in health.absent

    async def is_back() -> bool:
        return not health.absent

    watching = asyncio.create_task(
        watch_kafka(Settings(kafka=f"127.0.0.1:{port}", insecure_dev=True), health, stop, ask_seconds=0.01)
    )
    await until(is_away, what="nobody listens, and it is said")
    async with await passing_on(port, stack.kafka):
        await until(is_back, what="Kafka answers, and it is said")
    await until(is_away, what="nobody listens any more, and it is said")
    stop.set()
    await watching


async def passing_on(port: int, kafka: str) -> asyncio.Server:
    """A way to Kafka; whom its answers name is asked without it."""
    host, _, number = kafka.partition(",")[0].rpartition(":")

    async def copy(reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(64 * 1024):
                writer.write(data)
        writer.close()

    async def pass_on(reader: StreamReader, writer: StreamWriter) -> None:
        to, into = await asyncio.open_connection(host, int(number))
        await asyncio.gather(copy(reader, into), copy(to, writer))

    return await asyncio.start_server(pass_on, "127.0.0.1", port)
