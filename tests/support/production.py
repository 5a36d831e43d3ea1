"""A database as production has it: made by `deploy/roles.sql`, with a login for each role."""

import secrets
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from deploy.local.servers.postgres import PROGRAMS, site_packages
from deploy.local.stack import Stack
from services.store.migrate import migrate

ROLES_SQL = Path(__file__).parents[2] / "deploy" / "roles.sql"
LOGINS = ("migrator", "recorder", "projector", "worker", "api", "reader", "analyst", "signer")


@asynccontextmanager
async def a_production(stack: Stack) -> AsyncIterator[Callable[[str], str]]:
    """The URL of a role's login at a database of its own, which nobody has migrated yet; roles belong to the whole server."""
    name = f"production_{secrets.token_hex(4)}"
    passwords = {role: secrets.token_urlsafe(12) for role in LOGINS}
    for _ in range(2):  # passwords are changed by running it again
        run_roles_sql(stack, name, passwords)
    server = stack.database.rpartition("@")[2].partition("/")[0]
    try:
        yield lambda role: f"postgresql://creditwell_{role}:{passwords[role]}@{server}/{name}"
    finally:
        superuser = await asyncpg.connect(stack.database)
        await superuser.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        for role in passwords.keys() - {"migrator"}:
            await superuser.execute(f"ALTER ROLE creditwell_{role} NOLOGIN PASSWORD NULL")
        await superuser.execute("DROP ROLE creditwell_migrator")
        await superuser.execute("REVOKE creditwell_projector FROM creditwell_owner")
        await superuser.close()


async def migrated(migrator: str) -> None:
    """Make the tables, as `creditwell migrate` does."""
    connection = await asyncpg.connect(migrator)
    try:
        await migrate(connection)
    finally:
        await connection.close()


def run_roles_sql(stack: Stack, database: str, passwords: dict[str, str]) -> None:
    """As an operator does, by psql."""
    psql = site_packages() / PROGRAMS / "psql"
    variables = [f"--set={role}_password={password}" for role, password in passwords.items()]
    command: list[str | Path] = [
        psql,
        "--no-psqlrc",
        "--quiet",
        *variables,
        f"--set=database={database}",
        f"--file={ROLES_SQL}",
        stack.database,
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
