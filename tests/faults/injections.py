"""What a storm does. Each is one injection: it draws what it needs from its seed, does its harm under load, and returns.

Afterwards the scene is healed, quiets down, and everything is counted; so an injection need not clean up after itself. Each
makes sure that its fault has struck: an AssertionError where it has not, for then nothing was tried.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Literal

from projections.versions import TABLES
from services.read_models.rebuild import begin, build, compare_shard, discard, switch
from services.read_models.versions import live_versions
from services.store.shards import SHARDS
from tests.faults import database, hostile, stopping
from tests.faults.crash_points import CRASH_POINTS, reached_at
from tests.faults.scene import RECORDERS, Scene
from tests.support.proxy import Cut
from tests.support.usage import raw

Injection = Callable[[Scene, Random], Awaitable[None]]

SINGLE = ("projector-1", "relay-1", "topup-1")


async def crash(scene: Scene, random: Random) -> None:
    """kill -9 at a named point in the code, at the n-th passing."""
    await crash_at(
        scene, program := random.choice(list(CRASH_POINTS)), random.choice(CRASH_POINTS[program]), random.randint(1, 3)
    )


async def crash_at(scene: Scene, program: str, point: str, passing: int) -> None:
    """A process is replaced by one that dies at this point, and that by one that lives."""
    scene.say(f"{program}-1 dies at {point}:{passing}")
    await die_one_after_the_other(scene, program, [point], passing=passing)
    scene.fleet.start(f"{program}-1")


async def die_one_after_the_other(scene: Scene, program: str, points: Sequence[str], *, passing: int = 1) -> None:
    """A process is replaced by one that dies at the first point, that by one that dies at the next; the last is not replaced."""
    name = f"{program}-1"
    await scene.killed(name)
    for point in points:
        await scene.leases_run_out(program)
        scene.fleet.start(name, crash_at=await reached_at(scene, point, passing))
        await scene.died_at(name)
    await scene.leases_run_out(program)


async def kill(scene: Scene, random: Random) -> None:
    """kill -9 at any moment, of one process or of several at once."""
    names = random.sample([*RECORDERS, *SINGLE], random.choice((1, 1, 2, 5)))
    await asyncio.sleep(random.random())
    scene.say(f"{', '.join(names)} killed")
    for name in names:
        scene.processes.kill(name)
    await asyncio.sleep(random.random() * 2)
    for name in names:
        await scene.died_at(name)
        await scene.leases_run_out(name.partition("-")[0])
        scene.fleet.start(name)


async def stop_politely(scene: Scene, random: Random) -> None:
    """SIGTERM, as at every deployment; it must end in time and with 0."""
    name = random.choice([*RECORDERS, *SINGLE])
    await asyncio.sleep(random.random())
    scene.say(f"{name} stopped")
    code = await scene.processes.stop(name)
    assert code == 0, f"{name} ended with code {code} when asked to stop"
    scene.fleet.start(name)


async def freeze(scene: Scene, random: Random) -> None:
    """SIGSTOP for a moment, or past the session and the lease so that others take over; then SIGCONT."""
    name, seconds = random.choice([*RECORDERS, *SINGLE]), random.choice((0.3, 2.0, 5.0))
    scene.say(f"{name} frozen for {seconds} s")
    scene.processes.pause(name)
    await scene.fleet.frozen(name)
    if name in SINGLE and seconds > 1:
        await scene.leases_run_out(name.partition("-")[0])
        scene.fleet.start(f"{name.partition('-')[0]}-9")
    await asyncio.sleep(seconds)
    scene.processes.resume(name)
    await scene.more_facts(20)


async def freeze_at(scene: Scene, random: Random) -> None:
    """SIGSTOP at a named point, in the middle of a transaction or of a round; SIGCONT when somebody else has gone on."""
    program = random.choice(("recorder", "projector", "relay", "topup"))
    point, passing = random.choice(CRASH_POINTS[program]), random.randint(1, 2)
    name = f"{program}-1"
    scene.say(f"{name} frozen at {point}:{passing}")
    await scene.killed(name)
    await scene.leases_run_out(program)
    scene.fleet.start(name, stop_at=await reached_at(scene, point, passing))
    await scene.fleet.frozen(name)
    scene.fleet.start(f"{program}-9")
    # PostgreSQL ends a session that hangs in a transaction after five seconds.
    await asyncio.sleep(random.choice((1.0, 6.0)))
    await scene.leases_run_out(program)
    await scene.more_facts(20)
    scene.processes.resume(name)
    await scene.more_facts(20)


async def rebalances(scene: Scene, random: Random) -> None:
    """Recorders come and go while batches are on their way."""
    names = [f"recorder-{n}" for n in range(3, 3 + random.randint(1, 3))]
    scene.say(f"{', '.join(names)} come and go")
    before = await scene.claims_made()
    for name in names:
        scene.fleet.start(name)
        await asyncio.sleep(random.random() * 2)
    await scene.partitions_moved(before)
    for name in names:
        if random.random() < 0.5:
            await scene.killed(name)
        else:
            assert (code := await scene.processes.stop(name)) == 0, f"{name} ended with code {code} when asked to stop"
        await asyncio.sleep(random.random())


async def postgres(scene: Scene, random: Random) -> None:
    """PostgreSQL crashes or restarts, and recovers."""
    how: Literal["kill -9", "immediate", "fast"] = random.choice(("kill -9", "immediate", "fast"))
    scene.say(f"PostgreSQL restarts ({how})")
    before = await scene.server_started_at()
    if how == "kill -9":
        await asyncio.to_thread(scene.stack.kill_postgres)
    else:
        await asyncio.to_thread(scene.stack.restart_postgres, how)
    await scene.reconnect()
    assert await scene.server_started_at() > before, "PostgreSQL has not been away"
    await scene.more_facts(20)


async def backends(scene: Scene, random: Random) -> None:
    """Some sessions of ours are ended by the server, whatever they are doing."""
    ended = 0
    for _ in range(random.randint(1, 5)):
        rows = await scene.connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'creditwell-%' AND pid <> pg_backend_pid() ORDER BY pid"
        )
        victims = random.sample(rows, min(len(rows), random.randint(1, 4)))
        scene.say(f"{len(victims)} sessions ended")
        for row in victims:
            ended += await scene.connection.fetchval("SELECT pg_terminate_backend($1)", row["pid"])
        await asyncio.sleep(random.random() * 0.5)
    assert ended, "no session was ended"


async def kafka(scene: Scene, random: Random) -> None:
    """The broker crashes or restarts."""
    how = random.choice(("kill -9", "restart"))
    scene.say(f"Kafka: {how}")
    before = scene.broker()
    await asyncio.to_thread(scene.stack.kill_kafka if how == "kill -9" else scene.stack.restart_kafka)
    assert not before.is_running(), "the broker has not been away"
    await scene.more_facts(20)


async def lost_commits(scene: Scene, random: Random) -> None:
    """Whoever says COMMIT next loses the connection: before, after, or long before the server hears it."""
    for _ in range(random.randint(1, 4)):
        cut, away_seconds = random.choice(list(Cut)), random.choice((0.0, 0.0, 0.5))
        scene.say(f"COMMIT: {cut.value}")
        scene.proxy.cut_next(b"COMMIT;", cut, away_seconds=away_seconds)
        await asyncio.wait_for(scene.proxy.happened.wait(), 30)
        await asyncio.sleep(random.random() * 0.3)
    await scene.more_facts(20)


async def duplicates(scene: Scene, random: Random) -> None:
    """A service sends again all that it can remember, several times over, in any order."""
    again = scene.pressure.load.recent * random.randint(2, 6)
    random.shuffle(again)
    scene.say(f"{len(again)} duplicates")
    before = await scene.repeated()
    await scene.pressure.send_these(again)
    await scene.more_repeated(before + len(again) // 2)  # what was refused the first time is refused again


async def nonsense(scene: Scene, random: Random) -> None:
    """A service is broken: most of what arrives for a while is nonsense of all sizes."""
    count, big = random.randint(50, 400), random.choice((0, 0, 3_000_000))
    scene.say(f"{count} records of nonsense, {big} bytes the largest")
    before = await scene.refused()
    await scene.pressure.send_these(
        [raw(random.randbytes(random.randint(0, 300)), key=b"team_00") for _ in range(count)]
    )
    if big:
        await scene.pressure.send_these([raw(bytes(big), key=None)])
    await scene.more_refused(before + count + bool(big))


async def bursts(scene: Scene, random: Random) -> None:
    """Ten times the usual for a moment, and a process dies in it."""
    name = random.choice(RECORDERS)
    scene.say(f"a burst, and {name} is killed in it")
    sending = asyncio.create_task(scene.pressure.send(random.randint(500, 1_500)))
    await asyncio.sleep(random.random() * 0.5)
    await scene.killed(name)
    await sending


async def stripe(scene: Scene, random: Random) -> None:
    """Stripe has a bad day, and the worker dies in it."""
    do = random.choice(("reset_before", "reset_after", "gateway_after", "error_after", "busy", "conflict"))
    route = random.choice(("POST /v1/payment_intents", "POST /v1/payment_intents/{id}/confirm", "*"))
    scene.say(f"Stripe: {do} at {route}, twice; topup-1 killed")
    await scene.stripe.post("/_control/faults", json={"route": route, "do": do, "times": 2, "seconds": 0.2})
    await scene.stripe_failed()
    await scene.more_facts(100)
    await scene.killed("topup-1")
    await scene.stripe.delete("/_control/faults")


async def rebuilds(scene: Scene, random: Random) -> None:
    """All projections are built anew under load and switched, or given up half-way; now and then the projector dies meanwhile."""
    version = await begin(scene.connection)
    shards = list(range(SHARDS))
    await build(scene.connection, version, shards if random.random() < 0.7 else shards[:30], "storm")
    if random.random() < 0.5:
        scene.say("the projector is killed")
        await scene.killed("projector-1")
    if random.random() < 0.3:
        scene.say(f"rebuild {version} given up")
        await discard(scene.connection, version)
        return
    await build(scene.connection, version, shards, "storm")
    for shard in random.sample(shards, 8):
        differences = await compare_shard(scene.connection, version, shard, "storm")
        assert not differences, f"O5 rebuilt and live differ: {differences[:2]}"
    scene.say(f"rebuild {version} switched")
    await switch(scene.connection, version, list(TABLES), "storm")
    assert set((await live_versions(scene.connection)).values()) == {version}, "the rebuild was not switched"


INJECTIONS: dict[str, tuple[Injection, int]] = {  # with how often they are drawn
    "crash": (crash, 30),
    "kill": (kill, 12),
    "stop": (stop_politely, 4),
    "stop_at": (stopping.stop_at, 8),
    "stop_frozen": (stopping.stop_frozen, 3),
    "freeze": (freeze, 10),
    "freeze_at": (freeze_at, 10),
    "rebalances": (rebalances, 6),
    "postgres": (postgres, 4),
    "backends": (backends, 6),
    "kafka": (kafka, 2),
    "lost_commits": (lost_commits, 12),
    "duplicates": (duplicates, 4),
    "nonsense": (nonsense, 4),
    "bursts": (bursts, 4),
    "stripe": (stripe, 4),
    "rebuilds": (rebuilds, 4),
    "packed_batch": (hostile.packed_batch, 4),
    "open_transaction": (hostile.open_transaction, 4),
    "poison": (hostile.poison, 4),
    "read_only": (database.read_only, 4),
    "frozen_host": (database.frozen_host, 4),
    "silent_nat": (database.silent_nat, 4),
    "latency": (database.latency, 4),
    "stall": (database.stall, 4),
    "pooler": (database.pooler, 4),
    "max_connections": (database.max_connections, 4),
    "conflicts": (database.conflicts, 6),
    "disk_full": (database.disk_full, 3),
}
