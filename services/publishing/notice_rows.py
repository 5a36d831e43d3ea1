"""Notices in PostgreSQL: found in the log once, kept until the host product has them, or until there is no more point.

The log is the outbox. A reader with a checkpoint of its own makes a row of every fact that the host is told of, in the
transaction that moves the checkpoint. The row's key is the fact's place, so no fact can become two. From then on the
row decides: who sends it, how often, and what came of it. Within a team a notice waits for the ones before it.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid5

from projections.notices import notice_of
from schemas.facts import Stored
from schemas.notices import Notice
from services.runtime.tracing.context import Trail
from services.store.claims import Claims
from services.store.connect import Connection
from services.store.halts import Halts
from services.store.read import FACT_COLUMNS, stored_of

NOTICES = "notices"  # the reader's name
LATE = timedelta(days=3)  # older news is not sent by itself: who comes back from afar is not flooded
FACTS_MAX = 200  # of one look, over all shards
NAMESPACE = UUID("3f0e6c54-5a6b-5d7c-9b1e-7d2f0a4c8e11")

# The first reader ever begins with the present: a host that is told from today on is not told of last year.
BEGIN = """
    INSERT INTO checkpoints (reader, shard, position) SELECT $1, shard, next - 1 FROM shard_heads ON CONFLICT DO NOTHING
"""

# The condition on the type is the index's own. Positions are in commit order, so what lies between is nobody's news.
TO_TELL = f"""
    SELECT f.* FROM unnest($1::smallint[], $2::bigint[]) AS seen (shard, position)
    CROSS JOIN LATERAL (
        SELECT {FACT_COLUMNS} FROM facts
        WHERE facts.shard = seen.shard AND facts.position > seen.position AND type IN (
            'balance.ran_low.v1', 'balance.ran_out.v1', 'balance.recovered.v1', 'top_up.failed.v1',
            'top_up.action_required.v1', 'top_up.suspended.v1', 'top_up.resumed.v1', 'top_up.skipped.v1'
        )
        ORDER BY facts.position LIMIT $3
    ) AS f
    ORDER BY f.shard, f.position LIMIT $3
"""

# Behind an earlier one that is tried later, a notice is not due either; which only saves looking at it.
KEEP = """
    INSERT INTO notices (shard, position, team_id, type, notice_id, body, state, due_at, last_answer, ended_at)
    SELECT new.shard, new.position, new.team_id, new.type, new.notice_id, new.body,
           CASE WHEN late THEN 'given_up' ELSE 'waiting' END, greatest(clock_timestamp(), ahead.due_at),
           CASE WHEN late THEN 'found too late' END, CASE WHEN late THEN clock_timestamp() END
    FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
        AS new (shard, position, team_id, type, notice_id, body, recorded_at)
    CROSS JOIN LATERAL (SELECT new.recorded_at < clock_timestamp() - $8::interval AS late) AS age
    CROSS JOIN LATERAL (
        SELECT max(n.due_at) AS due_at FROM notices n
        WHERE n.shard = new.shard AND n.team_id = new.team_id AND n.state = 'waiting'
    ) AS ahead
    ON CONFLICT DO NOTHING
"""

DUE = """
    SELECT n.shard, n.position, n.team_id, n.type, n.notice_id, n.body, n.tries, clock_timestamp() AS now,
           t.traceparent, t.request_id
    FROM notices n LEFT JOIN traces t USING (shard, position)
    WHERE n.state = 'waiting' AND n.due_at <= statement_timestamp() AND n.shard = ANY($1) AND NOT EXISTS (
        SELECT FROM notices e
        WHERE e.shard = n.shard AND e.team_id = n.team_id AND e.position < n.position AND e.state = 'waiting'
    )
    ORDER BY n.due_at, n.shard, n.position LIMIT $2
"""

# Whoever has it, has it: also where the try was of somebody who no longer owns the shard.
DELIVERED = """
    UPDATE notices SET state = 'delivered', tries = tries + 1, last_answer = $3, ended_at = clock_timestamp()
    WHERE shard = $1 AND position = $2 AND state = 'waiting'
"""
GIVEN_UP = """
    UPDATE notices SET state = 'given_up', tries = tries + 1, last_answer = $4, ended_at = clock_timestamp()
    WHERE shard = $1 AND position = $2 AND state = 'waiting' AND tries = $3
"""
# The tries say whether it is still the notice that was sent: of two who failed at once, one counts.
FAILED = """
    UPDATE notices SET tries = tries + 1, last_answer = $4, due_at = clock_timestamp() + $5::interval
    WHERE shard = $1 AND position = $2 AND state = 'waiting' AND tries = $3
"""
FOLLOW = """
    UPDATE notices n SET due_at = ahead.due_at FROM notices ahead
    WHERE ahead.shard = $1 AND ahead.position = $2 AND ahead.state = 'waiting' AND n.shard = ahead.shard
      AND n.team_id = ahead.team_id AND n.position > ahead.position AND n.state = 'waiting' AND n.due_at < ahead.due_at
