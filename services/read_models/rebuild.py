"""A version of the projections is built anew beside the live one, compared, switched.

A rebuild reads the log from its beginning into tables of the next version, all projections at once since activity and
usage follow from the balance fold. Then, shard by shard, it stands at the very position of the live version and
compares. The switch is one transaction: the views and the row in `projections` change, and the live checkpoints get a
new epoch, so that the projector is fenced, joins again and goes on with the new tables. Readers use the views and never
see a gap.

For a build that nothing is live of, there is nothing to compare with: its own tables are filled on all cores, as its
projector fills them on one.

A killed rebuild goes on from its checkpoints when it is started again. Another fold, or other tables, begin anew.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from projections.balance.snapshots import CADENCE, Cadence
from projections.versions import SHAPE, TABLES
from services.read_models.attributes import counted_attributes
from services.read_models.balances import PROJECTOR
from services.read_models.comparing import RowDifference, compare, compared
from services.read_models.projecting import Projecting
from services.read_models.versions import (
    alone,
    drop,
    drop_analytics,
    ensure_projections,
    go_live_when_filled,
    live_versions,
    made_versions,
    make_anew,
    next_version,
    note,
    show,
    shown_attributes,
)
from services.runtime.errors import Fenced, LogChanged, Refused
from services.runtime.gc_tuning import stop_looking_for_garbage
from services.store.claims import Claims
from services.store.connect import Connection, connect
from services.store.read import heads, read_raw_after
from services.store.shards import SHARDS

BATCH_MAX = 20_000
SHARDS_AT_ONCE = 8  # few, so that the pages that a batch touches lie together
PROGRESS_SECONDS = 0.2

FOLDED = "SELECT coalesce(sum(position), 0)::bigint FROM checkpoints WHERE reader = $1"

BEGUN = "SELECT EXISTS (SELECT FROM checkpoints WHERE reader = $1)"
LOCK_LIVE = "SELECT shard, position FROM checkpoints WHERE reader = $1 AND shard = ANY($2) ORDER BY shard FOR UPDATE"
FENCE_LIVE = "UPDATE checkpoints SET epoch = epoch + 1, owner = '' WHERE reader = $1"


async def rebuild(
    database: str,
    names: Sequence[str],
    *,
    shadow: bool = False,
    on_facts: Callable[[int, int], None] = lambda *_: None,
    counted: Sequence[str] | None = None,
) -> list[RowDifference]:
    """Build the next version of all projections, compare it with the live one, and switch `names` to it.

    The new tables count usage by the attributes in `counted`, or as the live ones do where it is not given. With
    `shadow` the live versions stay as they are. `on_facts` hears now and then how many facts are folded, of how
    many. What comes back are the first rows that differ, by table: nothing, when the rebuilt ones say the same, or when
    nothing of this build was live.

    Raises:
        Refused: `nothing_live`, with `shadow`.
    """
    connection = await connect(database, process="rebuild")
    try:
        if not await ensure_projections(connection, counted):
            if shadow:
                raise Refused("nothing_live", "there are no projections of this build yet to be compared with")
            while not await go_live_when_filled(connection):
                await build_on_all_cores(connection, database, None, on_facts)
            return []
        version = await begin(connection, counted)
        await build_on_all_cores(connection, database, version, on_facts)
        differences = [d for shard in range(SHARDS) for d in await compare_shard(connection, version, shard, "rebuild")]
        if not shadow:
            await switch(connection, version, list(names), "rebuild")
        await discard(connection, version)
        return differences
    finally:
        await connection.close()


async def build_on_all_cores(
    connection: Connection, database: str, version: int | None, on_facts: Callable[[int, int], None]
) -> None:
    """Fold everything up to the head of now, a process to a core; each takes its shards by turns.

    Without a `version`, into the tables that this build's projector fills.
    """
    cores = os.cpu_count() or 1
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        parts = [list(range(core, SHARDS, cores)) for core in range(cores)]
        building = asyncio.gather(
            *(loop.run_in_executor(pool, partial(_build_alone, database, version, part)) for part in parts)
        )
        while not building.done():
            await asyncio.wait([building], timeout=PROGRESS_SECONDS)
            folded = await connection.fetchval(FOLDED, PROJECTOR if version is None else reader_of(version))
            goal = await (heads if version is None else live_positions)(connection)
            on_facts(folded, sum(goal.values()))
        await building


def _build_alone(database: str, version: int | None, shards: list[int]) -> int:
    """What each of these processes runs."""
    stop_looking_for_garbage()

    async def run() -> int:
        connection = await connect(database, process="rebuild")
        try:
            if version is None:
                return await fill(connection, shards, f"rebuild-{os.getpid()}")
            return await build(connection, version, shards, f"rebuild-{os.getpid()}")
        finally:
            await connection.close()

    return asyncio.run(run())


def reader_of(version: int) -> str:
    """The name under which a rebuild keeps its checkpoints; one of another fold or other tables has another name."""
    return f"rebuild-{version}-{SHAPE[:12]}"


async def begin(connection: Connection, counted: Sequence[str] | None = None) -> int:
    """Make the tables of the next version, or find those of a rebuild that was interrupted; its number.

    They count usage by these attributes; as the live ones do where none is given.
    """
    async with connection.transaction():
        await alone(connection)
        version = await next_version(connection)
        names = tuple(sorted(set(await shown_attributes(connection) if counted is None else counted)))
        if (
            not await connection.fetchval(BEGUN, reader_of(version))
            or await counted_attributes(connection, version) != names
        ):
            await make_anew(connection, version, names)
        # Nowhere else: who came late would begin anew, in tables that were switched to meanwhile.
        await Claims(reader_of(version), "").make_rows(connection)
    return version


async def build(connection: Connection, version: int, shards: list[int], owner: str, cadence: Cadence = CADENCE) -> int:
    """Fold these shards from their checkpoints to where the live version stands now; how many facts that were.

    Never beyond: what is compared and switched must stand at equal positions.
    """
    projecting = Projecting(Claims(reader_of(version), owner), dict.fromkeys(TABLES, version), cadence)
    await projecting.claims.take(connection, shards)
    return await _fold_to(connection, projecting, await live_positions(connection))


async def fill(connection: Connection, shards: list[int], owner: str) -> int:
    """Fold these shards as this build's projector does, up to the head of now; how many facts that were."""
    projecting = Projecting(Claims(PROJECTOR, owner), await made_versions(connection))
    await projecting.claims.make_rows(connection)
    await projecting.claims.take(connection, shards)
    folded = await _fold_to(connection, projecting, await heads(connection))
    await projecting.claims.leave(connection)
    return folded


