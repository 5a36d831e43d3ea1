"""How a feature service reports usage: three lines, and nothing that was reported is ever lost.

    emitter = Emitter(kafka="kafka:9092", source="/features/video", spool="/var/spool/creditwell-usage/0")
    receipt = emitter.report(team="team_42", feature="ai_video.generate", quantity="12.5", attributes={"tier": "high"})
    emitter.void(team="team_42", usage=receipt, reason="the clip was unusable")

A service that has no Kafka names the API instead: `Emitter(http="https://credits.example.com", token=…, …)`.

A report is checked, written to the spool, and that is all the caller waits for (some 20 µs); a thread of its own brings
it to Kafka or to the API. While that is away reports wait on disk, and after a crash they are sent again with the same
ids: at least once, and Creditwell counts each once. So a spool belongs to one process at a time, and must come back
with it: name it after the worker's number, not after its pid, and make the emitter after forking.

Plain calls are quick enough for coroutines; `async with`, `flush_async` and `close_async` are for what waits.

    spool         reports on disk until they have arrived
    segment       one file of it
    ways          to Kafka or to the API
    sender        what brings reports there, whatever the way
    kafka_sender  the thread of the one way
    http_sender   the thread of the other
    verdicts      what an answer of the API means for a batch
    refusals      reports that the API will never take, on disk
    logs          what the client of Kafka says meanwhile
    arguments     what callers pass, checked
    ids           ids of reports
    receipts      what callers get back
"""

import asyncio
import atexit
import logging
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from ..cloudevents import trace_of
from ..problems import problems_of
from ..topics import USAGE
from ..usage import AnyUsage, UsageAmendReported, UsageReported, UsageVoidReported
from . import arguments
from .http_sender import Token
from .ids import uuid7s
from .receipts import InvalidReport, Metrics, Receipt
from .spool import SPOOL_MAX_BYTES, Fsync, Spool
from .ways import chosen_way

