"""The activity in SQL: entries that stand alone, and runs of plain usage, many to a row.

Of many facts folded at once, usage of a team that one lot paid goes as arrays. The view `activity` shows both alike.
Who looks for some entries among millions asks for them by the bounds of a run.
"""

RUN_LENGTH_MAX = 64  # entries; their arrays fit into a page
RUN_SPAN_MAX = 10_000  # positions from the first to the last: nobody looks further back for the run of a position

# What the view shows of a run `r`, entry by entry, and where it comes from.
RUN_COLUMNS = """
    r.shard, r.team_id, e.position, 0::smallint AS part, 'usage' COLLATE "C" AS kind, e.recorded_at, e.occurred_at,
    r.members[e.member] AS member_id, r.features[e.feature] AS feature,
    CASE WHEN r.is_included THEN -e.credits ELSE 0 END AS included,
    CASE WHEN r.is_included THEN 0 ELSE -e.credits END AS additional,
    e.balance_after, ARRAY[r.lot, e.credits] AS paid, false AS late
"""
RUN_ENTRIES = """
    unnest(r.positions, r.recorded, r.occurred, r.by_member, r.of_feature, r.credits, r.balances)
        AS e (position, recorded_at, occurred_at, member, feature, credits, balance_after)
"""

VIEW = f"""
    SELECT shard, team_id, position, part, kind, recorded_at, occurred_at, member_id, feature, included, additional,
           balance_after, paid, late
    FROM activity_rows_v0
    UNION ALL
    SELECT {RUN_COLUMNS} FROM activity_runs_v0 r CROSS JOIN LATERAL {RUN_ENTRIES}
"""
