"""A replay on all cores: each shard by a process that reads it in a snapshot of its own.

Facts of a team lie in one shard, and so do the rows of every table that follows from them. So a shard is compared by
itself, and what is found is the same by one process and by many, at once or after a kill.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from services.audit.replay import OnFacts, replay_shard
from services.audit.replays.outcome import Replayed
from services.audit.replays.progress import ReplayProgress, begin_replay
from services.audit.replays.scope import ReplayScope
from services.runtime.crashpoints import crashpoint
from services.runtime.long_work.cores import as_they_end, cores_for
from services.store.connect import Connection, connect

CONNECTIONS_MAX = 16  # one to each process: the reader's role has 20, and others read, too (deploy/roles.sql)


def rest_of(scope: ReplayScope, progress: ReplayProgress) -> list[int]:
    """The shards that are not done, the longest first: so that all processes end at about the same time."""
    folded = progress.start.folded
    return sorted(set(scope.shards) - progress.done.keys(), key=lambda shard: (-folded[shard], shard))


def size_of(shards: Iterable[int], progress: ReplayProgress) -> int:
    """How many facts the projections had of these shards when the replay began."""
    return sum(progress.start.folded[shard] for shard in shards)


def processes_for(facts: int) -> int:
    """How many processes so many facts are worth."""
    return min(cores_for(facts), CONNECTIONS_MAX)


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
    read = ShardReader(database, scope, progress.start.folded)
    with closing(read), as_they_end(read, rest, processes, name="shard {}".format) as outcomes:
        for number, outcome in outcomes:
            progress.done[rest[number]] = outcome
            keep(progress)
            crashpoint("replay:kept")
            on_facts(outcome.facts)
    replayed = Replayed()
    for shard in scope.shards:
        replayed.add(progress.done[shard])
    return replayed


def replay_database(database: str, scope: ReplayScope, on_facts: OnFacts = lambda _: None) -> Replayed:
    """All of it, from this moment on, by as many processes as it is worth. Raises as `replay_on_all_cores`."""

    async def begin() -> ReplayProgress:
        connection = await connect(database, process="replay")
        try:
            return await begin_replay(connection, scope)
        finally:
            await connection.close()

    progress = asyncio.run(begin())
    processes = processes_for(size_of(rest_of(scope, progress), progress))
    return replay_on_all_cores(database, scope, progress, processes, on_facts=on_facts)


@dataclass(slots=True)
class ShardReader:
    """What each process runs, with one connection for all its shards."""

    database: str
    scope: ReplayScope
    folded: Mapping[int, int]
    _open: tuple[asyncio.Runner, Connection] | None = field(default=None, init=False)

    def __call__(self, shard: int) -> Replayed:
        """One shard."""
        if self._open is None:
            runner = asyncio.Runner()
            self._open = runner, runner.run(connect(self.database, process="replay"))
        runner, connection = self._open
        return runner.run(replay_shard(connection, shard, self.folded[shard], self.scope))

    def close(self) -> None:
        """Nothing more is read in this process. That of a child ends with it."""
        if self._open is not None:
            runner, connection = self._open
            runner.run(connection.close())
            runner.close()
