"""Topics on a broker of one's own: made by the local stack and by `creditwell topics`, checked and mended.

A broker that answers but takes no topics yet is waited for, and one that never will is told of in a sentence.

A broker is fenced until the controller has heard its heartbeats, and again when they come late, as on a loaded machine. Here
heartbeats come late by settings; or its disk is closed for new partitions, which the controller refuses in the same words.
"""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidReplicationFactorError, KafkaError, NodeNotReadyError, for_code
from typer.testing import CliRunner

from deploy.local.children import Guard
from deploy.local.folders import free_ports
from deploy.local.servers.kafka import NativeKafka
from deploy.local.servers.topics import create_topics
from deploy.local.trouble import StackTrouble
from deploy.local.waiting import Patience
from schemas.topics import EVENTS, REFUSED, TOPICS, USAGE
from services.cli import app
from services.runtime.health import Health
from services.runtime.kafka.assurance import Assurance
from services.runtime.kafka.topic_admin import administering, look
from services.runtime.settings import Settings
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
        broker = NativeKafka(guard, folder, say=print, short_lived=True)
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


@pytest.fixture
async def client(broker: NativeKafka) -> AsyncIterator[AIOKafkaAdminClient]:
    async with administering(Settings(kafka=broker.servers)) as client:
        yield client


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


async def test_topics_are_made_checked_and_found_right(broker: NativeKafka, client: AIOKafkaAdminClient) -> None:
    code, said = await creditwell(broker, "check", "--copies", "1")
    assert code == 1
    assert named(said) == {(name, "topic"): ("missing", "there", "fix") for name in TOPICS}

    assert await creditwell(broker, "create", "--copies", "1") == (0, dict.fromkeys(TOPICS, "made"))
    assert await creditwell(broker, "create", "--copies", "1") == (0, dict.fromkeys(TOPICS, "was there"))

    await is_right(broker)
    topics = (await look(client)).topics
    assert {name: len(topic.replicas) for name, topic in topics.items()} == {USAGE: 64, EVENTS: 64, REFUSED: 1}
    assert {topic.configs["retention.ms"] for topic in topics.values()} == {str(30 * 24 * 60 * 60 * 1000)}
    assert topics[USAGE].configs["message.timestamp.type"] == "LogAppendTime"


async def test_no_topic_is_made_with_fewer_copies_than_were_asked_for(
    broker: NativeKafka, client: AIOKafkaAdminClient
) -> None:
    code, said = await creditwell(broker, "create", "--wait", "0")

    assert code == 3
    assert "1 of 3 brokers are there: start the others, or say --copies 1" in said
    assert (await look(client)).topics == {}


async def test_settings_are_mended_and_others_stay_and_partitions_are_left_alone(
    broker: NativeKafka, client: AIOKafkaAdminClient
) -> None:
    wrong = {"retention.ms": "604800000", "retention.bytes": "1000000", "compression.type": "uncompressed"}
    kept = {"segment.bytes": "2000000"}
    await client.create_topics(
        [NewTopic(USAGE, 4, 1, topic_configs=wrong | kept), NewTopic(EVENTS, 12, 1), NewTopic(REFUSED, 1, 1)]
    )
    await until(lambda: has(client, USAGE, EVENTS, REFUSED), what="the topics are there")

    code, said = await creditwell(broker, "fix", "--copies", "1", "--dry-run")
    assert code == 1
    before = named(said)
    assert before[USAGE, "retention.bytes"] == ("1000000", "-1", "fix")
    assert before[USAGE, "partitions"] == ("4", "64", "none")
    assert before[EVENTS, "partitions"] == ("12", "64", "by hand")
    assert (REFUSED, "partitions") not in before

    async def mended() -> bool:  # a broker learns of what the controller changed a moment later
        code, said = await creditwell(broker, "fix", "--copies", "1")
        return (code, named(said)) == (1, {place: one for place, one in before.items() if "partitions" in place})

    await until(mended, what="nothing is left but partitions, which need a person")
    assert (await look(client)).topics[USAGE].configs["segment.bytes"] == "2000000"


