"""The topics of the contract, made on whatever Kafka there is."""

import asyncio
import time
from collections.abc import Callable

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from schemas.topics import REFUSED, TOPICS

PARTITIONS = 8
COPIES = 3  # or as many as there are brokers
COORDINATOR_SECONDS = 120
LOOK_SECONDS = 0.05


async def create_topics(kafka: str, *, partitions: int = PARTITIONS) -> None:
    """Make `usage` and `credits.events` with so many partitions, and `usage.refused` with one; what exists stays as it is."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        brokers = len((await admin.describe_cluster())["brokers"])
        made = await admin.create_topics(
            [
                NewTopic(
                    name,
                    num_partitions=1 if name == REFUSED else partitions,
                    replication_factor=min(COPIES, brokers),
                    topic_configs=dict(configs),
                )
                for name, configs in TOPICS.items()
            ]
        )
    finally:
        await admin.close()
    for name, code, *detail in made.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(f"topic {name}: {detail}")


async def wait_for_coordinator(kafka: str, alive: Callable[[], bool] = lambda: True) -> None:
    """A broker takes connections a moment before it can look after consumer groups: return when it can, if it is `alive`."""
    deadline = time.monotonic() + COORDINATOR_SECONDS
    while True:
        try:
            await _ask_coordinator(kafka)
        except (KafkaError, OSError):
            if time.monotonic() > deadline or not alive():
                raise
            await asyncio.sleep(LOOK_SECONDS)
        else:
            return


async def _ask_coordinator(kafka: str) -> None:
    """Through a client of its own each time: one that began with a broker that was just starting may never recover."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    try:
        await admin.start()
        await admin.list_consumer_group_offsets("creditwell-is-the-coordinator-there")
    finally:
        await admin.close()
