"""Brings what is in the spool to `POST /v1/usage`, for services that have no Kafka: a thread, and one connection.

Batch by batch, oldest first: a batch leaves the spool when the API has answered for all of it. Each event is judged
alone: one that it will never take is put aside beside the spool, and the others go on. What it may take later is sent
again, when the API asks for that; a report that was sent twice is the same report, and Creditwell counts it once.
"""

import http.client
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from .refusals import RefusedReports
from .sender import LINGER_SECONDS, RETRY_MAX_SECONDS, STOP_SECONDS, SYNC_SECONDS, Sender
from .spool import Spool
from .verdicts import ApiAnswer, TakenBatch, TooMuchAtOnce, answer_of, judge

Token = str | Callable[[], str]

BATCH_MAX_BYTES = 512 * 1024
BATCH_MAX_RECORDS = 1_000  # as many as the API takes at once
CONNECT_SECONDS = 3.0  # less than STOP_SECONDS: nothing can interrupt it
ANSWER_SECONDS = 15.0  # more than the API waits for Kafka
ANSWER_MAX_BYTES = 4 * 1024 * 1024
RETRY_AFTER_MAX_SECONDS = 60.0  # a proxy's idea of later may be a day
INTERRUPT_SECONDS = 0.05


class HttpSender(Sender):
    """The thread, its connection, and a second thread that brings to the disk what waits."""

    EXPECTED = (OSError, http.client.HTTPException)

    def __init__(self, spool: Spool, url: str, token: Token) -> None:
        super().__init__(spool, f"The API at {url}")
        self.url = urlsplit(url)
        self.path = self.url.path.rstrip("/") + "/v1/usage"
        self.token = token
        self.refused = RefusedReports(spool.folder)
        self.records_max = BATCH_MAX_RECORDS
        self.connection: http.client.HTTPConnection | None = None
        self.work = threading.Event()
        self.halted = threading.Event()
        self.turn = threading.Lock()  # what is not appending to the spool is done by one thread at a time
        self.threads = [
            threading.Thread(target=self.run, name="creditwell-emitter", daemon=True),
            threading.Thread(target=self.keep_synced, name="creditwell-emitter-sync", daemon=True),
        ]

    def start(self) -> None:
        """As every sender."""
        self.work.set()
        for thread in self.threads:
            thread.start()

    def wake(self) -> None:
        """As every sender."""
        if self.idle:
            self.idle = False
            self.work.set()

    def stop(self) -> bool:
        """As every sender."""
        self.stopping = True
        self.halted.set()
        self.work.set()
        deadline = time.monotonic() + STOP_SECONDS
        while any(thread.is_alive() for thread in self.threads) and time.monotonic() < deadline:
            self.interrupt()
            for thread in self.threads:
                thread.join(INTERRUPT_SECONDS)
        with self.progress:
            self.progress.notify_all()
        return not any(thread.is_alive() for thread in self.threads)

    def interrupt(self) -> None:
        """Let whatever waits for the API hear that it will not answer."""
        connection = self.connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)  # beneath TLS, which has a reader

    def run(self) -> None:
        """The thread."""
        while not self.stopping:
            try:
                pause_seconds = self.send_next()
            except Exception as error:  # noqa: BLE001 - what fails in a new way must not end deliveries
                self.hang_up()
                if not self.stopping:
                    self.in_trouble(str(error) if isinstance(error, self.EXPECTED) else repr(error), error)
                pause_seconds = self.next_pause()
            self.halted.wait(pause_seconds)
        self.hang_up()

    def send_next(self) -> float:
        """Send the oldest batch, or wait for one. Returns how long to pause. Raises what the network does."""
        with self.turn:
            batch = self.spool.peek(records_max=self.records_max, bytes_max=BATCH_MAX_BYTES)
        if batch is None:
            return self.wait_for_work()
        match judge(self.post(b"[" + b",".join(record.value for record in batch.records) + b"]"), len(batch.records)):
            case TakenBatch(refusals):
                if refusals:
                    self.refused.keep(batch, refusals)
                    self.put_aside += len(refusals)
                with self.turn:
                    self.delivered(batch)
                self.records_max = min(2 * self.records_max, BATCH_MAX_RECORDS)
                return 0
            case TooMuchAtOnce():
                self.records_max = max(1, len(batch.records) // 2)
                return 0
            case later:
                self.in_trouble(later.reason)
                if later.retry_after_seconds is not None:
                    return min(later.retry_after_seconds, RETRY_AFTER_MAX_SECONDS)
                return self.next_pause()

    def next_pause(self) -> float:
        """Twice as long each time, until something is delivered."""
        pause_seconds = self.retry_seconds
        self.retry_seconds = min(2 * pause_seconds, RETRY_MAX_SECONDS)
        return pause_seconds

    def wait_for_work(self) -> float:
        """Sleep until something is reported. Returns a moment more, so that a burst travels together."""
        self.work.clear()
        self.idle = True
        if self.spool.pending() or self.stopping:  # it came before we said that we are idle
            self.idle = False
            self.work.set()
            return 0
        self.work.wait()
        return LINGER_SECONDS

    def post(self, body: bytes) -> ApiAnswer:
        """The API's answer to a batch. Raises OSError or HTTPException where there is none."""
        used_before = self.connection is not None
        try:
            return self.exchange(body)
        except ConnectionError:
            self.hang_up()
            if not used_before or self.stopping:
                raise
        return self.exchange(body)  # the API may end a connection on which nothing was said for a while

    def exchange(self, body: bytes) -> ApiAnswer:
        """One request and its answer. Raises as `post`."""
        token = self.token if isinstance(self.token, str) else self.token()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/cloudevents-batch+json"}
        connection = self.connected()
        connection.request("POST", self.path, body, headers)
        response = connection.getresponse()
        content = response.read(ANSWER_MAX_BYTES)
        if not response.isclosed():  # more than any answer of ours
            self.hang_up()
        return answer_of(response.status, content, response.getheader("retry-after", ""))

    def connected(self) -> http.client.HTTPConnection:
        """The connection, made if need be. Raises OSError."""
        if self.connection is None:
            kind: Any = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
            connection: http.client.HTTPConnection = kind(self.url.hostname, self.url.port, timeout=CONNECT_SECONDS)
            self.connection = connection
            connection.connect()
            connection.sock.settimeout(ANSWER_SECONDS)
        return self.connection

    def hang_up(self) -> None:
        """The next request takes another connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def keep_synced(self) -> None:
        """Bring to the disk, every 100 ms, what the API does not have by then."""
        while not self.stopping:
            self.work.wait()
            self.halted.wait(SYNC_SECONDS)
            try:
                with self.turn:
                    self.spool.sync()
            except OSError as error:
                self.in_trouble(f"the spool can't be brought to the disk: {error}")
