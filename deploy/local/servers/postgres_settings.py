"""How the stack's PostgreSQL is set: as a production server is, on one machine that also runs everything else."""

import os

# The encoding, the order of text and the checks of a production server, whatever the machine's locale.
INITDB_ARGS = (
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--locale=C.UTF-8",
    "--data-checksums",
)

# What gives a process another time of day (`make dates`): the server's and ours must agree.
CLOCK = ("LD_PRELOAD", "CLOCK_SHIFT_SECONDS")


def settings() -> dict[str, str]:
    """For one machine that also runs Kafka and every process of ours; durable."""
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return {
        "shared_buffers": f"{min(1024, max(128, memory_mb // 16))}MB",
        "max_connections": "200",
        "min_wal_size": "1GB",  # segments that exist already need not be filled with zeros in the middle of a COMMIT
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_lock_waits": "on",
        "synchronous_commit": "on",
    } | durability(durable=True)


def durability(*, durable: bool) -> dict[str, str]:
    """Whether what is committed survives the machine.

    Without it a commit waits for nothing, and dropping a database for little.
    """
    return dict.fromkeys(("fsync", "full_page_writes"), "on" if durable else "off")


# Not durable is what tests use: small databases, of which each is dropped, in memory where there is room.
NOT_DURABLE = durability(durable=False) | {"shared_buffers": "128MB", "min_wal_size": "80MB", "max_wal_size": "512MB"}


def environment() -> dict[str, str]:
    """The server's own, so that it is the same on every machine; of ours only the clock."""
    return {"LC_ALL": "C", "PATH": os.defpath, **{name: os.environ[name] for name in CLOCK if name in os.environ}}
