"""No batch stops a consumer of ours, whatever topic it reads: whoever may write there could end who reads it otherwise."""

from uuid import uuid4

from aiokafka import AIOKafkaProducer, TopicPartition

from deploy.local.stack import Stack
from services.runtime import kafka
from services.runtime.settings_loading import load_settings
from tests.integration.schemas.test_emitter import make_topic
from tests.support.packed import CODECS, bomb, send_batch, with_header_name


async def test_a_consumer_passes_what_it_can_not_read_and_unpacks_nothing_without_end(stack: Stack) -> None:
    topic = make_topic(stack.kafka, f"facts.{uuid4().hex}")
    place = TopicPartition(topic, 0)
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka) as producer:
        for codec in CODECS.values():
            await send_batch(producer, bomb(codec, megabytes=100), partition=0, topic=topic)
        await send_batch(producer, with_header_name(b"\xff\xfe", key=b"k", value=b"named"), partition=0, topic=topic)
        last = await producer.send_and_wait(topic, b"the last", key=b"k", partition=0)

    read: list[bytes] = []
    settings = load_settings(kafka=stack.kafka)
    async with kafka.consumer(settings, client_id="test", enable_auto_commit=False) as consumer:
        consumer.assign([place])
        consumer.seek(place, 0)
        while await consumer.position(place) <= last.offset:
            records = (await consumer.getmany(place, timeout_ms=500)).get(place, [])
            read += [record.value for record in records]

    assert read[-2:] == [b"named", b"the last"]
    assert len(read) == 2 * len(CODECS) + 2, "of each large batch its beginning and its end"
    assert sum(map(len, read)) < 20 * 2**20, "as they came, and not unpacked"
