"""What brings reports from the spool to Creditwell, by Kafka (`kafka_sender`) or by HTTP (`http_sender`)."""

import logging
import threading
from abc import ABC, abstractmethod

from .spool import Spool, SpoolBatch

RETRY_MIN_SECONDS = 0.1
RETRY_MAX_SECONDS = 2.0
LINGER_SECONDS = 0.005
SYNC_SECONDS = 0.1
STOP_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Sender(ABC):
    """A thread that sends batch by batch, oldest first: a batch leaves the spool when all of it has arrived.

    `wake`, `wait_until_delivered` and `stop` are called from other threads.
    """

    EXPECTED: tuple[type[Exception], ...] = (OSError,)  # what is no surprise while the other side is away

    def __init__(self, spool: Spool, where: str) -> None:
        """`where` the reports go, in words."""
        self.spool = spool
        self.where = where
        self.trouble: str | None = None
        self.put_aside = 0  # refused for good, and kept beside the spool
        self.retry_seconds = RETRY_MIN_SECONDS
        self.progress = threading.Condition()
        self.idle = False
        self.stopping = False

    @abstractmethod
    def start(self) -> None:
        """Begin. Raises where the options can't be used."""

    @abstractmethod
    def wake(self) -> None:
        """Say that there is something to send. Costs nothing while the sender is at work."""

    @abstractmethod
    def stop(self) -> bool:
        """End the thread, whatever it is waiting for.

        False if it does not let go, as in a name server that is silent.
        """

    def wait_until_delivered(self, timeout_seconds: float | None) -> bool:
        """Wait until all that is in the spool by now has arrived; False if it has not in time, or was stopped."""
        goal = self.spool.leftover_count + self.spool.appended
        with self.progress:
            self.progress.wait_for(lambda: self.stopping or self.spool.dropped >= goal, timeout_seconds)
        return self.spool.dropped >= goal

    def delivered(self, batch: SpoolBatch) -> None:
        """All of a batch has arrived: it leaves the spool."""
        self.spool.drop(batch)
        self.out_of_trouble()
        with self.progress:
            self.progress.notify_all()

    def in_trouble(self, reason: str, error: Exception | None = None) -> None:
        """Say once why nothing is delivered, and once what nobody expected; `trouble` has the latest reason."""
        before, self.trouble = self.trouble, reason
        surprising = error is not None and not isinstance(error, self.EXPECTED) and reason != before
        if before is None or surprising:
            waiting = f"{self.spool.pending()} reports wait in {self.spool.folder}"
            logger.warning("%s: %s; %s", self.where, reason, waiting, exc_info=error if surprising else None)

    def out_of_trouble(self) -> None:
        """Say once that deliveries go on."""
        self.retry_seconds = RETRY_MIN_SECONDS
        if self.trouble is not None:
            logger.info("%s takes reports again; %d wait", self.where, self.spool.pending())
            self.trouble = None
