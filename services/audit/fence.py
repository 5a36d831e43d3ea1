"""Is the fence around the log the one that the migrations made?

Tables, columns, constraints, indexes, triggers, row-level security, rules, heirs, grants, functions, roles: whoever may
change one of them can have the log take what it must refuse, and nothing in the log would show it. `fence.txt` beside
this file is what a database has right after `creditwell migrate`, read by the same statement; a test makes it anew.

What others add is said, save what can do no harm: plain indexes, and reading by roles that are none of ours. Tables of
projections are caches, and no part of it.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from services.store.connect import Connection

# Before anything is read: a schema named after the role, or one that `ALTER ROLE … SET search_path` names, may have
# tables of the same names.
PIN = "SELECT set_config('search_path', 'pg_catalog, public, pg_temp', false)"

# By expressions, so that no index answers: the unique one is what is not trusted here. It needs no memory, but a disk.
TWICE = """
    SELECT min(position) AS first, max(position) AS again FROM facts WHERE shard = $1
    GROUP BY team_id || '', source || '', id || '' HAVING count(*) > 1 ORDER BY again LIMIT 100
"""
TWICE_SINCE = """
    SELECT f.position AS first, g.position AS again FROM facts g JOIN facts f USING (shard, team_id, source, id)
    WHERE g.shard = $1 AND g.position > $2 AND f.position < g.position ORDER BY again LIMIT 100
"""

PLAIN_INDEX = "plain index"
MADE_BY_US = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relowner <> to_regrole('creditwell_projector')
"""
FENCE = """
    WITH process AS (
        SELECT oid, rolname FROM pg_roles
        WHERE rolname = ANY('{creditwell_recorder,creditwell_projector,creditwell_worker,creditwell_api,creditwell_reader,creditwell_analyst,creditwell_signer}')
    ), ours AS (
        SELECT c.* FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY($1)
    ), granted AS (
        SELECT o.relname::text AS object, o.relowner AS owner, a.grantee, a.privilege_type, NULL AS of_column
        FROM ours o, aclexplode(o.relacl) a
        UNION ALL
        SELECT o.relname, o.relowner, a.grantee, a.privilege_type, t.attname
        FROM ours o JOIN pg_attribute t ON t.attrelid = o.oid, aclexplode(t.attacl) a
        UNION ALL
        SELECT 'schema ' || n.nspname, n.nspowner, a.grantee, a.privilege_type, NULL
        FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname IN ('public', 'analytics')
    ), to_role AS (
        SELECT object, CASE grantee WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(grantee) END AS role, privilege_type,
               '(' || string_agg(of_column, ', ' ORDER BY of_column) || ')' AS columns
        FROM granted WHERE grantee <> owner AND grantee <> (SELECT nspowner FROM pg_namespace WHERE nspname = 'public')
        GROUP BY object, grantee, privilege_type
    )
    SELECT relname::text AS object, 'kind' AS part,
           concat_ws(', ', CASE relkind WHEN 'r' THEN 'table' ELSE 'no table but ' || relkind::text END,
                     CASE relpersistence WHEN 'p' THEN NULL ELSE 'not durable' END,
                     CASE WHEN relrowsecurity THEN 'row-level security' END,
                     (SELECT 'owned by ' || rolname FROM process WHERE process.oid = relowner)) AS says
    FROM ours
    UNION ALL
    SELECT o.relname, 'column ' || t.attname,
           concat_ws(' ', format_type(t.atttypid, t.atttypmod), CASE WHEN t.attnotnull THEN 'NOT NULL' END,
                     'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid))
    FROM ours o JOIN pg_attribute t ON t.attrelid = o.oid AND t.attnum > 0 AND NOT t.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = o.oid AND d.adnum = t.attnum
    UNION ALL
    SELECT o.relname, 'constraint ' || k.conname,
           pg_get_constraintdef(k.oid) || CASE WHEN k.convalidated THEN '' ELSE ', not valid' END
    FROM ours o JOIN pg_constraint k ON k.conrelid = o.oid AND k.contype <> 'n'
    UNION ALL
    SELECT o.relname,
           CASE WHEN i.indisunique OR i.indexprs IS NOT NULL OR i.indpred IS NOT NULL THEN 'index ' ELSE 'plain index ' END
               || i.indexrelid::regclass::text,
           pg_get_indexdef(i.indexrelid)
               || CASE WHEN i.indisvalid AND i.indisready AND i.indislive THEN '' ELSE ', not valid' END
    FROM ours o JOIN pg_index i ON i.indrelid = o.oid
    UNION ALL
    SELECT o.relname, 'trigger ' || t.tgname,
           CASE t.tgenabled WHEN 'A' THEN 'always: ' WHEN 'D' THEN 'disabled: ' ELSE 'not always: ' END
               || pg_get_triggerdef(t.oid)
    FROM ours o JOIN pg_trigger t ON t.tgrelid = o.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT o.relname, 'policy ' || p.polname,
           concat_ws(' ', CASE WHEN p.polpermissive THEN 'may' ELSE 'must' END, p.polcmd::text, 'by',
                     (SELECT string_agg(pg_get_userbyid(r), ', ' ORDER BY pg_get_userbyid(r)) FROM unnest(p.polroles) r),
                     'USING ' || pg_get_expr(p.polqual, p.polrelid), 'CHECK ' || pg_get_expr(p.polwithcheck, p.polrelid))
    FROM ours o JOIN pg_policy p ON p.polrelid = o.oid
    UNION ALL
    SELECT o.relname, 'rule ' || r.rulename, pg_get_ruledef(r.oid) FROM ours o JOIN pg_rewrite r ON r.ev_class = o.oid
    UNION ALL
    SELECT o.relname, 'heir ' || h.inhrelid::regclass::text, 'its rows count as rows of the table'
    FROM ours o JOIN pg_inherits h ON h.inhparent = o.oid
    UNION ALL
    SELECT object, 'granted to ' || role,
           string_agg(privilege_type || coalesce(columns, ''), ', ' ORDER BY privilege_type, columns)
    FROM to_role WHERE role LIKE 'creditwell%' OR privilege_type NOT IN ('SELECT', 'USAGE')
    GROUP BY object, role
    UNION ALL
    SELECT format('function %s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)), 'kind',
           concat_ws(', ', l.lanname, CASE WHEN p.prosecdef THEN 'by its owner''s rights' END,
                     array_to_string(p.proconfig, ' '), encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex'))
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'role ' || r.rolname, 'may',
           concat_ws(', ', CASE WHEN r.rolsuper THEN 'everything' END, CASE WHEN r.rolcreaterole THEN 'make roles' END,
                     CASE WHEN r.rolreplication THEN 'replicate' END,
                     CASE WHEN r.rolbypassrls THEN 'pass row-level security' END,
                     (SELECT 'what ' || string_agg(pg_get_userbyid(m.roleid), ', ' ORDER BY m.roleid) || ' may'
                      FROM pg_auth_members m WHERE m.member = r.oid))
    FROM pg_roles r JOIN process USING (oid)
    ORDER BY object, part
"""


