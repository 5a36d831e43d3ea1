"""What callers pass to the emitter: checked, and named in their own words when it is wrong."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from ..facts import OURS
from ..instants import is_meant
from ..problems import problems_of
from ..quantities import QUANTITY
from ..topics import USAGE
from ..usage import Source
from .spool import Fsync

LIMITS = "more than zero, with at most 12 digits before the point and 9 after it"
AHEAD_MAX = timedelta(minutes=5)  # the recorder refuses what is further in its future
TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}").fullmatch  # https://kafka.apache.org/documentation/#basic_ops_add_topic
QUANTITY_DIGITS_MAX = 100  # far more than a quantity may have
PLAIN_QUANTITY = re.compile(QUANTITY)
NOT_YOURS = {  # options of the client that the emitter's promises rest on, and why
    "bootstrap_servers": "it is the argument kafka",
    "acks": "a report leaves the spool when every replica that must have it has it",
    "enable_idempotence": "the client must not write a report twice by itself",
    "max_batch_size": "a batch of the spool has to fit",
    "transactional_id": "reports are not sent in transactions",
    "key_serializer": "keys and values are written as the contract says",
    "value_serializer": "keys and values are written as the contract says",
    "partitioner": "a team's partition is its shard",
    "loop": "the emitter has one of its own",
}
ARGUMENTS = {  # what callers call the members of the event
    "subject": "team",
    "time": "at",
    "data.member_id": "member",
    "data.hold_id": "hold",
    "data.usage_id": "usage",
    "data.": "",
}


def valid_source(source: str) -> str:
    """A source, if feature services may use it. Raises ValueError."""
    try:
        TypeAdapter(Source).validate_python(source)
    except ValidationError as error:
        raise ValueError(f"source: {'; '.join(problems_of(source, error))}") from error
    if source.startswith(OURS):
        raise ValueError(
            f"source: {source!r} begins with {OURS!r}, which is Creditwell's own; write one like /features/video"
        )
    return source


def valid_time(at: datetime, now: datetime) -> None:
    """Refuse an instant that the recorder would refuse. Raises ValueError."""
    if not is_meant(at):
        raise ValueError(f"at: the year {at.year} can't be meant; say when it happened")
    if at - now > AHEAD_MAX:
        raise ValueError(f"at: {at.isoformat()} lies ahead of this clock; report what has happened")


def measured(quantity: object, quantities: Mapping[str, object] | None) -> dict[str, Any]:
    """The members of an event that say how much was used: one quantity, or several.

    Raises:
        ValueError: both are there or none, one is no quantity, or of nothing something was used.
    """
    if quantities is None:
        if quantity is None:
            raise ValueError("quantity: it is missing; pass how much was used, or quantities where that is several")
        text = checked("quantity", quantity)
        if not text.strip("0."):
            raise ValueError(f"quantity: {text!r:.80} is not one: pass a plain decimal, {LIMITS}")
        return {"quantity": text}
    if quantity is not None:
        raise ValueError("quantity: there are quantities, too; pass one or the other")
    if not isinstance(quantities, Mapping):  # said like the rest, as a report that is wrong
        raise ValueError(  # noqa: TRY004 - it becomes an InvalidReport
            f"quantities: {quantities!r:.80} is not a dict: pass one such as {{'input_token': 1200}}"
        )
    several = {name: checked(f"quantities.{name}", each) for name, each in quantities.items()}
    if not any(text.strip("0.") for text in several.values()):
        raise ValueError("quantities: all of them are 0; report only what was used")
    return {"quantities": several}


def checked(name: str, quantity: object) -> str:
    """A quantity as text, exact; 0 is one here. Raises ValueError."""
    text = quantity_text(quantity)
    if text is None:
        kind = type(quantity).__name__
        raise ValueError(f"{name}: {quantity!r:.80} is a {kind}: pass a str such as '12.5', an int or a Decimal")
    if not PLAIN_QUANTITY.fullmatch(text):
        raise ValueError(f"{name}: {text!r:.80} is not one: pass a plain decimal, {LIMITS}")
    return text


def quantity_text(quantity: object) -> str | None:
    """A quantity as text; nothing for what may have lost digits on its way, such as a float."""
    match quantity:
        case bool():
            return None
        case str():
            return quantity
        case int():
            return str(quantity) if abs(quantity) < 10**QUANTITY_DIGITS_MAX else f"{Decimal(quantity):.1e}"
        case Decimal():  # 1E+999999999, written out, would be a text of a gigabyte
            return f"{quantity:f}" if abs(quantity.adjusted()) < QUANTITY_DIGITS_MAX else str(quantity)
        case _:
            return None


def in_callers_words(problem: str) -> str:
    """A problem of the event, said of the argument that it came from."""
    for member, argument in ARGUMENTS.items():
        if problem.startswith(member):
            return argument + problem.removeprefix(member)
    return problem


def valid_spool(spool: Path | str) -> Path:
    """The folder of the spool. Raises ValueError: it has no name, and would be whatever folder a process begins in."""
    if not str(spool).strip():
        raise ValueError(
            "spool: it is empty; name a folder that is this process's own, such as /var/spool/creditwell-usage/0"
        )
    return Path(spool)


def valid_topic(topic: str) -> str:
    """A topic, if Kafka can have one of that name. Raises ValueError."""
    if TOPIC(topic) is None or topic in {".", ".."}:
        raise ValueError(f"topic: {topic!r} is no name of a topic; leave it out, it is {USAGE!r}")
    return topic


def valid_servers(kafka: str) -> str:
    """Where Kafka is. Raises ValueError for what no broker can be found at."""
    if not all(len(server.split()) == 1 for server in kafka.split(",")):
        raise ValueError(f"kafka: {kafka!r} names no broker; write host:port, several as kafka-1:9092,kafka-2:9092")
    return kafka


def valid_url(http: str) -> str:
    """Where the API is. Raises ValueError for what is no address of one."""
    try:
        parts = urlsplit(http)
        is_one = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # such as a port that is no number
        is_one = False
    if not is_one or parts.query or parts.fragment:
        raise ValueError(f"http: {http!r} is no address of the API; write one like https://credits.example.com")
    return http


def valid_fsync(fsync: str) -> Fsync:
    """How sure a report is of the disk. Raises ValueError."""
    choices: tuple[Fsync, ...] = get_args(Fsync)
    for choice in choices:
        if fsync == choice:
            return choice
    raise ValueError(f"fsync: {fsync!r} is not one of {', '.join(choices)}")


def valid_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for the client that are the caller's to set. Raises TypeError, as the client does of others."""
    for name, why in NOT_YOURS.items():
        if name in options:
            raise TypeError(f"kafka_options: {name} is not yours to set: {why}")
    return dict(options)
