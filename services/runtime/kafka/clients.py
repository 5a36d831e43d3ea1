"""Kafka's clients, made in one place, from the settings.

How Kafka is reached and how a client proves who it is stands in `connection_of` alone. What would lose or repeat a
record were it chosen otherwise is chosen here; what differs for a reason (sizes, waits, groups) is the caller's
argument. Nobody else in `services` makes a client, and a test sees to that. `schemas.emitter` makes its own: other
teams import it.
"""

import ssl
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from services.runtime.kafka.any_batch import accept_any_batch
from services.runtime.kafka.tokens import KafkaTokens
from services.runtime.settings import Settings, WrongSettings, advice, variable

if TYPE_CHECKING:
    from faststream.kafka import KafkaBroker
    from faststream.security import BaseSecurity


def connection_of(settings: Settings) -> dict[str, Any]:
    """What every client must know to reach Kafka and to be let in, as aiokafka calls it.

    Raises WrongSettings where nobody says where Kafka is, or a certificate can't be read.
    """
    options: dict[str, Any] = {"bootstrap_servers": settings.needed("kafka").split(",")}
    if settings.kafka_security_protocol != "PLAINTEXT":
        options |= {"security_protocol": settings.kafka_security_protocol, "ssl_context": _tls(settings)}
    if settings.kafka_sasl_mechanism == "OAUTHBEARER":
        options |= {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": KafkaTokens(settings)}
    elif settings.kafka_sasl_mechanism is not None:
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.needed("kafka_sasl_username"),
            "sasl_plain_password": settings.needed("kafka_sasl_password"),
        }
    return options


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """Certificates of brokers are checked against the given authority, or those that the machine trusts, and by name.

    Raises:
        WrongSettings: a file can't be read, or is no certificate or key.
    """
    if not settings.kafka_security_protocol.endswith("SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise WrongSettings(f"{variable('kafka_ca_file')} is wrong: {error}. {advice('kafka_ca_file')}") from None
    if settings.kafka_certificate_file is not None:
        try:
            context.load_cert_chain(settings.kafka_certificate_file, settings.kafka_key_file, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            names = f"{variable('kafka_certificate_file')} or {variable('kafka_key_file')}"
            raise WrongSettings(f"{names} is wrong: {error}. {advice('kafka_certificate_file')}") from None
    return context


def _no_password() -> str:
    """Without it OpenSSL would ask whoever sits at the terminal."""
    raise ValueError("the key is encrypted, and has to be without a password")


def security_of(settings: Settings) -> "BaseSecurity | None":
    """The same as FastStream calls it; it takes the tokens of OAUTHBEARER apart from this."""
    from faststream.security import BaseSecurity, SASLOAuthBearer, SASLPlaintext, SASLScram256, SASLScram512

    if settings.kafka_security_protocol == "PLAINTEXT":
        return None
    tls = _tls(settings)
    if settings.kafka_sasl_mechanism is None:
        return BaseSecurity(ssl_context=tls, use_ssl=True)
    if settings.kafka_sasl_mechanism == "OAUTHBEARER":
        return SASLOAuthBearer(ssl_context=tls, use_ssl=tls is not None)
    made = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
    return made[settings.kafka_sasl_mechanism](
        username=settings.needed("kafka_sasl_username"), password=settings.needed("kafka_sasl_password"),
        ssl_context=tls, use_ssl=tls is not None,
    )  # fmt: skip


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
    """A consumer that is not started yet, and that no batch can stop. `options` are aiokafka's."""
    accept_any_batch()
    return AIOKafkaConsumer(*topics, **connection_of(settings), client_id=client_id, **options)


def admin(settings: Settings, *, client_id: str) -> AIOKafkaAdminClient:
    """A client for what belongs to whoever runs Kafka; it is not started yet."""
    return AIOKafkaAdminClient(**connection_of(settings), client_id=client_id)


def broker(settings: Settings, *, client_id: str, **options: Any) -> "KafkaBroker":
    """FastStream's broker, which makes the consumers of its subscribers; it is not started yet.

    `options` are FastStream's.

    FastStream takes what belongs to security as an object of its own, made from the same settings.
    """
    from faststream.kafka import KafkaBroker  # the recorder's alone, and much to load

    accept_any_batch()
    connection = connection_of(settings)
    tokens = {name: value for name, value in connection.items() if name == "sasl_oauth_token_provider"}
    return KafkaBroker(
        connection["bootstrap_servers"], security=security_of(settings), client_id=client_id, **tokens, **options
    )