async def _fold_to(connection: Connection, projecting: Projecting, goal: Mapping[int, int]) -> int:
    folded = 0
    while behind := _behind(projecting.claims.positions, goal):
        some = dict(list(behind.items())[:SHARDS_AT_ONCE])
        folded += await _step(connection, projecting, some, goal)
    return folded


def _behind(positions: Mapping[int, int], goal: Mapping[int, int]) -> dict[int, int]:
    return {shard: position for shard, position in positions.items() if position < goal[shard]}


async def _step(
    connection: Connection, projecting: Projecting, behind: Mapping[int, int], goal: Mapping[int, int]
) -> int:
    facts = await read_raw_after(connection, behind, BATCH_MAX // len(behind))
    facts_to_goal = {shard: read[: goal[shard] - behind[shard]] for shard, read in facts.items()}
    await projecting.project(connection, facts_to_goal)
    return sum(map(len, facts_to_goal.values()))


async def live_positions(connection: Connection) -> dict[int, int]:
    """Where the live projections stand."""
    rows = await connection.fetch("SELECT shard, position FROM checkpoints WHERE reader = $1", PROJECTOR)
    return dict.fromkeys(range(SHARDS), 0) | {row["shard"]: row["position"] for row in rows}


async def compare_shard(
    connection: Connection, version: int, shard: int, owner: str, cadence: Cadence = CADENCE
) -> list[RowDifference]:
    """Bring one shard to the very position of the live version, hold that still, and name the rows that differ."""
    projecting = Projecting(Claims(reader_of(version), owner), dict.fromkeys(TABLES, version), cadence)
    await projecting.claims.take(connection, [shard])
    async with connection.transaction():
        await _catch_up(connection, projecting, [shard])
        live = await live_versions(connection)
        return [
            difference
            for name, tables_ in TABLES.items()
            for table in compared(name, tables_)
            for difference in await compare(connection, table, live[name], version, shard)
        ]


async def _catch_up(connection: Connection, projecting: Projecting, shards: list[int]) -> None:
    """Lock the live checkpoints and fold up to exactly there."""
    goal = dict.fromkeys(shards, 0) | {
        row["shard"]: row["position"] for row in await connection.fetch(LOCK_LIVE, PROJECTOR, shards)
    }
    while behind := _behind(projecting.claims.positions, goal):
        await _step(connection, projecting, behind, goal)
    if any(projecting.claims.positions[shard] != goal[shard] for shard in shards):
        raise LogChanged(
            "the rebuilt projections are ahead of the live ones: the live checkpoints were moved back; rebuild again"
        )


async def switch(
    connection: Connection, version: int, names: list[str], owner: str, cadence: Cadence = CADENCE
) -> None:
    """Make these projections' new version the live one, at an equal checkpoint vector, in one transaction.

    Raises:
        Fenced: another rebuild has switched to it, or is at it.
    """
    projecting = Projecting(Claims(reader_of(version), owner), dict.fromkeys(TABLES, version), cadence)
    await projecting.claims.take(connection, list(range(SHARDS)))
    async with connection.transaction():
        await alone(connection)
        if version in (await live_versions(connection)).values():
            raise Fenced(f"{reader_of(version)}: another process has switched to it")
        await drop_analytics(connection)  # first: nobody may wait for a projector that waits for an analyst
        await _catch_up(connection, projecting, list(range(SHARDS)))
        await note(connection, names, version)
        await show(connection, dict.fromkeys(names, version))
        await connection.execute(FENCE_LIVE, PROJECTOR)
        await connection.execute("DELETE FROM checkpoints WHERE reader = $1", reader_of(version))


async def discard(connection: Connection, version: int) -> None:
    """Drop what a rebuild made and nobody reads."""
    async with connection.transaction():
        await alone(connection)
        live = await live_versions(connection)
        for name in TABLES:
            if live[name] != version:
                await drop(connection, name, version)
        await connection.execute("DELETE FROM checkpoints WHERE reader = $1", reader_of(version))
