"""Records of a batch: parsed, cut to transactions, and how far each cursor moves."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import takewhile
from typing import NamedTuple

from aiokafka import ConsumerRecord

from schemas.usage import UsageVoidReported
from services.store.identities import Identity
from services.usage import door
from services.usage.cursors import CursorStep
from services.usage.door import ParsedUsage, Passed
from services.usage.partitions import Owned, hash_of
from services.usage.refusals import RefusedRecord

BATCH_MAX = 5_000  # one transaction; smaller while somebody waits for a head row
PARSED_AT_ONCE = 100  # half a millisecond


class ParsedRecord(NamedTuple):
    """A parsed record in hand, with the claim under which it was read."""

    owned: Owned
    parsed: ParsedUsage | RefusedRecord | Passed


async def parse(records: Sequence[tuple[Owned, ConsumerRecord]]) -> list[ParsedRecord]:
    """Parse a batch, and let go every now and then.

    The batch before has heads locked while it waits for its next statement.
    """
    items: list[ParsedRecord] = []
    for start in range(0, len(records), PARSED_AT_ONCE):
        items += [ParsedRecord(owned, door.parse(record)) for owned, record in records[start : start + PARSED_AT_ONCE]]
        await asyncio.sleep(0)
    return items


def steps(some: Sequence[ParsedRecord], now: datetime) -> list[CursorStep]:
    """How far each cursor moves with these records."""
    last = {item.owned.partition: item for item in some}
    return [
        CursorStep(
            partition, item.owned.epoch, item.owned.next_offset, item.parsed.record.offset + 1,
            hash_of(item.parsed.record), _kafka_time(item.parsed.record.timestamp, now),
        )
        for partition, item in sorted(last.items())
    ]  # fmt: skip


def _kafka_time(milliseconds: int, now: datetime) -> datetime:
    """When Kafka received a record; never later than now, whatever a producer claims."""
    if not 0 <= milliseconds <= now.timestamp() * 1000:
        return now
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def next_items(items: Sequence[ParsedRecord], most: int) -> Sequence[ParsedRecord]:
    """What goes into the next transaction, at least one record of those in hand.

    While batches are small because somebody has waited for a head, it is of one partition: no other shards are locked
    meanwhile.
    """
    some = items[: _chunk_end(items, most)]
    if most == BATCH_MAX:
        return some
    return list(takewhile(lambda item: item.owned is items[0].owned, some))


def _chunk_end(items: Sequence[ParsedRecord], most: int) -> int:
    """At most `most`, and no void together with the usage that it takes back, whose position it must know."""
    if not any(type(parsed) is ParsedUsage and type(parsed.event) is UsageVoidReported for _, parsed in items[:most]):
        return most
    identities: set[Identity] = set()
    for index, (_, parsed) in enumerate(items[:most]):
        if not isinstance(parsed, ParsedUsage):
            continue
        if isinstance(parsed.event, UsageVoidReported) and door.target(parsed.event) in identities:
            return index
        identities.add(parsed.identity)
    return most