__all__ = ["Emitter", "InvalidReport", "Metrics", "Receipt"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXIT_TIMEOUT_SECONDS = 5.0
logger = logging.getLogger(__name__)


class Emitter:
    """Reports usage of one source. Safe to share between threads and coroutines, not between processes."""

    def __init__(
        self,
        *,
        source: str,
        spool: Path | str,
        kafka: str | None = None,
        http: str | None = None,
        token: Token | None = None,
        topic: str = USAGE,
        spool_max_bytes: int = SPOOL_MAX_BYTES,
        fsync: Fsync = "interval",
        exit_timeout_seconds: float = EXIT_TIMEOUT_SECONDS,
        kafka_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the spool and start sending what an earlier process left in it. Kafka or the API need not be there.

        `kafka` or `http` says where to. The API wants a `token`, a text or a function: it is called for each request.

        `fsync` says what a power failure may take. With "interval", the default, it is the last 100 ms that has
        not arrived yet. With "always" it is nothing, and each report waits for the disk. With "never" it is what the
        kernel had not written. The death of the process takes nothing in any case. `kafka_options` go to aiokafka's
        producer (security, compression).

        Raises:
            ValueError: no such source, or one of Creditwell's own; no such `fsync`; not one place to report to.
            SpoolInUse: another process has the spool.
            TypeError: aiokafka does not know one of the options, or it is not yours to set.
        """
        new_sender = chosen_way(kafka=kafka, topic=topic, kafka_options=kafka_options, http=http, token=token)
        self.source = arguments.valid_source(source)
        self.exit_timeout_seconds = exit_timeout_seconds
        self.spool = Spool(arguments.valid_spool(spool), max_bytes=spool_max_bytes, fsync=arguments.valid_fsync(fsync))
        self.ids = uuid7s()
        self.mutex = threading.Lock()
        self.refused = 0
        self.sender = new_sender(self.spool)
        try:
            self.sender.start()
        except BaseException:
            self.spool.close()
            raise
        atexit.register(self.close)

    def report(
        self,
        *,
        team: str,
        feature: str,
        quantity: str | int | Decimal | None = None,
        quantities: Mapping[str, str | int | Decimal] | None = None,
        member: str | None = None,
        attributes: Mapping[str, str] | None = None,
        hold: str | None = None,
        at: datetime | None = None,
        id: str | None = None,
        traceparent: str | None = None,
    ) -> Receipt:
        """Say that a feature did paid work for a team. Returns at once; from then on it can't be lost.

        `quantity` is in the feature's own unit. Where one use is measured in several, as a call of a model is,
        `quantities` has each by its name on the rate card, and `quantity` is left out; of some, nothing may have been
        used. `at` is when it happened, now unless told; `hold` settles a hold. `id` makes repeating a call harmless:
        pass the id of your job, and the usage counts once however often the job is tried. `traceparent` is the W3C
        trace context of the work, which is carried on to what comes of it; one that is malformed is left out.

        Raises:
            InvalidReport: an argument is wrong.
            SpoolFull: nothing was taken for so long that there is no room.
            SpoolClosed: the emitter was closed, or made before this process was forked.
        """
        data = {
            "feature": feature, **self.measured(quantity, quantities), "member_id": member,
            "attributes": attributes or None, "hold_id": hold,
        }  # fmt: skip
        return self.keep(UsageReported, "usage.reported.v1", team, data, at, id, trace_of(traceparent) or None)

    def void(
        self,
        *,
        team: str,
        usage: Receipt | str,
        reason: str,
        at: datetime | None = None,
        id: str | None = None,
    ) -> Receipt:
        """Take a usage back, by its receipt or its id: its credits return.

        Only what this source reported can be voided.

        Raises as `report` does.
        """
        data = {"usage_source": self.source, **self.about(team, usage, reason)}
        return self.keep(UsageVoidReported, "usage.voided.v1", team, data, at, id)

    def amend(
        self,
        *,
        team: str,
        usage: Receipt | str,
        reason: str,
        quantity: str | int | Decimal | None = None,
        quantities: Mapping[str, str | int | Decimal] | None = None,
        at: datetime | None = None,
        id: str | None = None,
    ) -> Receipt:
        """Say how much a usage really was: it is taken back, and recorded anew with all else as it was.

        The receipt is the new usage's, and may be amended in its turn. Raises as `report` does.
        """
        data = {**self.about(team, usage, reason), **self.measured(quantity, quantities)}
        return self.keep(UsageAmendReported, "usage.amended.v1", team, data, at, id)

    def about(self, team: str, usage: Receipt | str, reason: str) -> dict[str, Any]:
        """Which usage is meant, and why. Raises InvalidReport."""
        if isinstance(usage, Receipt):
            if (usage.team, usage.source) != (team, self.source):
                raise self.invalid(
                    f"usage: it was reported for {usage.team} by {usage.source}, and only they can void or amend it"
                )
            usage = usage.id
        if isinstance(reason, str) and not reason.strip():
            raise self.invalid("reason: it is empty; say why, for the team reads it beside the credits that return")
        return {"usage_id": usage, "reason": reason}

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Wait until everything that was reported before this call has arrived; False if it has not in time."""
        if not self.spool.open:
            return not self.spool.pending()
        return self.sender.wait_until_delivered(timeout_seconds)

    async def flush_async(self, timeout_seconds: float | None = None) -> bool:
        """The same, for coroutines."""
        return await asyncio.to_thread(self.flush, timeout_seconds)

    def close(self, timeout_seconds: float | None = None) -> bool:
        """Flush, for `exit_timeout_seconds` unless told, and let go of the spool. Called at exit for you.

        Returns False when reports remain: they are in the spool, and sent when an emitter is next made for it.
        """
        atexit.unregister(self.close)
        if not self.spool.open:
            return not self.spool.pending()
        self.flush(self.exit_timeout_seconds if timeout_seconds is None else timeout_seconds)
        stopped = self.sender.stop()
        remaining = self.spool.pending()
        if remaining:
            logger.warning("%d reports remain in %s and are sent at the next start", remaining, self.spool.folder)
        if stopped:  # otherwise the sender still reads it, and the end of the process lets go of it
            self.spool.close()
        return not remaining

    async def close_async(self, timeout_seconds: float | None = None) -> bool:
        """The same, for coroutines."""
        return await asyncio.to_thread(self.close, timeout_seconds)

    def metrics(self) -> Metrics:
        """What it did and what waits, cheap enough to ask every second."""
        oldest = self.spool.oldest()
        return Metrics(
            reported=self.spool.appended,
            refused=self.refused,
            delivered=self.spool.dropped - self.sender.put_aside,
            put_aside=self.sender.put_aside,
            spooled=self.spool.pending(),
            damaged=self.spool.damaged,
            oldest_age_seconds=None if oldest is None else max(0.0, time.time() - oldest / 1_000_000),
            trouble=self.sender.trouble,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close_async()

    def keep(
        self, model: type[UsageReported] | type[UsageVoidReported] | type[UsageAmendReported], kind: str, team: str,
        data: dict[str, Any], at: datetime | None, given_id: str | None, traceparent: str | None = None,
    ) -> Receipt:  # fmt: skip
        """Check an event with the recorder's own model, and spool it."""
        now_us = time.time_ns() // 1_000
        now = EPOCH + timedelta(microseconds=now_us)
        with self.mutex:
            event_id = given_id if given_id is not None else next(self.ids)
        document = {
            "specversion": "1.0",
            "type": kind,
            "source": self.source,
            "id": event_id,
            "subject": team,
            "traceparent": traceparent,
            "time": now if at is None else at,
            "data": data,
        }
        try:
            event: AnyUsage = model.model_validate(document)
            arguments.valid_time(event.time, now)
        except ValidationError as error:
            raise self.invalid("; ".join(map(arguments.in_callers_words, problems_of(document, error)))) from error
        except ValueError as wrong:
            raise self.invalid(str(wrong)) from None
        try:
            self.spool.append(team.encode(), event.__pydantic_serializer__.to_json(event, exclude_none=True), now_us)
        except Exception:
            with self.mutex:
                self.refused += 1
            raise
        self.sender.wake()
        return Receipt(team, self.source, event.id, event.time)

    def measured(self, quantity: object, quantities: Mapping[str, object] | None) -> dict[str, Any]:
        """How much was used, as text, exact. Raises InvalidReport."""
        try:
            return arguments.measured(quantity, quantities)
        except ValueError as wrong:
            raise self.invalid(str(wrong)) from None

    def invalid(self, message: str) -> InvalidReport:
        """Count a report that is not taken."""
        with self.mutex:
            self.refused += 1
        return InvalidReport(message)
