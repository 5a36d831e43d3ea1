"""What a storm does to the database and to the way there; see `injections` for what an injection is."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from deploy.local.folders import unprivileged_user
from services.store.connect import Connection
from tests.faults.scene import ALWAYS, RECORDERS, Scene
from tests.support.pgbouncer import IGNORED, KEEPS_STATEMENTS, a_pooler, version
from tests.support.waiting import until

SESSIONS = "application_name LIKE 'creditwell-%' AND datname = current_database() AND pid <> pg_backend_pid()"
END_SESSIONS = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {SESSIONS}"
# Raised by the server itself, in the midst of appends, as often as the sequence says.
CONFLICTS = """
    CREATE SEQUENCE storm_conflicts;
    CREATE FUNCTION storm_conflict() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
    BEGIN
        IF nextval('storm_conflicts') <= {times} THEN
            RAISE EXCEPTION 'the storm wants it so' USING ERRCODE = '{code}';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER storm_conflict AFTER INSERT ON facts FOR EACH STATEMENT EXECUTE FUNCTION storm_conflict();
"""
PEACE = "DROP FUNCTION IF EXISTS storm_conflict CASCADE; DROP SEQUENCE IF EXISTS storm_conflicts"
BY_ROLE = {"statement_timeout": "30s", "lock_timeout": "15s", "idle_in_transaction_session_timeout": "5s"}
DISK_MB = 32  # beside what is moved there


async def read_only(scene: Scene, random: Random) -> None:
    """The server takes no writes for a while, whoever asks, as a primary that was demoted or whose disk is nearly full."""
    seconds = random.choice((0.5, 2.0, 5.0))
    scene.say(f"no writes for {seconds} s")
    async with _superuser(scene) as superuser:
        try:
            await superuser.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            await superuser.execute("SELECT pg_reload_conf()")
            await _says(scene, "read-only", ALWAYS)
            await asyncio.sleep(seconds)
        finally:
            await superuser.execute("SET default_transaction_read_only = off")
            await superuser.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await superuser.execute("SELECT pg_reload_conf()")
    await scene.more_facts(20)


async def frozen_host(scene: Scene, random: Random) -> None:
    """The host takes connections and answers nobody, until everybody has noticed; then it goes on where it was."""
    scene.say("the database's host is frozen")
    scene.proxy.stall()
    try:
        await _says(scene, "", [name for name in ALWAYS if name != "topup-1" or random.random() < 0.5])
    finally:
        scene.proxy.go_on()
    assert scene.proxy.stalled, "nothing had to wait"
    await scene.more_facts(20)


async def silent_nat(scene: Scene, random: Random) -> None:
    """The network forgets every connection, and tells nobody."""
    before = scene.proxy.forgotten
    for _ in range(random.randint(1, 2)):
        scene.say("every connection to the database is forgotten")
        scene.proxy.fall_silent()
        await scene.more_facts(20)
    assert scene.proxy.forgotten > before, "nothing was said on a connection that was forgotten"


async def latency(scene: Scene, random: Random) -> None:
    """Each word to and from the database takes its time."""
    seconds = random.choice((0.002, 0.01, 0.04))
    scene.say(f"{seconds * 1000:.0f} ms more for each word to and from the database")
    scene.proxy.delay_seconds, before = seconds, scene.proxy.delayed
    try:
        await scene.more_facts(50)
    finally:
        scene.proxy.delay_seconds = 0.0
    assert scene.proxy.delayed > before, "nothing took longer"


async def stall(scene: Scene, random: Random) -> None:
    """The database's link stands still for a moment, several times, and nothing is lost on it."""
    before = scene.proxy.stalled
    for _ in range(random.randint(2, 4)):
        seconds = random.choice((0.2, 1.0, 2.5))
        scene.say(f"the link stands still for {seconds} s")
        scene.proxy.stall()
        await asyncio.sleep(seconds)
        scene.proxy.go_on()
        await asyncio.sleep(random.random())
    assert scene.proxy.stalled > before, "nothing had to wait"
    await scene.more_facts(20)


