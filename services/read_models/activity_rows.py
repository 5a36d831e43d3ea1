"""Rows of `activity_rows` in PostgreSQL: one per entry, in the order of the log.

Many rows are packed as PostgreSQL's binary COPY carries them: there is one for every fact, and a driver that works out
the type of each of fourteen columns takes six times as long. A few go with the checkpoint, in one statement.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from struct import Struct, pack

from projections.balance.state import ActivityKind, BalanceEntry, LotPayment
from projections.versions import at_version
from services.store.claims import IS_OURS, Part, columns, in_braces
from services.store.copying import microseconds

INSERT = f"""
    INSERT INTO activity_rows_v0
        (shard, team_id, position, part, kind, recorded_at, occurred_at, member_id, feature, included, additional,
         balance_after, paid, late)
    SELECT shard, team_id, position, part, kind, recorded_at, occurred_at, member_id, feature, included, additional,
           balance_after, paid::bigint[], late
    FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::smallint[], $5::text[], $6::timestamptz[],
                $7::timestamptz[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[],
                $14::boolean[])
        AS a (shard, team_id, position, part, kind, recorded_at, occurred_at, member_id, feature, included, additional,
              balance_after, paid, late)
    WHERE {IS_OURS}
"""
COLUMNS = 14

EntryOfTeam = tuple[int, str, BalanceEntry]  # with its shard

NULL = b"\xff\xff\xff\xff"
BIGINT = 20  # the type's number in every PostgreSQL

_HEAD = Struct(">hih")  # 14 columns, shard
_PLACE = Struct(">iqih")  # position, part
_TIMES = Struct(">iqiq")  # recorded_at, occurred_at
_CREDITS = Struct(">iqiqiq")  # included, additional, balance_after
# The row of nearly every fact, in two parts around its names: usage that one lot paid.
_USAGE = Struct(">iqihi5siqiq")  # position, part, kind, recorded_at, occurred_at
_PAID_BY_ONE = Struct(">iqiqiqiiiiiiiqiqiB")  # credits, paid (an array of two: lot and credits), late


def row_of(team_id: str, entry: BalanceEntry) -> tuple[object, ...]:
    """One row of `activity_rows_v…`, as a query gives it, without its shard."""
    return (
        team_id, entry.position, entry.part, entry.kind, entry.recorded_at, entry.occurred_at, entry.member_id,
        entry.feature, entry.included, entry.additional, entry.balance_after,
        [number for paid in entry.paid for number in paid], entry.late,
    )  # fmt: skip


def saved_entries(rows: Iterable[EntryOfTeam], version: int) -> Part:
    """What writes entries, each with its shard and its team, in the statement that moves the checkpoint."""
    written = [
        (shard, team_id, *entry[:10], in_braces(chain.from_iterable(entry.paid)), entry.late)
        for shard, team_id, entry in rows
    ]
    return Part(at_version(INSERT, version), columns(written, COLUMNS))


def pack_row(shard: int, team_id: str, entry: BalanceEntry) -> bytes:
    """A row with its shard as COPY carries it."""
    recorded, occurred = microseconds(entry.recorded_at), microseconds(entry.occurred_at)
    if entry.kind is ActivityKind.USAGE and len(entry.paid) == 1:
        lot, credits = entry.paid[0]
        return b"".join((
            _team(shard, team_id), _USAGE.pack(8, entry.position, 2, entry.part, 5, b"usage", 8, recorded, 8, occurred),
            _names(entry.member_id, entry.feature),
            _PAID_BY_ONE.pack(
                8, entry.included, 8, entry.additional, 8, entry.balance_after, 44, 1, 0, BIGINT, 2, 1, 8, lot, 8, credits, 1,
                entry.late,
            ),
        ))  # fmt: skip
    return b"".join((
        _team(shard, team_id), _PLACE.pack(8, entry.position, 2, entry.part), pack_text(entry.kind),
        _TIMES.pack(8, recorded, 8, occurred), _names(entry.member_id, entry.feature),
        _CREDITS.pack(8, entry.included, 8, entry.additional, 8, entry.balance_after), _paid(entry),
    ))  # fmt: skip


@lru_cache(maxsize=100_000)
def _team(shard: int, team_id: str) -> bytes:
    return _HEAD.pack(14, 2, shard) + pack_text(team_id)


@lru_cache(maxsize=100_000)
def _names(member_id: str | None, feature: str | None) -> bytes:
    return pack_text(member_id) + pack_text(feature)


def pack_text(text: str | None) -> bytes:
    """A text, or none, with its length before it."""
    if text is None:
        return NULL
    data = text.encode()
    return pack(">i", len(data)) + data


def _paid(entry: BalanceEntry) -> bytes:
    """The columns `paid` and `late`."""
    numbers = [number for paid in entry.paid for number in paid]
    array = pack(">iiiii", 1, 0, BIGINT, len(numbers), 1) if numbers else pack(">iii", 0, 0, BIGINT)
    array += b"".join(pack(">iq", 8, number) for number in numbers)
    return pack(">i", len(array)) + array + pack(">iB", 1, entry.late)


def paid_of(numbers: Iterable[int]) -> tuple[LotPayment, ...]:
    """What the column `paid` says."""
    pairs = iter(numbers)
    return tuple(LotPayment(lot, credits) for lot, credits in zip(pairs, pairs, strict=True))
