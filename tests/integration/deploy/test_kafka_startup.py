"""A broker that answers but takes no topics yet is waited for, and one that never will is told of in a sentence.

A broker is fenced until the controller has heard its heartbeats, and again when they come late, as on a loaded machine. Here
heartbeats come late by settings; or its disk is closed for new partitions, which the controller refuses in the same words.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidReplicationFactorError, KafkaError, NodeNotReadyError, for_code

from deploy.local.children import Guard
from deploy.local.servers.kafka import NativeKafka
from deploy.local.servers.topics import create_topics
from deploy.local.trouble import StackTrouble
from deploy.local.waiting import Patience
from schemas.topics import TOPICS
from tests.support.waiting import until

T = TypeVar("T")

# The session ends long before the next heartbeat: it is fenced two thirds of the time.
LATE_HEARTBEATS = "broker.heartbeat.interval.ms=6000\nbroker.session.timeout.ms=2000\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kafka")
    (folder / "logs").mkdir()
    return folder


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[NativeKafka]:
    guard = Guard(folder / "lock")
    try:
        broker = NativeKafka(guard, folder, say=print)
        broker.create()
        yield broker
    finally:
        guard.close()


@pytest.fixture
async def broker(running: NativeKafka) -> NativeKafka:
    """One of our own, without the topics of the contract."""
    await ask(running, lambda asked: asked.delete_topics(list(TOPICS)))
    await until(lambda: has_topics(running, none=True), what="the topics are deleted")
    return running


async def test_topics_are_made_on_a_broker_that_is_fenced_again_and_again(broker: NativeKafka, folder: Path) -> None:
    async with late_heartbeats(broker, folder):
        await until(lambda: is_fenced(broker), what="the broker is fenced")

        await create_topics(broker.servers)

    await until(lambda: has_topics(broker), what="the topics are there")


async def test_topics_are_made_as_soon_as_the_controller_finds_a_place_for_them(broker: NativeKafka) -> None:
    patience = broker.patience()
    async with closed_disk(broker):
        making = asyncio.create_task(create_topics(broker.servers, patience=patience))
        await until(lambda: says(patience, "Unable to replicate the partition 1 time"), what="the refusal")
        assert not making.done()

    await making

    await until(lambda: has_topics(broker), what="the topics are there")


async def test_a_broker_that_never_finds_a_place_is_told_of_with_its_own_words(broker: NativeKafka) -> None:
    async with closed_disk(broker):
        with pytest.raises(StackTrouble, match=r"(?s)^Kafka: .*nothing has moved .*usage: Unable to replicate"):
            await create_topics(broker.servers, patience=Patience("Kafka", still_seconds=5))


async def test_what_will_be_refused_tomorrow_too_is_told_at_once_in_a_sentence(broker: NativeKafka) -> None:
    with pytest.raises(
        StackTrouble, match=r"^Kafka: does not make the topics: .*InvalidPartitionsError: topic usage: "
    ):
        await create_topics(broker.servers, partitions=0)


async def test_where_nobody_answers_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"

    with pytest.raises(StackTrouble, match=f"^Kafka: nobody answers at {address}"):
        await create_topics(address)


@asynccontextmanager
async def late_heartbeats(broker: NativeKafka, folder: Path) -> AsyncIterator[None]:
    """The broker with these settings, begun anew before and afterwards."""
    settings = folder / "kafka.properties"
    before = settings.read_text()
    settings.write_text(before + LATE_HEARTBEATS)
    try:
        await asyncio.to_thread(broker.restart)
        yield
    finally:
        settings.write_text(before)
        await asyncio.to_thread(broker.restart)


@asynccontextmanager
async def closed_disk(broker: NativeKafka) -> AsyncIterator[None]:
    """It serves what it has and takes no new partition; the controller hears of both with the next heartbeat."""
    await cordon(broker, "*")
    try:
        await until(lambda: refuses(broker), what="the controller refuses a new topic")
        yield
    finally:
        await cordon(broker, "")


async def cordon(broker: NativeKafka, folders: str) -> None:
    setting = ConfigResource(ConfigResourceType.BROKER, "1", {"cordoned.log.dirs": folders})
    await ask(broker, lambda asked: asked.alter_configs([setting]))


async def refuses(broker: NativeKafka) -> bool:
    one_more = NewTopic("one-more", 1, 1)
    answer = await ask(broker, lambda asked: asked.create_topics([one_more], validate_only=True))
    return any(for_code(code) is InvalidReplicationFactorError for _, code, *_ in answer.topic_errors)


async def is_fenced(broker: NativeKafka) -> bool:
    """Then it is not among the brokers, and the client knows nobody to ask."""
    async with admin(broker) as asked:
        try:
            await asked.describe_cluster()
        except NodeNotReadyError:
            return True
        return False


async def has_topics(broker: NativeKafka, *, none: bool = False) -> bool:
    """All of the contract's or, with `none`, none of them."""
    found = TOPICS.keys() & set(await ask(broker, lambda asked: asked.list_topics()))
    return not found if none else found == TOPICS.keys()


async def says(patience: Patience, words: str) -> bool:
    return words in patience.symptom


async def ask(broker: NativeKafka, action: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
    """Its answer. This broker, too, may be fenced for a moment, by a machine that is busy: then it is asked again."""

    async def once() -> list[T]:
        try:
            async with admin(broker) as asked:
                await asked.describe_cluster()
                return [await action(asked)]
        except (KafkaError, OSError):
            return []

    return (await until(once, what="an answer of the broker"))[0]


@asynccontextmanager
async def admin(broker: NativeKafka) -> AsyncIterator[AIOKafkaAdminClient]:
    asked = AIOKafkaAdminClient(bootstrap_servers=broker.servers)
    await asked.start()
    try:
        yield asked
    finally:
        await asked.close()