async def max_connections(scene: Scene, random: Random) -> None:
    """Others take every session that the server has, while ours are ended and want new ones."""
    taken: list[Connection] = []
    refused = 0
    async with _superuser(scene) as superuser:
        try:
            ended = 0
            while refused < 20:
                try:
                    taken.append(await asyncpg.connect(scene.database))
                except asyncpg.TooManyConnectionsError:
                    refused += 1
                    ended += await superuser.fetchval(END_SESSIONS)
            await asyncio.sleep(random.choice((0.5, 2.0)))
        finally:
            for session in taken:
                session.terminate()
    scene.say(f"{len(taken)} sessions taken, {ended} of ours ended")
    assert taken, "the server had no session left before"
    assert ended, "none of ours was ended"
    await scene.more_facts(20)


async def conflicts(scene: Scene, random: Random) -> None:
    """The server breaks appends off: a deadlock, a conflict of transactions, no memory."""
    code, times = random.choice(("40P01", "40001", "53200")), random.randint(1, 5)
    scene.say(f"{code}, {times} times")
    async with _superuser(scene) as superuser:
        await superuser.execute(CONFLICTS.format(times=times, code=code))
        try:

            async def is_over() -> bool:
                raised: int = await superuser.fetchval("SELECT last_value FROM storm_conflicts")
                return raised > times

            await until(is_over, what=f"{times} appends are broken off")
        finally:
            await superuser.execute(PEACE)
    await scene.more_facts(20)


