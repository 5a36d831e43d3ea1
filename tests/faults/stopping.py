"""What a storm does to processes that are asked to end; see `injections` for what an injection is.

A process has `DRAIN_SECONDS` to end with 0. One that waits for a server that answers nobody may say that it did not stop
in time, and end with 1; whoever runs it has waited no longer for that.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from time import monotonic

import psutil

from services.runtime.running import DRAIN_SECONDS, FAILED, STOPPED
from tests.faults.crash_points import CRASH_POINTS, reached_at
from tests.faults.scene import ALWAYS, Scene
from tests.support.waiting import until

STOP_SECONDS = DRAIN_SECONDS + 5
MORE = ("refill-1", "signer-1")  # they have nothing to do in a storm, and end all the same
SERVER_SESSIONS = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name LIKE 'creditwell-%' AND datname = current_database() AND pid <> pg_backend_pid()
"""


async def stop_at(scene: Scene, random: Random) -> None:
    """SIGTERM at a named point, in the middle of a transaction or of a round: it ends in time with 0."""
    program = random.choice(list(CRASH_POINTS))
    await stop_at_each(scene, program, [random.choice(CRASH_POINTS[program])], passing=random.randint(1, 3))


async def stop_at_each(scene: Scene, program: str, points: Sequence[str], *, passing: int = 1) -> None:
    """A process is replaced by one that is asked to end at the first point, that by one for the next; the last lives."""
    name = f"{program}-1"
    for point in points:
        scene.say(f"{name} is asked to end at {point}:{passing}")
        await scene.killed(name)
        await scene.leases_run_out(program)
        scene.fleet.start(name, term_at=await reached_at(scene, point, passing))
        await until(lambda: _says(scene, name, "stopping"), what=f"{name} is asked to end")
        code = await scene.fleet.ended(name, within=STOP_SECONDS)
        assert code == STOPPED, f"{name} ended with code {code} when asked to end at {point}"
        scene.fleet.start(name)
        await scene.fleet.ready(name)


async def stop_frozen(scene: Scene, random: Random) -> None:
    """SIGTERM while the database's server stands still, or those sessions of it that are ours: nobody waits for ever."""
    whole = random.random() < 0.5
    for name in MORE:
        scene.fleet.start(name)
    await scene.fleet.ready(*MORE)
    names, codes = [*ALWAYS, *MORE], dict[str, int]()
    began = monotonic()
    async with _frozen(scene, whole=whole):
        await asyncio.sleep(random.choice((0.0, 0.5, 2.0)))
        for name in names:
            scene.processes.ask_to_stop(name)
        for name in names:
            codes[name] = await scene.fleet.ended(name, within=max(1, STOP_SECONDS + began + 2 - monotonic()))
        seconds = monotonic() - began
    what = "PostgreSQL stands still" if whole else "our sessions of PostgreSQL stand still"
    scene.say(f"{what}; all ended within {seconds:.1f} s, with {sorted(codes.values())}")
    for name, code in codes.items():
        in_time = await _says(scene, name, "did not stop in time")
        assert code == STOPPED or (code == FAILED and in_time), f"{name} ended with code {code}"
    await scene.reconnect()
    for name in ALWAYS:
        await scene.leases_run_out(name.partition("-")[0])
        scene.fleet.start(name)
    await scene.more_facts(20)


@asynccontextmanager
async def _frozen(scene: Scene, *, whole: bool) -> AsyncIterator[None]:
    """The processes of the server get no time: all of them, or those that serve ours."""
    assert scene.stack.native_postgres is not None
    server = psutil.Process(scene.stack.native_postgres.pid)
    if whole:
        still = [server, *server.children(recursive=True)]
    else:
        still = [psutil.Process(row["pid"]) for row in await scene.connection.fetch(SERVER_SESSIONS)]
    for process in still:
        process.suspend()
    try:
        yield
    finally:
        for process in still:
            if process.is_running():
                process.resume()


async def _says(scene: Scene, name: str, word: str) -> bool:
    """Since it was started last it has logged this."""
    said = [str(line.get("event")) for line in scene.fleet.said(name)]
    starts = [number for number, event in enumerate(said) if event == "started"]
    return word in said[starts[-1] if starts else 0 :]
