"""A server that archives its write-ahead log, its base backup, and what is restored of both to a moment of the past."""

import asyncio
import shutil
from copy import copy
from datetime import datetime
from pathlib import Path

import asyncpg

from deploy.local.folders import free_ports
from deploy.local.servers.postgres import NativePostgres
from tests.support.waiting import until


class ArchivingPostgres(NativePostgres):
    """As docs/backup.md asks for: base backups, and every segment of the write-ahead log."""

    def _initdb(self) -> None:
        super()._initdb()
        self._folder("archive")
        # A segment is there when all of it is: who restores must never meet one that is still being copied.
        kept = f"{self._home}/archive/%f"
        command = f"test ! -f {kept} && cp %p {kept}.part && mv {kept}.part {kept}"
        self._set(self._data, archive_mode="on", archive_command=command)

    def backup(self) -> None:
        """A base backup, as `pg_basebackup` makes it."""
        self._copy(self._conninfo(), self._home / "backup")

    async def archived(self) -> None:
        """Wait until all that was written by now is in the archive."""
        connection = await asyncpg.connect(self.url)
        try:
            segment = await connection.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
            await until(lambda: asyncio.to_thread((self._home / "archive" / segment).exists), what="it is archived")
        finally:
            await connection.close()

    async def restored(self, at: datetime) -> NativePostgres:
        """A server of its own with the backup and the archive up to a moment, which takes writes."""
        other = copy(self)
        (other._port,) = free_ports(1)
        other._data, other._server = self._home / "backup", None
        other._log = self._log.with_name(f"restored-{other._port}.log")
        fetch = f"cp {self._home}/archive/%f %p"
        until_then = {"recovery_target_time": at.isoformat(), "recovery_target_action": "promote"}
        self._set(other._data, port=str(other._port), archive_mode="off", restore_command=fetch, **until_then)
        signal = other._data / "recovery.signal"
        signal.touch()
        if self._user:
            shutil.chown(signal, self._user)
        await asyncio.to_thread(other.start)
        connection = await asyncpg.connect(other.url)
        try:
            await until(lambda: connection.fetchval("SELECT NOT pg_is_in_recovery()"), what="it is restored")
        finally:
            await connection.close()
        return other

    def _folder(self, name: str) -> None:
        (self._home / name).mkdir(mode=0o700)
        if self._user:
            shutil.chown(self._home / name, self._user)

    def _set(self, data: Path, **values: str) -> None:
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in values.items())
