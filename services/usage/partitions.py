"""The partitions of the topic that a recorder owns: claimed in the store, watched in Kafka.

Kafka assigns, but the store decides: a partition is ours from the claim that raises its cursor's epoch until somebody
else's. Each claim gives a new `Owned`, which every record in hand carries along; once it is `lost`, what is in hand is
dropped, not flushed, and the next owner reads it again.

A topic that was cut, made anew, or has been overtaken by its retention stops the recorder with `LogChanged`. At a claim
the record before the cursor is read again and its hash compared. Later, offsets that jump are looked into.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from services.runtime.clock import until_stopped
from services.runtime.errors import LogChanged
from services.runtime.health import Health
from services.runtime.retry import until_answered
from services.runtime.settings import Settings
from services.store.connect import AWAY, Pool
from services.usage.cursors import Cursor, CursorStep, claim_cursors, note_passed, read_cursors
from services.usage.last_records import ADVICE, check_last_records
from services.usage.metrics import tell_of_transaction
from services.usage.refusals import KafkaRecord

CLOCKS_DIFFER = timedelta(seconds=5)  # between Kafka's clock and ours

T = TypeVar("T")
R = TypeVar("R", bound=KafkaRecord)

log = structlog.get_logger("recorder")


@dataclass(slots=True, eq=False)
class Owned:
    """A partition from one claim to the next: everything before `next_offset` is stored, before `read_to` in hand.

    Nothing before `through` was left to be recorded when it was last looked at: transactions end with markers of
    Kafka's.
    """

    partition: int
    epoch: int
    next_offset: int
    read_to: int
    through: int = 0
    lost: bool = False


@dataclass(slots=True)
class Partitions:
    """What this process owns of a topic."""

    topic: str
    settings: Settings
    pool: Pool
    owner: str
    health: Health
    consumer_of: Callable[[], Any] = lambda: None  # FastStream makes the consumer when it starts
    uncommitted: Any = None  # a consumer that reads nothing: it is told of what lies behind an open transaction, too
    owned: dict[int, Owned] = field(default_factory=dict)
    claiming: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def consumer(self) -> Any:
        """Aiokafka's consumer."""
        return self.consumer_of()

    async def check(self, records: Sequence[R]) -> list[tuple[Owned, list[R]]]:
        """The records of owned partitions, by runs of one partition, in ascending order, with their claims.

        Raises:
            LogChanged: the topic begins anew, or lacks records that were never stored.
        """
        grouped = ((partition, list(run)) for partition, run in groupby(records, key=attrgetter("partition")))
        runs = [(mine, run) for partition, run in grouped if (mine := self.owned.get(partition)) is not None]
        for mine, run in runs:
            first, last = run[0].offset, run[-1].offset
            if first != mine.read_to or last - first != len(run) - 1:  # they ascend
                await self._explain_gaps(run, mine)
            mine.read_to = last + 1
        return sorted(runs, key=lambda run: run[0].partition)  # a partition's runs stay in their order

    async def _explain_gaps(self, run: Sequence[KafkaRecord], mine: Owned) -> None:
        for record in run:
            if record.offset != mine.read_to:
                await self._explain(record, mine)
            mine.read_to = record.offset + 1

    async def _explain(self, record: KafkaRecord, mine: Owned) -> None:
        """Transaction markers and aborted records leave gaps, too; but then the topic still begins before them.

        Or it was seen that they were nothing else.
        """
        expected = mine.read_to
        if record.offset < expected:
            raise LogChanged(
                f"{self.topic}-{record.partition}: offset {record.offset} came after {expected - 1}: the topic was recreated. {ADVICE}"
            )
        place = TopicPartition(self.topic, record.partition)
        start = (await self._answered(lambda: self.consumer.beginning_offsets([place])))[place]
        if start > max(expected, mine.through):
            raise _overtaken(self.topic, record.partition, expected, start)

    async def _answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await until_answered("store or Kafka", ask, self.health, away=(*AWAY, KafkaError))

    def disown(self) -> None:
        """Kafka gives the partitions out anew."""
        for mine in self.owned.values():
            self._lose(mine)
        self.owned.clear()

    def _lose(self, mine: Owned) -> None:
        mine.lost = True
        self.health.gone(f"{self.topic}-{mine.partition}")

    async def claim(self, assigned: Collection[TopicPartition]) -> None:
        """Own these partitions from now on and read on from their cursors, once the topic is the one that was recorded.

        Raises:
            LogChanged: it is another one.
        """
        async with self.claiming:  # no handler takes this lock: see aiokafka on deadlocks in listeners
            self.disown()
            if not assigned:
                return
            start = by_partition(await self._answered(lambda: self.consumer.beginning_offsets(assigned)))
            cursors = await self._answered(lambda: self._claim_cursors(start))
            end = by_partition(await self._answered(lambda: self.consumer.end_offsets(assigned)))
            for cursor in cursors:
                _check_range(cursor, start[cursor.partition], end[cursor.partition])
            checkable = [cursor for cursor in cursors if cursor.next_offset > start[cursor.partition]]
            await self._answered(lambda: check_last_records(self.settings, checkable))
            self._go_on(cursors, start)

    def _go_on(self, cursors: Sequence[Cursor], start: Mapping[int, int]) -> None:
        """Seek and own, with no await between: a record that was fetched from elsewhere is never ours."""
        owned: dict[int, Owned] = {}
        for cursor in cursors:
            begin = max(cursor.next_offset, start[cursor.partition])
            owned[cursor.partition] = Owned(cursor.partition, cursor.epoch, cursor.next_offset, begin, begin)
        try:
            for mine in owned.values():
                self.consumer.seek(TopicPartition(self.topic, mine.partition), mine.read_to)
        except IllegalStateError as error:
            log.info("assigned anew while claiming; the next claim is on its way", error=str(error))
            return
        self.owned = owned

    async def _claim_cursors(self, start: Mapping[int, int]) -> list[Cursor]:
        async with self.pool.acquire() as connection:
            return await claim_cursors(connection, self.topic, self.owner, start)

    async def settle(self, claims: Collection[Owned], steps: Sequence[CursorStep]) -> bool:
        """After the compare-and-swap failed: True if these very steps were stored before, their answer being lost.

        Otherwise the claims that somebody has outdone by a newer epoch are lost.

        Raises:
            LogChanged: the claims stand, and yet the cursors are elsewhere.
        """
        rows = await self._answered(self._read_cursors)
        for mine in claims:
            if rows[mine.partition].epoch != mine.epoch:
                self._lose(mine)
        if any(mine.lost for mine in claims):
            self.owned = {partition: mine for partition, mine in self.owned.items() if not mine.lost}
            return False
        if all(rows[step.partition].next_offset == step.to_offset for step in steps):
            return True
        stands = {step.partition: rows[step.partition].next_offset for step in steps}
        raise LogChanged(f"the cursors of {self.topic} were moved by somebody else: they stand at {stands}. {ADVICE}")

    async def _read_cursors(self) -> dict[int, Cursor]:
        async with self.pool.acquire() as connection:
            return await read_cursors(connection, self.topic)

    async def look_around(self, *, busy: Callable[[], bool], asked_at: datetime) -> None:
        """Now and then: lag, Kafka's time for sealing, partitions that were lost and are still assigned to us.

        Raises:
            LogChanged: the topic does not hold any more what is yet to be recorded.
        """
        assigned = self.consumer.assignment()
        if {place.partition for place in assigned} - self.owned.keys():
            if not self.claiming.locked():
                await self.claim(assigned)
            return
        stood = {partition: mine.next_offset for partition, mine in self.owned.items()}
        start = by_partition(await self.consumer.beginning_offsets(assigned))
        # In this order: what was there first and is not readable afterwards lies in a transaction, or behind one.
        end = by_partition(await self.uncommitted.end_offsets(assigned))
        readable = by_partition(await self.consumer.end_offsets(assigned))
        through: dict[int, tuple[int, int]] = {}
        for partition, mine in list(self.owned.items()):
            if partition not in start or partition not in stood:
                continue
            if start[partition] > max(mine.next_offset, mine.through):
                raise _overtaken(self.topic, partition, mine.next_offset, start[partition])
            if end[partition] < stood[partition]:
                raise LogChanged(
                    f"{self.topic}-{partition} ends at {end[partition]}, before what is recorded: it was cut. {ADVICE}"
                )
            if await self._is_through(mine, end[partition], readable[partition], busy):
                mine.through = max(mine.through, end[partition])
                through[partition] = mine.epoch, mine.through
        if through:
            async with self.pool.acquire() as connection:
                await note_passed(connection, self.topic, through, asked_at - CLOCKS_DIFFER)

    async def _is_through(self, mine: Owned, end: int, readable: int, busy: Callable[[], bool]) -> bool:
        """Everything of a partition is recorded; what waits is told. `end` is the broker's (the high watermark).

        Usage in an open transaction was received, so no cycle may be sealed without it.
        """
        position = await self.consumer.position(TopicPartition(self.topic, mine.partition))
        if mine.lost:
            return False
        # What Kafka delivers ends before its own markers, so the consumer's position counts where nothing is in hand.
        reached = mine.next_offset if busy() else max(position, mine.next_offset)
        name = f"{self.topic}-{mine.partition}"
        self.health.lag(name, max(0, end - reached))
        tell_of_transaction(self.health, name, readable if readable <= reached < end else None, end)
        return reached >= end


class Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """What aiokafka calls when the group's members change. It swallows what is raised here, so `fail` gets it."""

    def __init__(self, partitions: Partitions, fail: Callable[[BaseException], None], stop: asyncio.Event) -> None:
        self.partitions = partitions
        self.fail = fail
        self.stop = stop

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:  # noqa: ARG002 - it is all of them
        """Before every rebalance."""
        self.partitions.disown()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """After every rebalance."""
        try:
            # The end of the consumer waits for this, however long the database is away.
            await until_stopped(self.partitions.claim(assigned), self.stop)
        except Exception as error:  # noqa: BLE001 - handed on, see above
            self.fail(error)


def _check_range(cursor: Cursor, start: int, end: int) -> None:
    through = max(cursor.next_offset, cursor.through)
    if start > through:
        raise _overtaken(cursor.topic, cursor.partition, through, start)
    if end < cursor.next_offset:
        raise LogChanged(
            f"{cursor.topic}-{cursor.partition}: everything before offset {cursor.next_offset} is recorded, but the topic ends at {end}: "
            f"it was recreated or truncated. {ADVICE}"
        )


def _overtaken(topic: str, partition: int, expected: int, start: int) -> LogChanged:
    return LogChanged(
        f"{topic}-{partition}: offsets {expected} to {start - 1} were never recorded and are gone: retention passed the recorder by, or "
        f"somebody deleted them. {ADVICE}"
    )


def by_partition(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    """Offsets of one topic."""
    return {place.partition: offset for place, offset in offsets.items()}