async def disk_full(scene: Scene, random: Random) -> None:
    """The disk of the log is full for a while: a small one in memory, which takes root to make."""
    if os.geteuid() != 0:
        scene.say("not played: to make a small disk takes root")
        return
    async with _superuser(scene) as superuser:
        size: int = await superuser.fetchval("SELECT pg_total_relation_size('facts')")
        with _a_disk(DISK_MB + size // 2**20) as folder:
            await superuser.execute(f"CREATE TABLESPACE storm LOCATION '{folder}'")
            try:
                await superuser.execute("ALTER TABLE facts SET TABLESPACE storm")
                await superuser.execute("CREATE TABLE storm_filler (body bytea) TABLESPACE storm")
                filled = await _fill(superuser)
                scene.say(f"the log's disk is full, {filled} MB of it by others")
                await _logs(scene, "DiskFullError", RECORDERS)
                await asyncio.sleep(random.choice((0.5, 2.0)))
            finally:
                await superuser.execute("DROP TABLE IF EXISTS storm_filler")
                await superuser.execute("ALTER TABLE facts SET TABLESPACE pg_default")
                await superuser.execute("CHECKPOINT")  # what was dropped lies there until then
                await superuser.execute("DROP TABLESPACE storm")
    await scene.more_facts(20)


async def pooler(scene: Scene, random: Random) -> None:
    """A PgBouncer comes between, dies, and now and then comes again; it hands sessions round by transaction where it can."""
    direct, lives = (scene.proxy.host, scene.proxy.port), random.randint(1, 2)
    try:
        mode = "transaction" if version() >= KEEPS_STATEMENTS else "session"
    except pytest.skip.Exception as not_here:
        scene.say(f"not played: {not_here}")
        return
    scene.say(f"PgBouncer comes between, by {mode}, and is killed{', twice' * (lives - 1)}")
    try:
        for life in range(lives):
            ended = await _beside_a_pooler(scene, mode)
            # Who lost the first pooler's has none before the second one is there.
            assert ended or life, "nobody had a session"
    finally:
        scene.proxy.host, scene.proxy.port = direct
    await scene.more_facts(20)


async def _beside_a_pooler(scene: Scene, mode: str) -> int:
    """All sessions of ours come by way of it: those that came by another are ended; how many."""
    settings = {"pool_mode": mode, "ignore_startup_parameters": f"{IGNORED},role"}
    if mode == "transaction":
        settings["max_prepared_statements"] = "200"
    else:
        settings["default_pool_size"] = "50"  # each keeps one
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        async with _superuser(scene) as superuser, _by_role(superuser):
            with a_pooler(Path(folder), scene.database, settings) as url:
                scene.proxy.host, scene.proxy.port = "127.0.0.1", urlsplit(url).port or 0
                ended: int = await superuser.fetchval(END_SESSIONS)
                if mode == "transaction":
                    await _handed_round(superuser)
                await scene.more_facts(50)
    return ended


@asynccontextmanager
async def _by_role(superuser: Connection) -> AsyncIterator[None]:
    """What the pooler keeps from passing comes with the login, as docs/postgresql.md has it."""
    of_login: str = await superuser.fetchval(
        "SELECT format('ALTER ROLE %I IN DATABASE %I', session_user, current_database())"
    )
    try:
        for setting, value in BY_ROLE.items():
            await superuser.execute(f"{of_login} SET {setting} = '{value}'")
        yield
    finally:
        await superuser.execute(f"{of_login} RESET ALL")


async def _handed_round(superuser: Connection) -> None:
    """Wait until one session of the server has served two processes."""
    served: dict[int, set[str]] = {}

    async def look() -> bool:
        for row in await superuser.fetch(f"SELECT pid, application_name FROM pg_stat_activity WHERE {SESSIONS}"):
            served.setdefault(row["pid"], set()).add(row["application_name"])
        return any(len(names) > 1 for names in served.values())

    await until(look, what="a session of the server serves two processes")


async def _fill(superuser: Connection) -> int:
    """How many megabytes went in."""
    await superuser.execute("ALTER TABLE storm_filler ALTER COLUMN body SET STORAGE EXTERNAL")
    for size in (2**20, 2**16, 2**12):
        with suppress(asyncpg.DiskFullError):
            while True:
                await superuser.execute("INSERT INTO storm_filler VALUES ($1)", bytes(size))
    megabytes: int = await superuser.fetchval("SELECT pg_total_relation_size('storm_filler') / 1048576")
    return megabytes


@contextmanager
def _a_disk(megabytes: int) -> Iterator[Path]:
    """A folder of the server's user on a disk of its own."""
    mount = Path(tempfile.mkdtemp(prefix="creditwell-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "tmpfs", mount], check=True)
    try:
        folder = mount / "log"
        folder.mkdir(mode=0o700)
        if (user := unprivileged_user()) is not None:
            shutil.chown(folder, user)
        mount.chmod(0o711)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", mount], check=True)
        mount.rmdir()


@asynccontextmanager
async def _superuser(scene: Scene) -> AsyncIterator[Connection]:
    """A session past the proxy that is there before anything goes wrong."""
    connection: Connection = await asyncpg.connect(scene.database)
    try:
        yield connection
    finally:
        connection.terminate()


async def _says(scene: Scene, why: str, names: "list[str] | tuple[str, ...]") -> None:
    """Wait until each of these processes says by itself that it is not ready, and why."""
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
        for name in names:

            async def look(name: str = name) -> bool:
                answer = await client.get(f"http://127.0.0.1:{scene.fleet.ports[name]}/readyz")
                return answer.status_code == 503 and why in answer.text

            await until(look, what=f"{name} is not ready: {why}")


async def _logs(scene: Scene, word: str, names: "list[str] | tuple[str, ...]") -> None:
    """Wait until one of these processes has logged it from now on."""
    before = {name: sum(word in str(line) for line in scene.fleet.said(name)) for name in names}

    async def look() -> bool:
        return any(sum(word in str(line) for line in scene.fleet.said(name)) > before[name] for name in names)

    await until(look, what=f"{' or '.join(names)} logs {word}")
