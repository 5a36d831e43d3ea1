"""The signer: says every half minute, with its signature, what the log was.

It may only read heads and blocks and add notes, and it alone has the key. It refuses to sign a log that does not hold
what it signed before, and dies over it: whoever starts it again sees why in its last line.
"""

import asyncio
from pathlib import Path

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.anchors import anchors_in, read_anchor, write_anchor
from services.audit.checkpoints import Checkpoint, parse, parse_signing_key, verifier_key
from services.audit.sign_log import Signed, notes_after, sign_log
from services.runtime.clock import Clock, pause, system_clock
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.runtime.retry import Retry
from services.runtime.settings import Settings, WrongSettings, advice
from services.store.connect import AWAY, Connection, Pool, connect_pool, connect_when_there

NOTES_MAX = 500


async def serve(settings: Settings, stop: asyncio.Event, health: Health, clock: Clock = system_clock) -> None:
    """Sign until told to stop."""
    settings.require("database", *settings.outside_development("signing_key"))
    key = signing_key(settings)

    async def connect() -> Pool:
        return await connect_pool(
            settings.needed("database"), process="signer", lease_seconds=settings.lease_seconds, size=1,
            projections=False, health=health,
        )  # fmt: skip

    pool = await connect_when_there(connect, stop, health)
    if pool is None:
        return
    last: Checkpoint | None = None
    retry = Retry("database", AWAY, health=health, stop=stop)
    try:
        while not stop.is_set():
            async with retry:
                last = await _round(pool, key, clock, settings.anchors, last, health)
                health.back("database")
                health.beat("signer")
                health.ready()
                await pause(stop, settings.sign_every_seconds)
    finally:
        await pool.close()


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The configured key; in insecure development without one, a key that lives as long as the process.

    Raises:
        WrongSettings: it is missing or malformed.
    """
    settings.require_keys("signing_key")
    if settings.signing_key is None:
        get_log().warning("signing with a key that nobody keeps; set CREDITWELL_SIGNING_KEY")
        return Ed25519PrivateKey.generate()
    try:
        return parse_signing_key(settings.signing_key.get_secret_value())
    except ValueError as error:
        message = f"CREDITWELL_SIGNING_KEY is wrong: {error}. {advice('signing_key')}"
        raise WrongSettings(message) from None


async def _round(
    pool: Pool, key: Ed25519PrivateKey, clock: Clock, anchors: Path | None, last: Checkpoint | None, health: Health
) -> Checkpoint | None:
    """Sign if anything was added; the newest note that this process knows of."""
    async with pool.acquire() as connection:
        anchored = None if anchors is None else _newest(anchors)
        earlier = max((note for note in (anchored, last) if note is not None), key=lambda note: note.size, default=None)
        signed = await _sign(connection, key, clock, earlier)
        if anchors is not None:
            await _anchor(connection, anchors, 0 if anchored is None else anchored.size, health)
    return last if signed is None else signed.checkpoint


async def _sign(
    connection: Connection, key: Ed25519PrivateKey, clock: Clock, earlier: Checkpoint | None
) -> Signed | None:
    try:
        signed = await sign_log(connection, key, clock(), earlier)
    except asyncpg.UniqueViolationError:
        get_log().info("another signer was quicker")
        return None
    if signed is not None:
        name = verifier_key(signed.checkpoint.origin, key.public_key())
        get_log().info("signed", number=signed.number, size=signed.checkpoint.size, key=name)
    return signed


def _newest(anchors: Path) -> Checkpoint | None:
    return parse(read_anchor(paths[-1])) if (paths := anchors_in(anchors)) else None


async def _anchor(connection: Connection, anchors: Path, size: int, health: Health) -> None:
    """Write every note that is not in the folder yet, also those of a process that died before it could."""
    while notes := await notes_after(connection, size, NOTES_MAX):
        for signed_size, note in notes:
            try:
                write_anchor(anchors, signed_size, note)
            except OSError as error:
                health.away("anchors", error)
                get_log().error(
                    "can't write an anchor; trying again with the next note", folder=str(anchors), error=str(error)
                )
                return
        size = notes[-1][0]
    health.back("anchors")
