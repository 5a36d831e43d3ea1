"""Records of a batch: parsed, cut to transactions, and how far each cursor moves.

Kafka gives the records of a partition in a row, so everything about claims and cursors is asked once for such a run.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from aiokafka import ConsumerRecord

from schemas.usage import UsageAmendReported, UsageVoidReported
from services.store.identities import Identity
from services.usage import door
from services.usage.cursors import CursorStep
from services.usage.door import ParsedUsage, Passed
from services.usage.last_records import hash_of
from services.usage.partitions import Owned
from services.usage.refusals import RefusedRecord
from services.usage.taking_back import target_of

BATCH_MAX = 5_000  # one transaction; smaller while somebody waits for a head row
PARSED_AT_ONCE = 100  # half a millisecond

TAKE_BACK = (UsageVoidReported, UsageAmendReported)
ParsedRecord = ParsedUsage | RefusedRecord | Passed


class ParsedRun(NamedTuple):
    """Parsed records of one partition, one after the other, with the claim under which they were read."""

    owned: Owned
    parsed: Sequence[ParsedRecord]
    has_voids: bool

    @property
    def end(self) -> int:
        """The offset behind them."""
        return self.parsed[-1].record.offset + 1

    def cut(self, count: int) -> tuple["ParsedRun", "ParsedRun"]:
        """The first so many, and the rest; neither is empty."""
        return self._replace(parsed=self.parsed[:count]), self._replace(parsed=self.parsed[count:])


async def parse(runs: Iterable[tuple[Owned, Sequence[ConsumerRecord]]]) -> list[ParsedRun]:
    """Parse a batch, and let go every now and then.

    The batch before has heads locked while it waits for its next statement.
    """
    parsed_runs: list[ParsedRun] = []
    for owned, records in runs:
        parsed: list[ParsedRecord] = []
        for start in range(0, len(records), PARSED_AT_ONCE):
            parsed += map(door.parse, records[start : start + PARSED_AT_ONCE])
            await asyncio.sleep(0)
        parsed_runs.append(ParsedRun(owned, parsed, any(map(_is_void, parsed))))
    return parsed_runs


def _is_void(parsed: ParsedRecord) -> bool:
    return type(parsed) is ParsedUsage and type(parsed.event) in TAKE_BACK


def steps(runs: Sequence[ParsedRun], now: datetime) -> list[CursorStep]:
    """How far each cursor moves with these records."""
    last = {run.owned.partition: run for run in runs}
    return [
        CursorStep(
            partition, run.owned.epoch, run.owned.next_offset, run.end, hash_of(run.parsed[-1].record),
            _kafka_time(run.parsed[-1].record.timestamp, now),
        )
        for partition, run in sorted(last.items())
    ]  # fmt: skip


def _kafka_time(milliseconds: int, now: datetime) -> datetime:
    """When Kafka received a record; never later than now, whatever a producer claims."""
    if not 0 <= milliseconds <= now.timestamp() * 1000:
        return now
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def next_runs(runs: Sequence[ParsedRun], most: int) -> tuple[list[ParsedRun], list[ParsedRun]]:
    """What goes into the next transaction, at least one record of those in hand, and the rest.

    While batches are small because somebody has waited for a head, it is of whole partitions, and a larger one alone
    is cut: no shard is locked for a part of what waits in its partition.
    """
    room = _room(runs, most)
    batch_runs: list[ParsedRun] = []
    for index, run in enumerate(runs):
        if batch_runs and (room == 0 or (most < BATCH_MAX and len(run.parsed) > room)):
            return batch_runs, list(runs[index:])
        if len(run.parsed) > room:
            first, rest = run.cut(room)
            return [*batch_runs, first], [rest, *runs[index + 1 :]]
        batch_runs.append(run)
        room -= len(run.parsed)
    return batch_runs, []


def _room(runs: Sequence[ParsedRun], most: int) -> int:
    """At most `most`, and nothing that takes a usage back together with it, whose position it must know."""
    if not any(run.has_voids for run in runs):
        return most
    identities: set[Identity] = set()
    in_hand = (parsed for run in runs for parsed in run.parsed)
    for index, parsed in zip(range(most), in_hand, strict=False):
        if not isinstance(parsed, ParsedUsage):
            continue
        if target_of(parsed.event) in identities:
            return index
        identities.add(parsed.identity)
    return most
