"""The two ways of an emitter to Creditwell: which one its arguments name."""

from collections.abc import Callable, Mapping
from typing import Any

from . import arguments
from .http_sender import HttpSender, Token
from .kafka_sender import KafkaSender
from .sender import Sender
from .spool import Spool


def chosen_way(
    *, kafka: str | None, topic: str, kafka_options: Mapping[str, Any] | None, http: str | None, token: Token | None
) -> Callable[[Spool], Sender]:
    """What makes the sender for a spool.

    Raises:
        ValueError: neither `kafka` nor `http` is named, or both; one of them is none; `token` is missing or of no use.
        TypeError: one of the options is not the caller's to set.
    """
    if (kafka is None) == (http is None):
        raise ValueError('name one way: kafka="kafka:9092", or http="https://credits.example.com" with its token')
    if kafka is not None:
        if token is not None:
            raise ValueError("token: Kafka takes none; kafka_options have its security")
        servers, options = arguments.valid_servers(kafka), arguments.valid_options(kafka_options or {})
        name = arguments.valid_topic(topic)
        return lambda spool: KafkaSender(spool, servers, name, options)
    if kafka_options is not None:
        raise ValueError("kafka_options: they are for Kafka, and this emitter reports by HTTP")
    if not token:
        raise ValueError("token: the API needs one, of the role service: a text, or a function that has a fresh one")
    url, bearer = arguments.valid_url(http or ""), token
    return lambda spool: HttpSender(spool, url, bearer)
