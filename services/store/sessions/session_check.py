"""What our sessions rest on: asked of each new one, because a pooler, a role or a database may have other ideas.

A setting that did not arrive makes no noise. Without its time-outs a process that hangs holds the heads for ever; at
another isolation a balance is read that a lock was to protect; with another search path other tables are read. So a
session that is not as it must be is not used.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import asyncpg

from services.runtime.logs import get_log
from services.runtime.settings import WrongSettings

if TYPE_CHECKING:
    Session = asyncpg.Connection[asyncpg.Record]
else:
    Session = asyncpg.Connection

VERSION_MIN = 150_000  # views that ask with the privileges of whoever reads them
LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
EXACT = {
    "default_transaction_isolation": "read committed",  # whoever waited for a lock sees what its holder wrote
    "session_replication_role": "origin",
    "standard_conforming_strings": "on",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "TimeZone": "UTC",
}
# How a statement is planned costs time alone.
FOR_SPEED = ("jit", "enable_bitmapscan", "enable_sort")
SETTINGS = (*LIMITS, *EXACT, *FOR_SPEED, "synchronous_commit", "server_version_num")
READS_ONLY = "SELECT current_setting('transaction_read_only')::boolean"
LOOK = """
    SELECT name, setting, current_schemas(false) = '{public}' AS in_public, current_schemas(false)::text AS schemas,
           current_setting('transaction_read_only')::boolean AS reads_only
    FROM pg_settings WHERE name = ANY($1)
"""


async def check_session(session: Session, opened_with: Mapping[str, str]) -> bool:
    """Make sure that a session is what we rely on; `opened_with` are the settings with which it was opened.

    True when its server takes no writes at present.

    Raises:
        WrongSettings: it is not; each sentence names a setting.
    """
    rows = await session.fetch(LOOK, list(SETTINGS))
    in_force = {row["name"]: row["setting"] for row in rows}
    wrong = wrong_settings(in_force, opened_with)
    if not rows[0]["in_public"]:
        wrong.append(f"search_path leads to the schemas {rows[0]['schemas']}, and our tables are in public")
    if wrong:
        who = await session.fetchval("SELECT session_user::text")
        raise WrongSettings(*(
            f"CREDITWELL_DATABASE leads to a session in which {what}. Run deploy/roles.sql again, or: "
            f"ALTER ROLE {who} SET {what.split(' ')[0]} = …; see docs/postgresql.md."
            for what in wrong
        ))  # fmt: skip
    slow = [name for name in FOR_SPEED if name in opened_with and in_force.get(name) != opened_with[name]]
    if slow:
        get_log().warning("settings that make reads quick did not arrive; run deploy/roles.sql again", settings=slow)
    reads_only: bool = rows[0]["reads_only"]
    return reads_only


def wrong_settings(in_force: Mapping[str, str], opened_with: Mapping[str, str]) -> list[str]:
    """What is not as it must be, each beginning with the setting's name; time-outs are in milliseconds."""
    wrong = [
        f"{name} is {in_force[name]}, and must be {value}" for name, value in EXACT.items() if in_force.get(name, value) != value
    ]  # fmt: skip
    wrong += [
        f"{name} is {in_force[name]} ms, and must be {opened_with[name]} ms or less, and not 0" for name in LIMITS
        if int(opened_with.get(name, 0)) and not 0 < int(in_force[name]) <= int(opened_with[name])
    ]  # fmt: skip
    if in_force["synchronous_commit"] == "off":
        wrong.append("synchronous_commit is off, so that a crash takes back what was answered")
    if int(in_force["server_version_num"]) < VERSION_MIN:
        wrong.append(f"server_version_num is {in_force['server_version_num']}, and must be {VERSION_MIN} or more")
    return wrong