class FencePart(NamedTuple):
    """A constraint, a trigger, a grant …: of which object, which it is, and what it says."""

    object: str
    part: str
    says: str


async def read_fence(connection: Connection, tables: list[str] | None = None) -> list[FencePart]:
    """The fence as the database has it, around these tables; around all that the migrations made, if none are named."""
    if tables is None:
        tables = [row[0] for row in await connection.fetch(MADE_BY_US)]
    rows = await connection.fetch(FENCE, tables)
    return [FencePart(name, part, " ".join(says.split())) for name, part, says in rows]


@cache
def the_fence() -> Mapping[tuple[str, str], str]:
    """What the migrations make, by object and part."""
    lines = files("services.audit").joinpath("fence.txt").read_text("utf-8").splitlines()
    return {(one.object, one.part): one.says for one in (FencePart(*line.split("\t")) for line in lines)}


async def holes(connection: Connection) -> Iterator[tuple[str, str]]:
    """Where the fence is not what the migrations made: the object, and what is wrong with it."""
    expected = the_fence()
    tables = sorted({name for name, part in expected if part == "kind" and not name.startswith("function ")})
    stands = {(one.object, one.part): one.says for one in await read_fence(connection, tables)}
    return _differences(expected, stands)


def _differences(
    expected: Mapping[tuple[str, str], str], stands: Mapping[tuple[str, str], str]
) -> Iterator[tuple[str, str]]:
    for name, part in sorted(expected.keys() | stands.keys()):
        should, says = expected.get((name, part)), stands.get((name, part))
        if should == says:
            continue
        if says is None:
            yield name, f"{part} is missing: {should}"
        elif should is not None:
            yield name, f"{part} is not what the migrations made: {says}; it should be: {should}"
        elif not part.startswith(PLAIN_INDEX) and (part != "kind" or not name.startswith("function ")):
            yield name, f"no migration made {part}: {says}"


async def identities_twice(connection: Connection, shard: int, after: int) -> list[tuple[int, int]]:
    """Positions at which one identity stands: the first, and another one after `after`."""
    rows = await (connection.fetch(TWICE, shard) if after == 0 else connection.fetch(TWICE_SINCE, shard, after))
    return [(row["first"], row["again"]) for row in rows]
