"""Asking the witnesses outside for a word on the newest anchor, beside the signing.

Signing waits for nobody. Where a witness is late, refuses or lies, the log and metrics say so, and it is asked again
in the next round, for the anchor that is the newest by then.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from prometheus_client import Gauge

from services.audit.anchors import anchors_in, parse_anchor, read_anchor, write_once
from services.audit.checkpoints import NoteInvalid
from services.audit.notes.tree import consistency, root_of
from services.audit.outside.witness import Anchored, Witness, WitnessFailed, word_beside
from services.audit.sign_log import tree_nodes
from services.runtime.clock import Clock, pause, until_stopped
from services.runtime.errors import LogChanged
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.store.connect import AWAY, Pool

ANSWER_SECONDS = 10.0
FAILED = (WitnessFailed, NoteInvalid, LogChanged, httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError, *AWAY)


@dataclass(slots=True)
class Witnessing:
    """The questions of a process to its witnesses.

    Attributes:
        folder: where anchors and the words on them lie.
        witnessed_at: of each witness, when the newest anchor with its word was signed.
        failed: why a witness gave no word in its last round.
        answer_seconds: how long a witness may take for its word, in all.
    """

    pool: Pool
    folder: Path
    clock: Clock
    health: Health
    witnessed_at: Gauge = field(init=False)
    failed: dict[str, str] = field(default_factory=dict)
    answer_seconds: float = ANSWER_SECONDS

    def __post_init__(self) -> None:
        self.witnessed_at = Gauge(
            "creditwell_witnessed_timestamp_seconds",
            "When the newest anchor that has the word of a witness outside was signed; before its first word, when it was first asked.",
            ["witness"], registry=self.health.registry,
        )  # fmt: skip

    async def serve(self, witnesses: Sequence[Witness], every_seconds: float, stop: asyncio.Event) -> None:
        """Ask each of them until told to stop, none later because of another."""
        async with (
            httpx2.AsyncClient(timeout=self.answer_seconds, follow_redirects=False) as http,
            asyncio.TaskGroup() as tasks,
        ):
            for witness in witnesses:
                tasks.create_task(self._ask_on(witness, http, every_seconds, stop))

    async def _ask_on(
        self, witness: Witness, http: httpx2.AsyncClient, every_seconds: float, stop: asyncio.Event
    ) -> None:
        self.witnessed_at.labels(witness.attestor.name).set(self.clock().timestamp())
        while await until_stopped(self.round(witness, http), stop):
            await pause(stop, every_seconds)

    async def round(self, witness: Witness, http: httpx2.AsyncClient) -> None:
        """Get a word on the newest anchor, unless it is there already."""
        name = witness.attestor.name
        try:
            files = anchors_in(self.folder)
            if not files:
                return
            text = read_anchor(files[-1])
            signed = parse_anchor(text)
            file = word_beside(files[-1], witness.attestor)
            if not file.exists():
                await self._ask(witness, http, Anchored(text, signed), file)
        except FAILED as error:
            why = str(error) or repr(error)
            if self.failed.get(name) != why:
                get_log().warning("a witness gave no word on the newest anchor; signing goes on", witness=name, why=why)
            self.failed[name] = why
            self.health.failures.labels(name, type(error).__name__).inc()
            return
        if self.failed.pop(name, None) is not None:
            get_log().info("a witness answers again", witness=name)
        self.witnessed_at.labels(name).set(signed.vector.signed_at.timestamp())

    async def _ask(self, witness: Witness, http: httpx2.AsyncClient, anchored: Anchored, file: Path) -> None:
        async def path_since(older: int) -> Sequence[bytes]:
            spans = consistency(older, anchored.signed.number)
            async with self.pool.acquire() as connection:
                hashes = await tree_nodes(connection, spans)
            return [root_of(span, hashes) for span in spans]

        async with asyncio.timeout(self.answer_seconds):
            word = await witness.ask(http, anchored, path_since)
        at = witness.attestor.check(anchored.text, word)
        write_once(file, word)
        get_log().info("witnessed", witness=witness.attestor.name, number=anchored.signed.number, at=at.isoformat())