"""

COUNTS = """
    SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) FILTER (WHERE state = 'given_up') AS given_up,
           coalesce(extract(epoch FROM clock_timestamp() - min(noticed_at) FILTER (WHERE state = 'waiting')), 0)::float8
               AS oldest_seconds
    FROM notices WHERE state <> 'delivered' AND shard = ANY($1)
"""
FORGET = "DELETE FROM notices WHERE state <> 'waiting' AND ended_at < statement_timestamp() - $1::interval"


class Due(NamedTuple):
    """A notice to be sent now; `now` is the database's clock, and goes into the signature.

    The last two are of what the fact came of, where that is known.
    """

    shard: int
    position: int
    team_id: str
    type: str
    notice_id: str
    body: str
    tries: int
    now: datetime
    traceparent: str | None = None
    request_id: str | None = None

    @property
    def trail(self) -> Trail:
        """Of what the fact came of."""
        return Trail(self.traceparent, self.request_id)


class Counts(NamedTuple):
    """How it stands with the notices of some shards."""

    waiting: int
    given_up: int
    oldest_seconds: float


def notice_id(stored: Stored) -> str:
    """The webhook-id of a fact's notice.

    It follows from the fact's identity, and so is the same in a restored store.
    """
    return f"notice_{uuid5(NAMESPACE, chr(10).join((stored.team_id, stored.source, stored.id)))}"


async def begin(connection: Connection) -> None:
    """Make the reader's checkpoints at the heads of now, where there are none."""
    await connection.execute(BEGIN, NOTICES)


async def keep_new(connection: Connection, claims: Claims, page: str | None, halts: Halts) -> int:
    """Make rows of the next facts that the host is told of, and move the checkpoints; how many facts were read.

    A fact of which no notice can be made halts the notices of its shard, for they go out in order.

    Raises:
        Fenced: a shard has another owner.
    """
    waiting = set(halts.waiting())
    positions = {shard: position for shard, position in claims.positions.items() if _name(shard) not in waiting}
    rows = await connection.fetch(TO_TELL, list(positions), list(positions.values()), FACTS_MAX)
    if not rows:
        return 0
    notices, wrong = _notices_of([stored_of(row) for row in rows], page)
    reached = {stored.shard: stored.position for stored, _ in notices}
    if reached:
        async with connection.transaction():
            await claims.lock_and_move(connection, reached)
            await _keep(connection, notices)
        claims.moved(reached)
    for shard, (stored, error) in wrong.items():
        await halts.halt(connection, _name(shard), error, shard=shard, position=stored.position)
    await halts.go_on(connection, [_name(shard) for shard in reached.keys() - wrong.keys()])
    return len(notices)


def _name(shard: int) -> str:
    return f"shard {shard}"


def _notices_of(
    facts: Iterable[Stored], page: str | None
) -> tuple[list[tuple[Stored, Notice | None]], dict[int, tuple[Stored, Exception]]]:
    """Each fact with its notice; and by shard the first of which none can be made, behind which nothing is told."""
    notices: list[tuple[Stored, Notice | None]] = []
    wrong: dict[int, tuple[Stored, Exception]] = {}
    for stored in facts:
        if stored.shard in wrong:
            continue
        try:
            notices.append((stored, notice_of(stored, page)))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this fact's
            wrong[stored.shard] = (stored, error)
    return notices, wrong


async def _keep(connection: Connection, notices: Iterable[tuple[Stored, Notice | None]]) -> None:
    new = [
        (
            stored.shard,
            stored.position,
            stored.team_id,
            stored.type,
            notice_id(stored),
            notice.body(),
            stored.recorded_at,
        )
        for stored, notice in notices
        if notice is not None
    ]
    if new:
        await connection.execute(KEEP, *map(list, zip(*new, strict=True)), LATE)


async def due(connection: Connection, shards: Collection[int], limit: int) -> list[Due]:
    """The notices whose time has come, each the first of its team that waits; oldest first."""
    return [Due(*row) for row in await connection.fetch(DUE, list(shards), limit)]


async def delivered(connection: Connection, notice: Due, answer: str) -> None:
    """The host has it."""
    await connection.execute(DELIVERED, notice.shard, notice.position, answer)


async def given_up(connection: Connection, notice: Due, answer: str) -> None:
    """It is not sent again by itself."""
    await connection.execute(GIVEN_UP, notice.shard, notice.position, notice.tries, answer)


async def failed(connection: Connection, notice: Due, answer: str, again_in: timedelta) -> None:
    """It is sent again later, and the later ones of its team after it."""
    async with connection.transaction():
        await connection.execute(FAILED, notice.shard, notice.position, notice.tries, answer, again_in)
        await connection.execute(FOLLOW, notice.shard, notice.position)


async def count(connection: Connection, shards: Collection[int]) -> Counts:
    """What waits and what was given up."""
    return Counts(*(await connection.fetchrow(COUNTS, list(shards)) or (0, 0, 0.0)))


async def forget_old(connection: Connection, kept: timedelta) -> None:
    """Drop what ended so long ago; the log keeps the facts."""
    await connection.execute(FORGET, kept)
