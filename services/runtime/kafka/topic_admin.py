"""The topics of the contract, looked at, made and mended, through a client of the factory.

aiokafka knows the older request for settings alone, which removes each one that is not named; ours changes what it
names. What is asked of the controller may be asked of any broker: they pass it on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

from schemas.topics import PARTITIONS, TOPICS
from services.runtime.errors import Unavailable
from services.runtime.kafka.clients import admin
from services.runtime.kafka.topics import Difference, Mend, Topic, configs_of, differences, more_copies, partitions_of
from services.runtime.settings import Settings

LOOK_SECONDS = 0.5
ANSWER_MS = 30_000
SET = 0  # the operation of a changed setting


@dataclass(frozen=True, slots=True)
class Cluster:
    """The brokers that are there, and the topics of the contract that are."""

    brokers: tuple[int, ...]
    topics: Mapping[str, Topic]

    def differences(self, copies: int) -> list[Difference]:
        """Where the topics are not as they must be with so many copies."""
        return list(differences(self.topics, len(self.brokers), copies))


@asynccontextmanager
async def administering(
    settings: Settings, *, client_id: str = "creditwell-topics"
) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started client, closed again."""
    client = admin(settings, client_id=client_id)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


async def look(client: AIOKafkaAdminClient, names: Iterable[str] = TOPICS) -> Cluster:
    """How it stands.

    Raises:
        KafkaError: nobody answers, or the login may not read the settings of a topic (DESCRIBE_CONFIGS).
    """
    described = await client.describe_topics()  # all of them: to ask by name may make a topic
    cluster = await client.describe_cluster()
    there = {topic["topic"]: topic["partitions"] for topic in described if topic["topic"] in set(names)}
    configs = await _configs(client, there)
    topics = {
        name: Topic(
            {one["partition"]: tuple(one["replicas"]) for one in partitions},
            {one["partition"]: len(one["isr"]) for one in partitions},
            configs[name],
        )
        for name, partitions in there.items()
        if partitions and name in configs
    }
    return Cluster(tuple(sorted(broker["node_id"] for broker in cluster["brokers"])), topics)


async def _configs(client: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for response in await client.describe_configs(resources) if resources else ():
        for code, message, _, name, entries in response.resources:
            if code == UnknownTopicOrPartitionError.errno:
                continue  # made or deleted a moment ago, and the brokers do not agree yet
            _raise_for(code, f"the settings of topic {name}", message)
            configs[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    return configs


async def wait_for_brokers(client: AIOKafkaAdminClient, copies: int, seconds: float) -> None:
    """Wait until there is a broker for each copy: a topic keeps the number of copies with which it was made.

    Raises:
        Unavailable: they did not come.
    """
    deadline = monotonic() + seconds
    while (there := len((await client.describe_cluster())["brokers"])) < copies:
        if monotonic() >= deadline:
            advice = f"start the others, or say --copies {there}"
            raise Unavailable(f"{there} of {copies} brokers are there: {advice}")
        await asyncio.sleep(LOOK_SECONDS)


async def create(
    client: AIOKafkaAdminClient, *, copies: int, partitions: int = PARTITIONS
) -> dict[str, KafkaError | None]:
    """Make the topics that are missing; what is there stays as it is. By name, what became of it, in Kafka's words."""
    new = [
        NewTopic(name, partitions_of(name, partitions), copies, topic_configs=configs_of(name, copies))
        for name in TOPICS
    ]
    answer = await client.create_topics(new)
    return {name: _error(code, f"topic {name}", *detail) for name, code, *detail in answer.topic_errors}


def already_there(outcome: KafkaError | None) -> bool:
    """True of a topic that need not be made."""
    return isinstance(outcome, TopicAlreadyExistsError)


async def fix(client: AIOKafkaAdminClient, cluster: Cluster, copies: int, partitions: int = PARTITIONS) -> None:
    """Make what is missing, change settings, and have copies made, as far as `differences` says that it can be mended.

    Raises:
        KafkaError: a broker refuses.
    """
    mendable = [one for one in cluster.differences(copies) if one.mend is Mend.FIX]
    if any(one.what == "topic" for one in mendable):
        for outcome in (await create(client, copies=copies, partitions=partitions)).values():
            if outcome is not None and not already_there(outcome):
                raise outcome
    configs: dict[str, dict[str, str]] = {}
    for one in mendable:
        if one.what in configs_of(one.topic, copies):
            configs.setdefault(one.topic, {})[one.what] = one.right
    await _change_configs(client, configs)
    if any(one.what == "copies" for one in mendable):
        await _copy(client, more_copies(cluster.topics, cluster.brokers, copies))


async def _change_configs(client: AIOKafkaAdminClient, configs: Mapping[str, Mapping[str, str]]) -> None:
    if not configs:
        return
    answer = await client._send_request(_ChangeConfigs(configs))  # noqa: SLF001 - it has no way for requests of ours
    for code, message, _, name in answer.resources:
        _raise_for(code, f"the settings of topic {name}", message)


async def _copy(client: AIOKafkaAdminClient, moves: Mapping[str, Mapping[int, Sequence[int]]]) -> None:
    """Have copies made; Kafka answers at once and copies in the background."""
    topics: list[Any] = [
        (name, [(partition, list(brokers), {}) for partition, brokers in of_topic.items()], {})
        for name, of_topic in moves.items()
    ]
    request = AlterPartitionReassignmentsRequest(ANSWER_MS, topics, {})
    answer = await client._send_request(request)  # noqa: SLF001 - as above
    _raise_for(answer.error_code, "the copies", answer.error_message)
    for name, partitions, _ in answer.responses:
        for partition, code, message, _ in partitions:
            _raise_for(code, f"the copies of {name}-{partition}", message)


def _raise_for(code: int, what: str, message: str | None) -> None:
    if (error := _error(code, what, message)) is not None:
        raise error


def _error(code: int, what: str, *words: str | None) -> KafkaError | None:
    return for_code(code)(f"{what}: {' '.join(filter(None, words))}") if code else None


class _ConfigsChanged(Response):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("resources", Array(("code", Int16), ("message", String("utf-8")), ("type", Int8), ("name", String("utf-8")))),
    )


class _ChangeConfigs_v0(RequestStruct):  # type: ignore[misc]  # noqa: N801 - as aiokafka names its own
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _ConfigsChanged
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("type", Int8),
                ("name", String("utf-8")),
                ("configs", Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8")))),
            ),
        ),
        ("validate_only", Boolean),
    )


class _ChangeConfigs(Request[_ChangeConfigs_v0]):  # type: ignore[misc]
    """Kafka's IncrementalAlterConfigs."""

    API_KEY = 44

    def __init__(self, configs: Mapping[str, Mapping[str, str]]) -> None:
        self._resources = [
            (ConfigResourceType.TOPIC, name, [(config, SET, value) for config, value in changed.items()])
            for name, changed in configs.items()
        ]

    def build(self, request_struct_class: type[_ChangeConfigs_v0]) -> Any:
        return request_struct_class(self._resources, False)
