"""Kafka's clients, made in one place, from the settings.

How Kafka is reached and how a client proves who it is stands in `connection_of` alone. What would lose or repeat a
record were it chosen otherwise is chosen here; what differs for a reason (sizes, waits, groups) is the caller's
argument. Nobody else in `services` makes a client, and a test sees to that. `schemas.emitter` makes its own: other
teams import it.
"""

from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from services.runtime.settings import Settings

if TYPE_CHECKING:
    from faststream.kafka import KafkaBroker


def connection_of(settings: Settings) -> dict[str, Any]:
    """What every client must know to reach Kafka, as aiokafka calls it.

    Raises WrongSettings where nobody says where Kafka is.
    """
    return {"bootstrap_servers": settings.needed("kafka")}


def producer(settings: Settings, *, client_id: str, **options: Any) -> AIOKafkaProducer:
    """A producer that is not started yet.

    What it acknowledges is on every replica, once, in the order in which it came: a repetition after a lost answer is
    not written twice, nor out of order. `options` are aiokafka's; what is chosen here can't be chosen otherwise
    (TypeError).
    """
    return AIOKafkaProducer(
        **connection_of(settings), client_id=client_id, acks="all", enable_idempotence=True, **options
    )


def consumer(settings: Settings, *topics: str, client_id: str, **options: Any) -> AIOKafkaConsumer:
    """A consumer that is not started yet. `options` are aiokafka's."""
    return AIOKafkaConsumer(*topics, **connection_of(settings), client_id=client_id, **options)


def broker(settings: Settings, *, client_id: str, **options: Any) -> "KafkaBroker":
    """FastStream's broker, which makes the consumers of its subscribers; it is not started yet.

    `options` are FastStream's.

    FastStream takes what belongs to security as an object of its own, made from the same settings.
    """
    from faststream.kafka import KafkaBroker  # the recorder's alone, and much to load

    return KafkaBroker(**connection_of(settings), client_id=client_id, **options)
