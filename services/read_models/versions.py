"""Versions of the projections: made, shown, dropped. Each build has versions of its own.

A build is told by its shape: the tables that it reads and writes, and the number of its fold. Its projector fills its
versions, by checkpoints whose reader has the shape in its name. Its readers use views that have it, too. So builds work
side by side: neither can write into the other's tables, for it owns no checkpoint there.
Views without a shape in their names, and those of analysts, show what went live last.

A build that comes to a store that has facts makes its tables beside the live ones. Nobody reads them until its
projector has caught up with the log; then they go live, once.

A view of analysts that stands on a table keeps it from being replaced. So a switch drops them before it locks anything
that others wait for, and makes them again at its end, in its transaction: whoever asks meanwhile waits and gets the new
ones. They belong to the projector, whose tables they read, and show analysts nothing but their columns.
"""

from collections.abc import Iterable, Mapping, Sequence

from projections.analytics import View, view_sql, views
from projections.usage_by_attribute import COUNTED
from projections.versions import SHAPE, TABLES, VIEWS, at_version, live, of_build, tables
from schemas.facts import RATE_CARD_TEAM
from services.read_models.balances import PROJECTOR, TAIL_MAX
from services.store.connect import Connection
from services.store.shards import shard_of

# No advisory lock, which whoever may connect can take: this one is for those who may write there.
ONE_AT_A_TIME = "LOCK TABLE projections IN SHARE ROW EXCLUSIVE MODE"
SHARED = "SELECT share_projection($1::text::regclass)"
MADE = "SELECT name, version FROM projections WHERE sha256 = $1"
LIVE = "SELECT name, version FROM projections WHERE sha256 = $1 AND switched_at IS NOT NULL"
NEWEST_VERSION = "SELECT coalesce(max(version), 0) FROM projections"
NOTE = """
    INSERT INTO projections (sha256, name, version) VALUES ($1, $2, $3)
    ON CONFLICT (sha256, name) DO UPDATE SET previous_version = projections.version, version = excluded.version
"""
SHOWN = "UPDATE projections SET switched_at = clock_timestamp() WHERE sha256 = $1 AND name = ANY($2)"
IS_SHOWN = "SELECT sha256 = $1 FROM projections WHERE switched_at IS NOT NULL ORDER BY switched_at DESC LIMIT 1"
BEHIND = """
    SELECT sum(h.next - 1 - coalesce(c.position, 0))::bigint
    FROM shard_heads h LEFT JOIN checkpoints c ON c.reader = $1 AND c.shard = h.shard
"""
PREVIOUS = """
    SELECT name, previous_version FROM projections
    WHERE sha256 = $1 AND previous_version IS NOT NULL AND switched_at < clock_timestamp() - interval '1 day'
"""
# What other builds went on filling until a day ago, or never filled; if ours is what people see, and was a day ago.
FORSAKEN = """
    SELECT p.sha256, array_agg(p.version) || array_remove(array_agg(p.previous_version), NULL) AS versions
    FROM projections p
    WHERE p.sha256 <> $1 AND p.made_at < clock_timestamp() - interval '1 day' AND NOT EXISTS (
        SELECT FROM checkpoints c
        WHERE c.reader = $2 || left(p.sha256, 8) AND c.seen_at > clock_timestamp() - interval '1 day'
    )
    GROUP BY p.sha256
    HAVING (SELECT max(own.switched_at) FROM projections own WHERE own.sha256 = $1)
           BETWEEN coalesce(max(p.switched_at), '-infinity') AND clock_timestamp() - interval '1 day'
"""
COUNT = "INSERT INTO usage_counted_v0 SELECT unnest($1::text[])"
SHOWN_COUNTED = "SELECT to_regclass('usage_counted') IS NOT NULL"
RELATIONS = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relkind = $1 AND relnamespace = 'public'::regnamespace AND relowner = current_user::regrole AND relname ~ $2
"""

STANDING = "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'analytics'::regnamespace AND relkind = 'v'"
# What stands on another of them goes with it: there is nothing of anybody else's in this schema.
DROP = "DROP VIEW IF EXISTS {} CASCADE"
SHARE = "GRANT SELECT ON analytics.{} TO creditwell_analyst, creditwell_reader"


async def alone(connection: Connection) -> None:
    """Nobody else makes or switches versions in this transaction, and what it makes belongs to the projector."""
    await connection.execute(ONE_AT_A_TIME)
    await connection.execute("SET LOCAL ROLE creditwell_projector")


async def made_versions(connection: Connection) -> dict[str, int]:
    """Which version of each projection this build's projector fills, whether or not anybody reads it yet."""
    return {row["name"]: row["version"] for row in await connection.fetch(MADE, SHAPE)}


async def live_versions(connection: Connection) -> dict[str, int]:
    """Which version of each projection is read by this build; nothing until its own went live."""
    return {row["name"]: row["version"] for row in await connection.fetch(LIVE, SHAPE)}


async def next_version(connection: Connection) -> int:
    """The number of a version that no build has."""
    newest: int = await connection.fetchval(NEWEST_VERSION)
    return newest + 1


async def ensure_projections(connection: Connection, counted: Sequence[str] | None = None) -> dict[str, int]:
    """Make tables for this build where it has none; the versions that it reads.

    They count usage by these attributes; by those of the build before where none is given.

    The very first tables of a store are read at once. Those of a build that comes later stand empty beside the live
    ones, until they are filled.
    """
    async with connection.transaction():
        await alone(connection)
        if not await made_versions(connection):
            version = await next_version(connection)
            await make_anew(connection, version, await shown_attributes(connection) if counted is None else counted)
            await note(connection, TABLES, version)
            if version == 1:
                await show(connection, dict.fromkeys(TABLES, version))
        return await live_versions(connection)


