"""Where the topics of a broker end."""

import asyncio
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.trouble import StackTrouble

DESCRIBED_SECONDS = 20
LOOK_SECONDS = 0.05


async def ends(kafka: str, topic: str) -> dict[int, int]:
    """Where each partition of a topic ends now."""
    admin, consumer = AIOKafkaAdminClient(bootstrap_servers=kafka), AIOKafkaConsumer(bootstrap_servers=kafka)
    await admin.start()
    await consumer.start()
    try:
        places = await partitions_of(admin, topic)
        offsets = await consumer.end_offsets(places)
    finally:
        await consumer.stop()
        await admin.close()
    return {place.partition: offsets[place] for place in sorted(places)}


async def partitions_of(admin: AIOKafkaAdminClient, topic: str) -> list[TopicPartition]:
    """All of a topic's partitions; a broker tells of a topic that was made just now a moment later.

    Raises:
        StackTrouble: Kafka does not know the topic.
    """
    deadline = monotonic() + DESCRIBED_SECONDS
    while monotonic() < deadline:
        (description,) = await admin.describe_topics([topic])
        if description["partitions"] and not any(
            one["error_code"] for one in (description, *description["partitions"])
        ):
            return [TopicPartition(topic, one["partition"]) for one in description["partitions"]]
        await asyncio.sleep(LOOK_SECONDS)
    raise StackTrouble("Kafka", f"does not know the topic {topic}")
