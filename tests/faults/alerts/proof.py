"""What proves the log, and the log itself: the signer, its folder, its witness, and a store that went back."""

from collections.abc import AsyncIterator
from dataclasses import replace

from services.read_models.balances import PROJECTOR
from services.runtime.processes import PROCESSES
from tests.faults.alerts.prometheus import TWO_MINUTES
from tests.faults.alerts.stage import Stage, folder_of_anchors
from tests.faults.alerts.table import fires
from tests.support.promoted import behind, promote

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
    await stage.execute(MOVED.format(by="-"), *places)
    try:
        yield
    finally:
        await stage.execute(MOVED.format(by="+"), *places)
    await stage.start("signer")
    await stage.creditwell("verify")


@fires("AnchorOld", "the folder of anchors is not mounted any more", "NotReady", "WitnessSilent", pace=TWO_MINUTES)
async def anchor_old(stage: Stage) -> AsyncIterator[None]:
    """Nothing is where it was."""
    folder = folder_of_anchors(stage)
    elsewhere = folder.rename(folder.with_name("anchors-elsewhere"))
    yield
    assert "anchors" in (await stage.look("signer", "/readyz"))["away"]
    elsewhere.rename(folder)


@fires("WitnessSilent", "the witness knows the log's key no more", pace=TWO_MINUTES)
async def witness_silent(stage: Stage) -> AsyncIterator[None]:
    """It answers 404."""
    known, stage.witness.logs = stage.witness.logs, {}
    yield
    stage.stands("the log's key at the witness")
    assert "a witness gave no word on the newest anchor" in stage.log("signer")
    stage.witness.logs = known


@fires("StoreWentBack", "a standby that was behind is promoted", "NotReady", "ApiErrors", "Down")
async def went_back(stage: Stage) -> AsyncIterator[None]:
    """The last of the faults: from then on the standby is the store."""
    primary = stage.world.stack.native_postgres
    assert primary is not None
    standby = await behind(primary)
    facts = await stage.fetchval("SELECT sum(position) FROM checkpoints WHERE reader = 'relay'")
    await stage.until_true("SELECT sum(position) > $1::numeric + 20 FROM checkpoints WHERE reader = 'relay'", facts)
    names = tuple(stage.prometheus.targets)
    await stage.stop(*names)
    await promote(primary, standby)
    stage.move(standby)
    for name in names:
        login = stage.world.logins[PROCESSES[name.partition("-")[0]].role]
        stage.world.processes.start_again(name, {"CREDITWELL_DATABASE": login})
    yield
    said = await stage.creditwell("resume", exits=1)
    stage.said.append(said)
    await stage.creditwell("resume --apply --by YOU", YOU="ana")
    await stage.creditwell("reconcile --heal")
    await stage.stop("signer")
    old = folder_of_anchors(stage)
    (new := old.with_name("anchors-of-the-second-life")).mkdir()
    stage.world = replace(stage.world, variables={**stage.world.variables, "ANCHORS": str(new)})
    await stage.start("signer", CREDITWELL_ANCHORS=str(new))
    await stage.creditwell("verify")
    await stage.creditwell("replay")
