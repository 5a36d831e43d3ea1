"""A database as builds before the release made it: by eleven migrations, which have become one since.

What they made is what the one makes; what tells them apart is the journal.
"""

from pathlib import Path

from services.store.connect import Connection

APPLIED = [
    tuple(line.split()) for line in Path(__file__).with_name("eleven_migrations.txt").read_text("utf-8").splitlines()
]


async def migrated_by_the_eleven(connection: Connection) -> None:
    """The journal says so."""
    await connection.execute("DELETE FROM migrations")
    await connection.executemany("INSERT INTO migrations (name, sha256) VALUES ($1, $2)", APPLIED)