async def test_what_is_kept_on_one_broker_alone_is_said_at_the_start(
    broker: NativeKafka, client: AIOKafkaAdminClient
) -> None:
    await client.create_topics([NewTopic(USAGE, 4, 1)])
    await until(lambda: has(client, USAGE), what="the topic is there")
    health = Health("recorder")

    await Assurance(Settings(kafka=broker.servers), health, USAGE).tell()

    assert [note.partition(" (")[0].partition(";")[0] for note in health.notes] == [
        "usage: an acknowledged record may be on one broker alone",
        "usage: 4 partitions, not 64, which works as well",
    ]
    assert health.registry.get_sample_value("creditwell_kafka_sure_copies", {"topic": "usage"}) == 1
    assert health.registry.get_sample_value("creditwell_kafka_partitions", {"topic": "usage"}) == 4


async def test_topics_that_were_made_a_broker_too_early_get_their_copies(
    broker: NativeKafka, client: AIOKafkaAdminClient, tmp_path: Path
) -> None:
    assert (await creditwell(broker, "create", "--copies", "1"))[0] == 0
    await is_right(broker)
    async with AIOKafkaProducer(bootstrap_servers=broker.servers) as producer:
        await producer.send_and_wait(USAGE, b"kept", partition=7)
    code, said = await creditwell(broker, "check", "--copies", "2")
    assert code == 1
    assert named(said)[USAGE, "copies"] == ("1", "2", "later")

    guard = Guard(tmp_path / "lock")
    try:
        await asyncio.to_thread(another, broker, guard, tmp_path)
        await until(lambda: brokers(client, 2), what="the second broker is there")

        # Copies are made in the background, and a broker that has just come may be refused: it is run again, as it says.
        async def mended() -> bool:
            return await creditwell(broker, "fix", "--copies", "2") == (0, {"differences": []})

        await until(mended, what="nothing is left to mend")

        async def copied() -> bool:
            topics = (await look(client)).topics
            return all(set(topic.in_sync.values()) == {2} for topic in topics.values())

        await until(copied, what="every partition has two copies that are in sync")
        assert (await creditwell(broker, "check", "--copies", "2")) == (0, {"differences": []})
        for topic in TOPICS:  # so that nothing of them is missed when the second broker is gone
            await client.delete_topics([topic])
    finally:
        guard.close()


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


async def creditwell(broker: NativeKafka, *arguments: str) -> tuple[int, Any]:
    """The exit code, and the document that is said."""
    environment = {"CREDITWELL_KAFKA": broker.servers}
    ended = await asyncio.to_thread(CliRunner().invoke, app, ["topics", *arguments, "--json"], env=environment)
    return ended.exit_code, json.loads(ended.stdout) if ended.stdout else ended.stderr


def named(said: Any) -> dict[tuple[str, str], tuple[str, str, str]]:
    """By topic and what differs: how it stands, how it must be, how it is mended."""
    return {(one["topic"], one["what"]): (one["stands"], one["right"], one["mend"]) for one in said["differences"]}


def another(broker: NativeKafka, guard: Guard, folder: Path) -> None:
    """A second broker, which joins the first one's controller."""
    (port,) = free_ports(1)
    settings = dict(line.split("=", 1) for line in broker._properties.read_text().splitlines())
    settings |= {
        "process.roles": "broker", "node.id": "2", "log.dirs": str(folder / "kafka"),
        "listeners": f"PLAINTEXT://127.0.0.1:{port}", "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
    }  # fmt: skip
    properties = folder / "kafka.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    cluster = next(
        line.split("=", 1)[1]
        for line in (broker._folder / "kafka" / "meta.properties").read_text().splitlines()
        if line.startswith("cluster.id=")
    )
    formatting = guard.spawn(
        [*broker._java, "kafka.tools.StorageTool", "format", "--no-initial-controllers", "--cluster-id", cluster,
         "--config", str(properties)],
        log=folder / "format.log", cwd=folder, stop=signal.SIGKILL,
    )  # fmt: skip
    assert formatting.wait(60) == 0, (folder / "format.log").read_text()
    guard.forget(formatting)
    guard.spawn(
        [*broker._java, "kafka.Kafka", str(properties)], log=folder / "kafka.log", cwd=folder, stop=signal.SIGKILL
    )


async def has(client: AIOKafkaAdminClient, *names: str) -> bool:
    return set(names) <= (await look(client)).topics.keys()


async def brokers(client: AIOKafkaAdminClient, count: int) -> bool:
    return len((await look(client)).brokers) == count


async def is_right(broker: NativeKafka) -> None:
    """A broker tells of topics a moment after the controller has made them."""

    async def right() -> bool:
        return await creditwell(broker, "check", "--copies", "1") == (0, {"differences": []})

    await until(right, what="nothing differs")