async def go_live_when_filled(connection: Connection) -> bool:
    """Let this build's readers use what its projector has filled, if that has caught up; True if they do already.

    Every exact read folds the rest by itself.
    """
    if await live_versions(connection):
        return True
    if await connection.fetchval(BEHIND, PROJECTOR) > TAIL_MAX:
        return False
    async with connection.transaction():
        await alone(connection)
        if not await live_versions(connection):
            await show(connection, await made_versions(connection))
        return True


async def show_to_people(connection: Connection) -> None:
    """Make the views of people and analysts as this build has them, if its versions are live.

    `creditwell migrate` does it, as it makes functions anew. So whoever goes back to the build before sees its numbers.
    """
    async with connection.transaction():
        await alone(connection)
        versions = await live_versions(connection)
        if versions and not await connection.fetchval(IS_SHOWN, SHAPE):
            await show(connection, versions)
        elif versions:
            await make_analytics(connection, versions)


async def make_anew(connection: Connection, version: int, counted: Sequence[str]) -> None:
    """Make the tables of a version that is not in `projections`. A rebuild that is at such tables finds itself fenced.

    They count usage by these attributes for as long as they are there.

    Rows of one that was killed would stand beside ours.
    """
    await connection.execute("DELETE FROM checkpoints WHERE reader LIKE $1", f"rebuild-{version}-%")
    for name in TABLES:
        await drop(connection, name, version)
        await connection.execute(tables(name, version))
        for table in TABLES[name]:
            await connection.execute(SHARED, f"{table}_v{version}")
    await connection.execute(at_version(COUNT, version), sorted(set(counted)))


async def shown_attributes(connection: Connection) -> Sequence[str]:
    """By which attributes usage is counted in what went live last, whichever build that is; none in a new store."""
    if not await connection.fetchval(SHOWN_COUNTED):
        return ()
    names: Sequence[str] = await connection.fetchval(COUNTED.replace("_v0", ""))
    return names


async def note(connection: Connection, names: Iterable[str], version: int) -> None:
    """Write down that this build's projector fills this version of these projections from now on."""
    await connection.executemany(NOTE, [(SHAPE, name, version) for name in names])


async def show(connection: Connection, versions: Mapping[str, int]) -> None:
    """Make the views show these versions of this build's projections, in the caller's transaction."""
    await drop_analytics(connection)
    for name, version in versions.items():
        for shows in dict.fromkeys((name, *TABLES[name])):  # the projection's own, and one for each table
            shown = at_version(VIEWS.get(shows, f"SELECT * FROM {shows}_v0"), version)
            for view in (shows, live(f"{shows}_v0")):
                await connection.execute(f"DROP VIEW IF EXISTS {view}")
                await connection.execute(f"CREATE VIEW {view} WITH (security_invoker = true) AS {shown}")
                await connection.execute(SHARED, view)
    await connection.execute(SHOWN, SHAPE, list(versions))
    await make_analytics(connection, await live_versions(connection))


async def drop(connection: Connection, name: str, version: int) -> None:
    """Drop the tables of a version that nobody reads."""
    await connection.execute("DROP TABLE IF EXISTS " + ", ".join(f"{table}_v{version}" for table in TABLES[name]))


async def drop_previous(connection: Connection) -> None:
    """Drop what was switched away from a day ago: until then, one could go back at once.

    That are versions of ours, and those of other builds that nobody has filled for a day.
    """
    for row in await connection.fetch(PREVIOUS, SHAPE):
        await drop(connection, row["name"], row["previous_version"])
        await connection.execute(
            "UPDATE projections SET previous_version = NULL WHERE sha256 = $1 AND name = $2", SHAPE, row["name"]
        )
    for row in await connection.fetch(FORSAKEN, SHAPE, live("projector_v0").removesuffix(SHAPE[:8])):
        async with connection.transaction():
            await _drop_build(connection, row["sha256"], row["versions"])


async def _drop_build(connection: Connection, shape: str, versions: list[int]) -> None:
    """Drop everything of another build; which tables it had, it alone would know."""
    await alone(connection)
    named = ((b"v", f"{of_build(shape)}$"), (b"r", f"_v({'|'.join(map(str, {*versions}))})$"))
    for kind, ending in named:
        for (relation,) in await connection.fetch(RELATIONS, kind, ending):
            await connection.execute(f"DROP {'VIEW' if kind == b'v' else 'TABLE'} {relation}")
    reader = f"projector{of_build(shape)}"
    for table, column in (("checkpoints", "reader"), ("readers", "reader"), ("halted", "work")):
        await connection.execute(f"DELETE FROM {table} WHERE {column} = $1", reader)
    await connection.execute("DELETE FROM projections WHERE sha256 = $1", shape)


async def drop_analytics(connection: Connection) -> None:
    """Drop every view of analysts, in the caller's transaction; waits for whoever reads one."""
    for (view,) in await connection.fetch(STANDING):
        await connection.execute(DROP.format(view))


async def make_analytics(connection: Connection, live: Mapping[str, int]) -> None:
    """Make every view anew over these live versions, in the caller's transaction, as the projector."""
    await drop_analytics(connection)
    for view in views():
        await connection.execute(view_sql(view, live, shard_of(RATE_CARD_TEAM)))
        await connection.execute(";\n".join((SHARE.format(view.name), *_comments(view))))


def _comments(view: View) -> list[str]:
    return [
        f"COMMENT ON VIEW analytics.{view.name} IS {_quoted(view.meaning)}",
        *(f'COMMENT ON COLUMN analytics.{view.name}."{name}" IS {_quoted(meaning)}' for name, meaning in view.columns),
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
