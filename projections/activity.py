"""The activity in SQL: entries that stand alone, and runs of plain usage, many to a row.

Of many facts folded at once, usage of a team that one lot paid goes as arrays. The view `activity` shows both alike.
Who looks for some entries among millions asks for them by the bounds of a run.
"""

RUN_LENGTH_MAX = 64  # entries; their arrays fit into a page
RUN_SPAN_MAX = 10_000  # positions from the first to the last: nobody looks further back for the run of a position

# What the view shows of a run `r`, entry by entry, and where it comes from. With a collation behind 'usage' PostgreSQL
# would take the union for one that it can't look into, and unpack every run for whoever asks for refunds.
RUN_COLUMNS = """
    r.shard, r.team_id, e.position, 0::smallint AS part, 'usage'::text AS kind, e.recorded_at, e.occurred_at,
    r.members[e.member] AS member_id, r.features[e.feature] AS feature,
    CASE WHEN r.is_included THEN -e.credits ELSE 0 END AS included,
    CASE WHEN r.is_included THEN 0 ELSE -e.credits END AS additional,
    e.balance_after, ARRAY[r.lot, e.credits] AS paid, false AS late
"""
RUN_ENTRIES = """
    unnest(r.positions, r.recorded, r.occurred, r.by_member, r.of_feature, r.credits, r.balances)
        AS e (position, recorded_at, occurred_at, member, feature, credits, balance_after)
"""

COLUMNS = """shard, team_id, position, part, kind, recorded_at, occurred_at, member_id, feature, included, additional,
           balance_after, paid, late"""

VIEW = f"""
    SELECT {COLUMNS} FROM activity_rows_v0
    UNION ALL
    SELECT {RUN_COLUMNS} FROM activity_runs_v0 r CROSS JOIN LATERAL {RUN_ENTRIES}
"""


def entries_between(shard: str, team_id: str, low: str, high: str) -> str:
    """SQL for a team's entries from one position to another, as the view shows them, where indexes find them.

    All four are SQL. The view itself would unpack every run of the team.
    """
    return f"""
        SELECT {COLUMNS} FROM activity_rows_v0 AS a
        WHERE a.shard = {shard} AND a.team_id = {team_id} AND a.position BETWEEN {low} AND {high}
        UNION ALL
        SELECT {RUN_COLUMNS} FROM activity_runs_v0 AS r CROSS JOIN LATERAL {RUN_ENTRIES}
        WHERE r.shard = {shard} AND r.team_id = {team_id} AND r.first > {low} - {RUN_SPAN_MAX} AND r.first <= {high}
          AND r.last >= {low} AND e.position BETWEEN {low} AND {high}
    """
