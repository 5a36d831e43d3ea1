"""What goes wrong at the servers themselves: a standby that was behind."""

import asyncio
from collections.abc import AsyncIterator

from tests.faults.alerts.stage import Stage, folder_of_anchors
from tests.faults.alerts.table import fires
from tests.support.promoted import behind
from tests.support.waiting import until

PUBLISHED = "SELECT coalesce(sum(position), 0)::bigint FROM checkpoints WHERE reader = 'relay'"
LOST_MIN = 20


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
