"""What the figures were measured on."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import psutil

from deploy.local.world import LocalWorld
from services.store.connect import Connection

DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
TOLD = (*DURABLE, "shared_buffers", "max_wal_size", "checkpoint_timeout", "wal_level", "data_checksums")


class NotDurable(Exception):
    """The database would lose what it has acknowledged: its speed means nothing."""


async def check_durable(owner: Connection) -> None:
    """Raises NotDurable, naming the setting."""
    for name in DURABLE:
        found = await owner.fetchval("SELECT current_setting($1)", name)
        if found != "on":
            raise NotDurable(f"{name} is {found}: switch it on, nothing is measured without")


async def about(world: LocalWorld, owner: Connection) -> dict[str, str]:
    """Machine, versions, and the settings that decide what a COMMIT means."""
    settings = {name: str(await owner.fetchval("SELECT current_setting($1, true)", name)) for name in TOLD}
    return {
        "machine": f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, {processor()}",
        "system": platform.platform(terse=True),
        "Python": platform.python_version(),
        "PostgreSQL": str(await owner.fetchval("SHOW server_version")),
        "Kafka": kafka_version(world),
        "from": world.stack.source,
        "asyncpg, aiokafka": f"{version('asyncpg')}, {version('aiokafka')}",
        **settings,
    }


def processor() -> str:
    """Its name, where the system tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def kafka_version(world: LocalWorld) -> str:
    """A broker tells it to its log alone, which is ours to read where we started it."""
    log = world.stack.logs / "kafka.log"
    found = re.search(r"metadata\.version (\d[\w.-]*\w)", log.read_text(errors="replace")) if log.exists() else None
    return found[1] if found else "its version is not told"
