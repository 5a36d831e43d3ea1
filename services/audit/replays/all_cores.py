"""A replay on all cores: each shard by a process that reads it in a snapshot of its own.

Facts of a team lie in one shard, and so do the rows of every table that follows from them. So a shard is compared by
itself, and what is found is the same by one process and by many, at once or after a kill.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from services.audit.replay import OnFacts, replay_shard
from services.audit.replays.outcome import Replayed
from services.audit.replays.progress import ReplayProgress
from services.audit.replays.scope import ReplayScope
from services.runtime.crashpoints import crashpoint
from services.runtime.long_work.cores import as_they_end
from services.store.connect import connect


def rest_of(scope: ReplayScope, progress: ReplayProgress) -> list[int]:
    """The shards that are not done, the longest first: so that all processes end at about the same time."""
    folded = progress.start.folded
    return sorted(set(scope.shards) - progress.done.keys(), key=lambda shard: (-folded[shard], shard))


def replay_on_all_cores(
    database: str,
    scope: ReplayScope,
    progress: ReplayProgress,
    processes: int,
    *,
    keep: Callable[[ReplayProgress], None] = lambda _: None,
    on_facts: OnFacts = lambda _: None,
) -> Replayed:
    """Fold and compare what is not done yet; what all shards come to, in their order.

    `keep` hears of each shard that is done, `on_facts` of how many facts were in it.

    Raises:
        ChildKilled: a process is gone. As `replay_shard`, and what `keep` raises.
    """
    rest = rest_of(scope, progress)
    work = partial(_replay_alone, database, scope, progress.start.folded)
    with as_they_end(work, rest, processes, name="shard {}".format) as outcomes:
        for number, outcome in outcomes:
            progress.done[rest[number]] = outcome
            keep(progress)
            crashpoint("replay:kept")
            on_facts(outcome.facts)
    replayed = Replayed()
    for shard in scope.shards:
        replayed.add(progress.done[shard])
    return replayed


def _replay_alone(database: str, scope: ReplayScope, folded: Mapping[int, int], shard: int) -> Replayed:
    """What each process runs for a shard."""

    async def run() -> Replayed:
        connection = await connect(database, process="replay")
        try:
            return await replay_shard(connection, shard, folded[shard], scope)
        finally:
            await connection.close()

    return asyncio.run(run())
