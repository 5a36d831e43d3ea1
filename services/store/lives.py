"""The lives of the database's server: may this log go on here?

A standby that was behind and is promoted, a restored backup and a copy of production hold the log as it once was. Each
server start is a life of its own. Whoever appends, moves a cursor or publishes asks the store whether the newest life
that it knows is the server's (`check_life`, in SQL, under the lock of the heads). A restart of the same server on the
same timeline goes on by itself; any other life goes on when the relay, or a person, has looked at what was published.

A clone of the disk looks like a restart. So who has to do with what a clone would share with production (usage in
Kafka, money at Stripe, the host product's ear) waits for the look after a restart as well (`check_looked`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import asyncpg

from services.runtime.errors import Refused

if TYPE_CHECKING:
    from services.store.connect import Connection

STANDING = """
    SELECT l.number, l.how, l.looked_at IS NOT NULL AS looked, l.went_back,
           here.started_at = l.started_at AND here.database = l.database AS known,
           (here.system_identifier, here.database) IS NOT DISTINCT FROM (l.system_identifier, l.database) AS same_server,
           here.timeline IS NOT DISTINCT FROM l.timeline AS same_timeline,
           here.synchronous AS synchronous, here.timeline IS NULL AS blind
    FROM this_life() AS here CROSS JOIN (SELECT * FROM store_lives ORDER BY number DESC LIMIT 1) AS l
"""
CHECK = "SELECT check_life()"
ADMIT = "SELECT admit_life($1, $2, $3, $4)"
LOOKED = "UPDATE store_lives SET looked_at = clock_timestamp() WHERE number = $1"
WENT_BACK = "UPDATE store_lives SET looked_at = clock_timestamp(), went_back = $2 WHERE number = $1"
# A constant of the log; a copy of it is the one log that gets another.
RENAME = """
    ALTER TABLE store_constants DISABLE TRIGGER store_constants_fixed;
    UPDATE store_constants SET value = gen_random_uuid()::text WHERE name = 'log';
    ALTER TABLE store_constants ENABLE ALWAYS TRIGGER store_constants_fixed
"""
# They speak of the log by its name, and only it may sign the next one; it still has them.
FORGET_NOTES = """
    ALTER TABLE signed_shards DISABLE TRIGGER signed_shards_append_only;
    ALTER TABLE signed_checkpoints DISABLE TRIGGER signed_checkpoints_append_only;
    DELETE FROM signed_shards;
    DELETE FROM signed_checkpoints;
    ALTER TABLE signed_shards ENABLE ALWAYS TRIGGER signed_shards_append_only;
    ALTER TABLE signed_checkpoints ENABLE ALWAYS TRIGGER signed_checkpoints_append_only
"""
NO_COPY = (
    "this is no copy: its log goes on here, and was compared with what was published. A copy whose relay has looked already "
    "is one again when its server is started anew and no relay runs"
)
UNLOOKED = (
    "store_unchecked: the database's server was started anew, and the relay has not looked yet at what was published"
)
LOG = "SELECT value FROM store_constants WHERE name = 'log'"
WHY_MAX = 500


class StoreUnchecked(asyncpg.PostgresError):
    """The store refuses to go on: nobody has looked yet whether its log is the newest, or it is known not to be."""

    sqlstate = "CW001"  # by which asyncpg finds this class


class Life(StrEnum):
    """What the server's life is to the log."""

    SAME = "the same"  # the log goes on in it
    RESTARTED = "restarted"  # the same server, started anew
    PROMOTED = "promoted"  # the same system on another timeline: a standby, or a restore
    ELSEWHERE = "elsewhere"  # another cluster or database: a copy, until a person says otherwise
    WENT_BACK = "went back"  # something that was published is missing


@dataclass(frozen=True, slots=True)
class LifeStanding:
    """The newest life that the log knows, and what the server's life is beside it.

    `looked`: what was published has been compared with the log in this life. `synchronous`: a synchronous standby is
    declared now. `blind`: the server does not say its timeline, so a promotion looks like a restart.
    """

    number: int
    life: Life
    looked: bool
    went_back: str | None
    synchronous: bool
    blind: bool


async def read_standing(connection: "Connection") -> LifeStanding:
    """How the log and its server stand to each other; it changes nothing."""
    row = await connection.fetchrow(STANDING)
    assert row is not None, "a migrated store has a life"
    return LifeStanding(
        row["number"], _life(row), row["known"] and row["looked"], row["went_back"], row["synchronous"],
        row["blind"],
    )  # fmt: skip


def _life(row: asyncpg.Record) -> Life:
    if row["went_back"] is not None:
        return Life.WENT_BACK
    if row["known"]:
        return Life.SAME
    if not row["same_server"]:
        return Life.ELSEWHERE
    return Life.RESTARTED if row["same_timeline"] else Life.PROMOTED


async def check_life(connection: "Connection") -> None:
    """Make sure that the log may go on here; after a restart it does from now on.

    Raises:
        StoreUnchecked: it may not, yet or at all.
    """
    await connection.execute(CHECK)


async def check_looked(connection: "Connection") -> None:
    """As `check_life`, for whoever deals with what a copy would share with it: Kafka's group, Stripe, the host product.

    Raises:
        StoreUnchecked: nobody has looked in this life at what was published.
    """
    stands = await read_standing(connection)
    if stands.life is Life.SAME and stands.looked:
        return
    await check_life(connection)
    raise StoreUnchecked(UNLOOKED)


async def admit(connection: "Connection", how: str, by: str | None = None) -> int | None:
    """From now on this life is the log's; its number, or None where somebody else was quicker."""
    number: int | None = await connection.fetchval(ADMIT, how, by, True, None)
    return number


async def note_look(connection: "Connection", stands: LifeStanding, went_back: str | None) -> None:
    """What a look has found, of the life that was seen before it: the log goes on, or nobody does."""
    why = None if went_back is None else went_back[:WHY_MAX]
    if stands.life is Life.PROMOTED:
        await connection.fetchval(ADMIT, "looked", None, True, why)
    elif why is None:
        await connection.execute(LOOKED, stands.number)
    else:
        await connection.execute(WENT_BACK, stands.number, why)


async def fork(connection: "Connection", by: str) -> str:
    """Make this copy a log of its own, with another name; the name. The caller may alter the tables.

    What the first log published and signed is none of this one's: the signer begins with note 1, over all of the log.

    Raises:
        Refused: `no_copy`: it is the store itself, whose notes nobody could bring back.
    """
    async with connection.transaction():
        stands = await read_standing(connection)
        if stands.life is Life.SAME and stands.looked:
            raise Refused("no_copy", NO_COPY)
        await connection.execute(RENAME)
        await connection.execute(FORGET_NOTES)
        await connection.execute("DELETE FROM published_offsets")
        await admit(connection, "forked", by)
        return str(await connection.fetchval(LOG))
