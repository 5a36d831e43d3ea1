"""The signer: says every half minute, with its signature, what the log was.

It may only read heads, blocks and the relay's checkpoint, and add notes, and it alone has the key. It refuses to sign a
log that does not hold what it signed before: it is not ready then, says why once, and looks again in each round. Where
nothing changes it signs with each anchor, so that the age of the newest note tells whether it is at work.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import Gauge

from services.audit.anchors import anchors_of_log, begin_folder, parse_anchor, read_anchor, write_anchor
from services.audit.checkpoints import NoteInvalid, parse_signing_key, verifier_key
from services.audit.notes.published import Bounds, Waiting
from services.audit.outside.asking import Witnessing
from services.audit.outside.cosignatures import Cosigner, CosigningWitness
from services.audit.outside.timestamps import TimestampAuthority, TimestampService, authorities_in
from services.audit.outside.witness import Witness
from services.audit.sign_log import LOG, Signed, newest_signed, path_of_note, sign_log
from services.runtime.clock import Clock, pause, system_clock
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import LogChanged
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.runtime.processes import PROCESSES
from services.runtime.retry import Retry
from services.runtime.settings import Settings, WrongSettings, advice, variable
from services.store.connect import AWAY, Connection, Pool, connect_pool, connect_when_there
from services.store.lives import check_life
from services.store.read import heads

SettingValue = TypeVar("SettingValue")
Parsed = TypeVar("Parsed")

PUBLISHED = "SELECT shard, position FROM checkpoints WHERE reader = 'relay'"


async def serve(settings: Settings, stop: asyncio.Event, health: Health, clock: Clock = system_clock) -> None:
    """Sign until told to stop."""
    settings.require(*PROCESSES["signer"].needed(settings))
    key, witnesses = signing_key(settings), witnesses_of(settings)
    connect = partial(
        connect_pool, settings.needed("database"), process="signer", lease_seconds=settings.lease_seconds, size=1,
        projections=False, health=health,
    )  # fmt: skip
    pool = await connect_when_there(connect, stop, health)
    if pool is None:
        return
    signing = Signing(key, clock, settings.anchors, timedelta(seconds=settings.anchor_every_seconds), health)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_sign_on(signing, pool, settings.sign_every_seconds, stop))
            if settings.anchors is not None and witnesses:
                asking = Witnessing(pool, settings.anchors, clock, health)
                tasks.create_task(asking.serve(witnesses, settings.sign_every_seconds, stop))
    finally:
        await pool.close()


async def _sign_on(signing: "Signing", pool: Pool, every_seconds: float, stop: asyncio.Event) -> None:
    retry = Retry("database", AWAY, health=signing.health, stop=stop)
    while not stop.is_set():
        async with retry:
            await signing.round_or_refusal(pool)
            signing.health.back("database")
            signing.health.ready()
            await pause(stop, every_seconds)


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The configured key; in insecure development without one, a key that lives as long as the process.

    Raises:
        WrongSettings: it is missing or malformed.
    """
    settings.require_keys("signing_key")
    if settings.signing_key is None:
        get_log().warning("signing with a key that nobody keeps; set CREDITWELL_SIGNING_KEY")
        return Ed25519PrivateKey.generate()
    return _read("signing_key", parse_signing_key, settings.signing_key.get_secret_value())


def witnesses_of(settings: Settings) -> list[Witness]:
    """Those outside that are to be asked for a word on each anchor.

    Raises:
        WrongSettings: what is to check them is no key or certificate.
    """
    witnesses: list[Witness] = []
    if settings.tsa_url is not None and settings.tsa_ca is not None:
        authorities = _read("tsa_ca", authorities_in, settings.tsa_ca)
        witnesses.append(TimestampService(settings.tsa_url, TimestampAuthority(authorities)))
    if settings.witness_url is not None and settings.witness_key is not None:
        cosigner = _read("witness_key", Cosigner.parse, settings.witness_key)
        witnesses.append(CosigningWitness(settings.witness_url, cosigner))
    return witnesses


def _read(name: str, parse: Callable[[SettingValue], Parsed], value: SettingValue) -> Parsed:
    try:
        return parse(value)
    except (ValueError, OSError) as error:
        message = f"{variable(name)} is wrong: {error}. {advice(name)}"
        raise WrongSettings(message) from None


