"""The topics of the contract, made on whatever Kafka there is."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    BrokerNotAvailableError,
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    NoBrokersAvailable,
    NodeNotReadyError,
    UnknownError,
)

from deploy.local.trouble import StackTrouble
from deploy.local.waiting import Patience, wait_for_answer
from schemas.topics import COPIES, PARTITIONS
from services.runtime.kafka import topic_admin
from services.runtime.settings import Settings

STEP = "Kafka"

# Of somebody else's broker nothing moves but its answers.
THEIR_STILL_SECONDS = 60

# aiokafka calls these final, but they pass when a broker starts or comes back: it is fenced, or knows its controller
# not yet.
PASSING = (InvalidReplicationFactorError, BrokerNotAvailableError, NoBrokersAvailable, UnknownError)

# aiokafka logs several lines for every attempt, into the middle of what `make demo` shows. We say ourselves what was
# answered.
_TRYING: ContextVar[bool] = ContextVar("trying", default=False)
for _name in ("aiokafka", "aiokafka.cluster", "aiokafka.conn"):
    logging.getLogger(_name).addFilter(lambda _: not _TRYING.get())


async def create_topics(kafka: str, *, partitions: int = PARTITIONS, patience: Patience | None = None) -> None:
    """Make `usage` and `credits.events` with so many partitions, and `usage.refused` with one.

    What exists stays as it is.

    A broker that answers but takes no topics yet (it is fenced until the controller hears of it) is waited for: ours,
    which `patience` watches, and somebody else's. Where nobody answers at all, only ours is waited for.

    Raises:
        StackTrouble: nobody answers there, a topic is refused for good, or the broker never becomes ready.
    """
    try:
        await wait_for_answer(
            lambda: _try_to_create(kafka, partitions),
            patience or Patience(STEP, still_seconds=THEIR_STILL_SECONDS),
            passes=passes if patience else _passes_at_theirs,
        )
    except KafkaConnectionError as failure:
        raise StackTrouble(STEP, f"nobody answers at {kafka}", way_out=str(failure)) from failure
    except KafkaError as failure:
        raise StackTrouble(STEP, f"does not make the topics: {failure}") from failure


async def wait_for_coordinator(kafka: str, patience: Patience) -> None:
    """A broker takes connections a moment before it can look after consumer groups: return when it can."""
    await wait_for_answer(lambda: _ask_coordinator(kafka), patience, passes=passes)


def passes(failure: Exception) -> str | None:
    """In words, a failure that ends by itself while brokers start; None for one that would come again tomorrow."""
    match failure:
        case NodeNotReadyError():
            return "a broker answers, but none is ready to serve"
        case KafkaError() if failure.retriable or isinstance(failure, PASSING):
            return str(failure)
        case OSError():
            return f"{type(failure).__name__} {failure}".strip()
        case _:
            return None


def _passes_at_theirs(failure: Exception) -> str | None:
    return None if isinstance(failure, KafkaConnectionError) else passes(failure)


async def _try_to_create(kafka: str, partitions: int) -> None:
    """One attempt. Of several failures, one that does not end by itself is raised before the others."""
    async with _admin(kafka) as admin:
        # Without those that are fenced: who has so many brokers has so many places for copies, now or in a moment.
        brokers = len((await admin.describe_cluster())["brokers"])
        outcomes = await topic_admin.create(admin, copies=min(COPIES, brokers), partitions=partitions)
    failures = [
        outcome for outcome in outcomes.values() if outcome is not None and not topic_admin.already_there(outcome)
    ]
    if failures:
        raise next((failure for failure in failures if passes(failure) is None), failures[0])


async def _ask_coordinator(kafka: str) -> None:
    async with _admin(kafka) as admin:
        await admin.list_consumer_group_offsets("creditwell-is-the-coordinator-there")


@asynccontextmanager
async def _admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client of its own for each attempt: one that began with a broker that was just starting may never recover."""
    # In the context of the attempt alone, which is a task of its own.
    _TRYING.set(True)
    async with topic_admin.administering(Settings(kafka=kafka), client_id="creditwell-local") as admin:
        yield admin
