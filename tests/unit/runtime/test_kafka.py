"""Kafka's clients are made in one place, and none that could lose or repeat a record can be made there."""

import ast
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
from faststream.kafka.security import parse_security

import services
from services.runtime import kafka
from services.runtime.kafka import clients
from services.runtime.kafka.tokens import KafkaTokens
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
        if path != Path(clients.__file__)
        for line in made_in(path.read_text())
    }

    assert by_hand == set()


def test_every_client_is_told_where_kafka_is_by_the_same_function() -> None:
    assert kafka.connection_of(SETTINGS) == {"bootstrap_servers": ["kafka-1:9092", "kafka-2:9092"]}


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


LOGIN: dict[str, Any] = {
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_sasl_username": "recorder",
    "kafka_sasl_password": "secret",
}


def secured(protocol: str, **more: Any) -> Settings:
    return Settings(kafka="kafka-1:9093", kafka_security_protocol=protocol, **more)


async def test_producer_consumer_and_broker_prove_who_they_are_in_the_same_way() -> None:
    settings = secured("SASL_SSL", **LOGIN)
    options = kafka.connection_of(settings)
    theirs = parse_security(kafka.security_of(settings))

    assert {name: options[name] for name in theirs if name != "ssl_context"} == {
        "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "recorder", "sasl_plain_password": "secret",
    }  # fmt: skip
    for context in (options["ssl_context"], theirs["ssl_context"]):
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED


BY_TOKEN: dict[str, Any] = {
    "kafka_sasl_mechanism": "OAUTHBEARER",
    "kafka_token_url": "https://login.example.com/token",
    "kafka_token_client_id": "recorder",
    "kafka_token_client_secret": "secret",
}


async def test_tokens_are_given_to_every_client_in_the_same_way() -> None:
    settings = secured("SASL_SSL", **BY_TOKEN)
    options, theirs = kafka.connection_of(settings), parse_security(kafka.security_of(settings))

    assert options["sasl_mechanism"] == theirs["sasl_mechanism"] == "OAUTHBEARER"
    assert theirs["security_protocol"] == "SASL_SSL"
    assert isinstance(options["sasl_oauth_token_provider"], KafkaTokens)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_every_login_is_taken_by_aiokafka_and_by_faststream(mechanism: str, protocol: str) -> None:
    settings = secured(protocol, **LOGIN | {"kafka_sasl_mechanism": mechanism})

    ours, theirs = kafka.connection_of(settings), parse_security(kafka.security_of(settings))

    assert (ours["security_protocol"], ours["sasl_mechanism"]) == (protocol, mechanism)
    assert (theirs["security_protocol"], theirs["sasl_mechanism"]) == (protocol, mechanism)
    assert (ours["ssl_context"] is None) == (theirs["ssl_context"] is None) == (protocol == "SASL_PLAINTEXT")


def test_without_security_nothing_of_it_is_said() -> None:
    assert kafka.security_of(SETTINGS) is None
    assert kafka.connection_of(SETTINGS).keys() == {"bootstrap_servers"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"kafka_security_protocol": "SASL_SSL"}, "set CREDITWELL_KAFKA_SASL_MECHANISM, CREDITWELL_KAFKA_SASL_USERNAME, "),
        ({"kafka_security_protocol": "SASL_PLAINTEXT", **LOGIN, "kafka_sasl_password": None}, "set CREDITWELL_KAFKA_SASL_PASSWORD too"),
        (LOGIN, "CREDITWELL_KAFKA_SASL_MECHANISM is set, but CREDITWELL_KAFKA_SECURITY_PROTOCOL is PLAINTEXT"),
        ({"kafka_security_protocol": "SSL", **LOGIN}, "but CREDITWELL_KAFKA_SECURITY_PROTOCOL is SSL: write SASL_SSL"),
        ({"kafka_ca_file": __file__}, "CREDITWELL_KAFKA_CA_FILE is set, but"),
        (BY_TOKEN, "CREDITWELL_KAFKA_SASL_MECHANISM is set, but CREDITWELL_KAFKA_SECURITY_PROTOCOL is PLAINTEXT"),
        (
            {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER"},
            "CREDITWELL_KAFKA_TOKEN_CLIENT_ID, CREDITWELL_KAFKA_TOKEN_CLIENT_SECRET too, or CREDITWELL_KAFKA_TOKEN_FILE",
        ),
        ({"kafka_security_protocol": "SASL_SSL", **BY_TOKEN, "kafka_token_client_secret": None}, "set CREDITWELL_KAFKA_TOKEN_CLIENT_SECRET"),
        ({"kafka_security_protocol": "SASL_SSL", **BY_TOKEN, "kafka_token_file": __file__}, "CREDITWELL_KAFKA_TOKEN_URL, not both"),
        ({"kafka_security_protocol": "SASL_SSL", **LOGIN, "kafka_token_file": __file__}, "CREDITWELL_KAFKA_TOKEN_FILE is set, but"),
        ({"kafka_security_protocol": "SASL_SSL", **BY_TOKEN, "kafka_sasl_username": "me"}, "CREDITWELL_KAFKA_SASL_USERNAME is set, but"),
        ({"kafka_security_protocol": "SASL_SSL", **BY_TOKEN, "kafka_token_url": "http://a/b"}, "CREDITWELL_KAFKA_TOKEN_URL begins with http"),
        ({"kafka_security_protocol": "SASL_SSL", **BY_TOKEN, "kafka_sasl_extensions": "a=b\x01"}, "kafka_sasl_extensions"),
        ({"kafka_security_protocol": "SSL", "kafka_key_file": __file__}, "so set CREDITWELL_KAFKA_CERTIFICATE_FILE too"),
    ],
)  # fmt: skip
def test_half_a_login_is_a_wrong_setting_and_no_outage(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Settings(kafka="kafka-1:9093", **given)


@pytest.mark.parametrize("name", ["kafka_ca_file", "kafka_certificate_file"])
def test_a_file_that_is_no_certificate_is_named(name: str, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")

    with pytest.raises(WrongSettings, match=f"CREDITWELL_{name.upper()}"):
        kafka.connection_of(secured("SSL", **{name: nonsense}))