@dataclass(slots=True)
class Signing:
    """What the process keeps from one round to the next.

    Attributes:
        every: how often a note goes into the folder of anchors.
        last: the newest note that this process has signed.
        refused: why the log was not signed in the last round.
        waiting: which shards wait for the relay.
    """

    key: Ed25519PrivateKey
    clock: Clock
    anchors: Path | None
    every: timedelta
    health: Health
    last: Signed | None = None
    refused: str | None = None
    waiting: Waiting = field(default_factory=Waiting)
    anchored_at: Gauge = field(init=False)

    def __post_init__(self) -> None:
        self.anchored_at = Gauge(
            "creditwell_anchor_timestamp_seconds",
            "When the newest note in the folder of anchors was signed; before the first one is seen, when the process began; 0 without a folder.",
            registry=self.health.registry,
        )  # fmt: skip
        if self.anchors is not None:
            self.anchored_at.set(self.clock().timestamp())

    async def round_or_refusal(self, pool: Pool) -> None:
        """As `round`. Of a log or a note that changed it says so, once: a new start would mend nothing."""
        try:
            await self.round(pool)
        except (LogChanged, NoteInvalid) as changed:
            if str(changed) != self.refused:
                get_log().error("the log is not signed", why=str(changed))
            self.refused = str(changed)
            self.health.away("the log", changed)
            return
        self.refused = None
        self.health.back("the log")
        self.health.beat("signer")

    async def round(self, pool: Pool) -> None:
        """Sign if anything was added, and put a note into the folder when it is time."""
        async with pool.acquire() as connection:
            await check_life(connection)
            looked = None if self.anchors is None else await self._look(connection, self.anchors)
            anchored = None if looked is None else looked.newest
            earlier = [note for note in (anchored, self.last) if note is not None]
            self.last = await self._sign(connection, earlier) or self.last
            if looked is not None:
                await self._anchor(connection, looked)

    async def _look(self, connection: Connection, folder: Path) -> "_Looked | None":
        """The folder, if it is there and is this log's; else that is said, and signing goes on."""
        log, signed = await connection.fetchval(LOG), await newest_signed(connection)
        try:
            if signed is None:  # later a folder that is new to us may be a mount that is lost
                begin_folder(folder, log)
            files = anchors_of_log(folder, log)
            newest = parse_anchor(read_anchor(files[-1])) if files else None
        except OSError as error:
            self._say_away("the folder of anchors is not there; signing goes on without it", folder, error)
            return None
        except NoteInvalid as invalid:
            message = f"anchor {files[-1].name}: {invalid}"
            raise LogChanged(message) from invalid
        if newest is not None:
            self.anchored_at.set(newest.vector.signed_at.timestamp())
        return _Looked(folder, newest)

    async def _sign(self, connection: Connection, earlier: list[Signed]) -> Signed | None:
        bounds = await self._bounds(connection)
        try:
            signed = await sign_log(connection, self.key, self.clock(), earlier=earlier, bounds=bounds, idle=self.every)
        except asyncpg.UniqueViolationError:
            get_log().info("another signer was quicker")
            return None
        if signed is not None:
            crashpoint("signer:signed")
            name = verifier_key(signed.checkpoint.origin, self.key.public_key())
            get_log().info("signed", number=signed.number, facts=signed.vector.facts, key=name)
            if signed.vector.unpublished:
                get_log().warning("signed what the relay has not published: its checkpoint has not moved for 5 minutes")
        return signed

    async def _bounds(self, connection: Connection) -> Bounds:
        published = {row["shard"]: row["position"] for row in await connection.fetch(PUBLISHED)}
        return self.waiting.bounds(await heads(connection), published, time.monotonic())

    async def _anchor(self, connection: Connection, looked: "_Looked") -> None:
        """Write the newest note, also that of a process that died before it could."""
        newest, anchored = await newest_signed(connection), looked.newest
        if newest is None or (
            anchored is not None and newest.vector.signed_at - anchored.vector.signed_at < self.every
        ):
            self.health.back("anchors")
            return
        path = await path_of_note(connection, newest.number)
        try:
            write_anchor(looked.folder, newest, path)
        except OSError as error:
            self._say_away("can't write an anchor; trying again in the next round", looked.folder, error)
            return
        self.health.back("anchors")

    def _say_away(self, what: str, folder: Path, error: OSError) -> None:
        self.health.away("anchors", error)
        get_log().error(what, folder=str(folder), error=str(error))


class _Looked(NamedTuple):
    """The folder of anchors, which is there, and what is the newest in it."""

    folder: Path
    newest: Signed | None
