"""What goes wrong at the servers themselves: a broker's damaged disk, a standby that was behind."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from uuid import uuid4

from tests.faults.alerts.stage import RECORDERS, Stage, folder_of_anchors
from tests.faults.alerts.table import fires
from tests.support.promoted import behind
from tests.support.usage import used
from tests.support.waiting import until

# A batch of Kafka's begins with its first offset and its length; where its last offset stands follows.
HEAD, LAST = Struct(">qi"), Struct(">i")
LAST_AT = 23
CURSOR = "SELECT greatest(next_offset, through) FROM kafka_cursors WHERE topic = 'usage' AND partition = $1"
PUBLISHED = "SELECT coalesce(sum(position), 0)::bigint FROM checkpoints WHERE reader = 'relay'"
LOST_MIN = 20


@fires("Stuck", "the disk of a broker has damaged a record of usage", "UsageNotStored")
async def stuck(stage: Stage) -> AsyncIterator[None]:
    """The broker answers everything else, and can't read that partition any more: who owns it waits for ever."""
    await stage.stop(*RECORDERS)
    team, last_id = stage.world.teams[0].id, uuid4().hex
    last = used(team, last_id)
    partition = (await stage.producer.send_and_wait("usage", last.value, key=last.key)).partition
    work, cursor = f"usage-{partition}", await stage.fetchval(CURSOR, partition)
    with damaged(stage.world.stack.folder / "kafka" / work, cursor):
        await stage.start(*RECORDERS)
        yield
        said = {name: await stage.look(name, "/healthz") for name in RECORDERS}
        (owner,) = (name for name in RECORDERS if work in said[name]["stuck"])
        stage.stands("restart the process")
        await stage.restart(owner)
    stage.stands("let another one lead it")
    await stage.until_true("SELECT EXISTS (SELECT FROM facts WHERE team_id = $1 AND id = $2)", team, last_id)


@contextmanager
def damaged(folder: Path, offset: int) -> Iterator[None]:
    """A partition whose batch with this offset can't be read, until it is mended."""
    (segment,) = folder.glob("*.log")
    with segment.open("r+b") as file:
        place = _batch_of(file.read(), offset) + HEAD.size - 4
        file.seek(place)
        length = file.read(4)
        file.seek(place)
        file.write(bytes(4))
    try:
        yield
    finally:
        with segment.open("r+b") as file:
            file.seek(place)
            file.write(length)


def _batch_of(log: bytes, offset: int) -> int:
    """Where the batch begins that has a record with this offset, or the first one after it."""
    place = 0
    while place < len(log):
        first, length = HEAD.unpack_from(log, place)
        if first + LAST.unpack_from(log, place + LAST_AT)[0] >= offset:
            return place
        place += HEAD.size + length
    raise AssertionError(f"there is nothing at or after {offset}")


@fires(
    "StoreWentBack", "a standby that was seconds behind is promoted at its primary's address", "NotReady", "ApiErrors",
    "Down", "LogNotSigned", "UsageNotStored", "FactsNotRelayed", "FactsNotProjected", "WitnessSilent", "AnchorOld",
)  # fmt: skip
async def went_back(stage: Stage) -> AsyncIterator[None]:
    """What was recorded and published meanwhile is not in the log; the processes stay."""
    primary = stage.world.stack.native_postgres
    assert primary is not None
    standby = await behind(primary)
    had = await stage.fetchval(PUBLISHED)
    await stage.until_true(f"SELECT ({PUBLISHED}) >= $1", had + LOST_MIN)
    await asyncio.to_thread(primary.give_way, standby)
    assert await stage.fetchval("SELECT pg_promote()")
    yield
    said = await stage.creditwell("resume", exits=1)
    assert "topic" in said, said
    await stage.creditwell("resume --apply --by YOU", exits=None, YOU="ana")
    await stage.creditwell("resume --apply --by YOU", "--accept", exits=None, YOU="ana")
    await stage.creditwell("resume")
    await another_proof(stage)
    for command in "reconcile --heal", "verify", "replay":
        await stage.creditwell(command)


async def another_proof(stage: Stage) -> None:
    """A new folder of anchors, and a witness that does not know what was lost."""
    stage.stands("Give the signer a new, empty folder of anchors, and keep the old one")
    folder = folder_of_anchors(stage)
    await stage.stop("signer")
    folder.rename(folder.with_name("anchors-of-before"))
    folder.mkdir()
    stage.witness.cosigned.clear()
    await stage.start("signer")

    async def is_anchored() -> bool:
        return any(folder.iterdir())

    await until(is_anchored, what="the log is anchored again")
