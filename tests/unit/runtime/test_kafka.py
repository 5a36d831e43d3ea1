"""Kafka's clients are made in one place, and none that could lose or repeat a record can be made there."""

import ast
from pathlib import Path

import pytest

import services
from services.runtime import kafka
from services.runtime.settings import Settings, WrongSettings

CLIENTS = frozenset({"AIOKafkaProducer", "AIOKafkaConsumer", "AIOKafkaAdminClient", "AIOKafkaClient", "KafkaBroker"})
SERVICES = Path(services.__file__).parent
SETTINGS = Settings(kafka="kafka-1:9092,kafka-2:9092")


def made_in(source: str) -> list[int]:
    """The lines on which a client of Kafka is made, under whatever name it was imported."""
    tree = ast.parse(source)
    names = set(CLIENTS)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {one.asname for one in node.names if one.asname and one.name in CLIENTS}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)) in names
    ]


@pytest.mark.parametrize(
    "source",
    [
        "AIOKafkaProducer(bootstrap_servers='')",
        "aiokafka.AIOKafkaConsumer()",
        "from aiokafka.admin import AIOKafkaAdminClient as Admin\nAdmin()",
        "async def f():\n    async with KafkaBroker('') as broker: pass",
    ],
)
def test_a_client_that_is_made_by_hand_is_seen(source: str) -> None:
    assert made_in(source)


def test_no_service_makes_a_client_by_hand() -> None:
    by_hand = {
        f"{path.relative_to(SERVICES)}:{line}"
        for path in SERVICES.rglob("*.py")
        if path != Path(kafka.__file__)
        for line in made_in(path.read_text())
    }

    assert by_hand == set()


def test_every_client_is_told_where_kafka_is_by_the_same_function() -> None:
    assert kafka.connection_of(SETTINGS) == {"bootstrap_servers": "kafka-1:9092,kafka-2:9092"}


def test_without_kafkas_address_no_client_is_made() -> None:
    with pytest.raises(WrongSettings, match="CREDITWELL_KAFKA"):
        kafka.connection_of(Settings(kafka=None))


@pytest.mark.parametrize(
    "unsafe", [{"acks": 1}, {"enable_idempotence": False}, {"bootstrap_servers": "elsewhere:9092"}]
)
async def test_no_producer_can_be_made_that_loses_or_repeats(unsafe: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="multiple values"):
        kafka.producer(SETTINGS, client_id="creditwell-test", **unsafe)


async def test_a_producer_waits_for_every_replica_and_writes_nothing_twice() -> None:
    made = kafka.producer(SETTINGS, client_id="creditwell-test")
    try:
        assert made._sender._acks == -1
        assert made._txn_manager is not None
        assert made.client._client_id == "creditwell-test"
    finally:
        await made.stop()
