"""Credit activity: one row per entry, in the order of the log."""

from collections.abc import Iterable

from projections.balance import Entry, Paid

COLUMNS = (
    "shard",
    "team_id",
    "position",
    "part",
    "kind",
    "recorded_at",
    "occurred_at",
    "member_id",
    "feature",
    "included",
    "additional",
    "balance_after",
    "paid",
    "late",
)


def rows(shard: int, team_id: str, entries: Iterable[Entry]) -> list[tuple[object, ...]]:
    """The rows of `activity_v…` for the entries of a fact."""
    return [
        (
            shard,
            team_id,
            entry.position,
            entry.part,
            entry.kind,
            entry.recorded_at,
            entry.occurred_at,
            entry.member_id,
            entry.feature,
            entry.included,
            entry.additional,
            entry.balance_after,
            [number for paid in entry.paid for number in paid],
            entry.late,
        )
        for entry in entries
    ]


def paid_of(numbers: Iterable[int]) -> tuple[Paid, ...]:
    """What the column `paid` says."""
    pairs = iter(numbers)
    return tuple(Paid(lot, credits) for lot, credits in zip(pairs, pairs, strict=True))
