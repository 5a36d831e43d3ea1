"""What proves the log: the signer, its folder and its witness."""

from collections.abc import AsyncIterator

from services.audit.anchors import anchors_in
from services.read_models.balances import PROJECTOR
from tests.faults.alerts.prometheus import TWO_MINUTES
from tests.faults.alerts.stage import Stage, folder_of_anchors
from tests.faults.alerts.table import fires
from tests.support.waiting import until

# The first fact of each shard that is not signed, once all others have read it.
UNSIGNED = """
    SELECT f.shard, f.position FROM facts f JOIN (
        SELECT h.shard, coalesce(
            (SELECT last FROM signed_shards s WHERE s.shard = h.shard ORDER BY number DESC LIMIT 1), 0
        ) + 1 AS first FROM shard_heads h
    ) AS unsigned ON f.shard = unsigned.shard AND f.position = unsigned.first
    WHERE (SELECT count(*) FROM checkpoints c WHERE c.shard = f.shard AND c.position >= f.position
           AND (c.reader = 'relay' OR c.reader = $1)) >= 2
"""
MOVED = """
    UPDATE facts SET recorded_at = recorded_at {by} interval '1 hour'
    WHERE (shard, position) IN (SELECT * FROM unnest($1::smallint[], $2::bigint[]))
"""


@fires("LogNotSigned", "the signer is stopped", "Down")
async def not_signed(stage: Stage) -> AsyncIterator[None]:
    """An hour passes at once: the first facts that are not signed are of then, for as long as nobody signs."""
    await stage.stop("signer")
    await stage.until_true(f"SELECT EXISTS ({UNSIGNED})", PROJECTOR)
    async with stage.owner() as connection:
        facts = await connection.fetch(UNSIGNED, PROJECTOR)
    places = [row["shard"] for row in facts], [row["position"] for row in facts]
    await _move(stage, "-", *places)
    try:
        yield
    finally:
        await _move(stage, "+", *places)
    await stage.start("signer")
    await stage.creditwell("verify")


async def _move(stage: Stage, by: str, shards: list[int], positions: list[int]) -> None:
    """The trigger that refuses it sleeps for no longer than that."""
    async with stage.owner() as connection, connection.transaction():
        await connection.execute("ALTER TABLE facts DISABLE TRIGGER facts_append_only")
        await connection.execute(MOVED.format(by=by), shards, positions)
        await connection.execute("ALTER TABLE facts ENABLE ALWAYS TRIGGER facts_append_only")


@fires("AnchorOld", "the mount of the folder of anchors is lost", "NotReady", "WitnessSilent", pace=TWO_MINUTES)
async def anchor_old(stage: Stage) -> AsyncIterator[None]:
    """An empty folder is left in its place, and stays empty."""
    folder = folder_of_anchors(stage)

    async def has_one() -> bool:
        return bool(anchors_in(folder))

    await until(has_one, what="the signer has written an anchor")
    elsewhere = folder.rename(folder.with_name("anchors-elsewhere"))
    folder.mkdir()
    yield
    assert "anchors" in (await stage.look("signer", "/readyz"))["away"]
    folder.rmdir()
    elsewhere.rename(folder)


@fires("WitnessSilent", "the witness knows the log's key no more", pace=TWO_MINUTES)
async def witness_silent(stage: Stage) -> AsyncIterator[None]:
    """It answers 404."""
    known, stage.witness.logs = stage.witness.logs, {}
    yield
    stage.stands("the log's key at the witness")
    assert "a witness gave no word on the newest anchor" in stage.log("signer")
    stage.witness.logs = known
