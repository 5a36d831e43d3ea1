"""Snapshots of a team's balance.

With them a balance of the past takes a few thousand facts, not all that the team ever had.

A balance as of an instant is the fold over the facts that had occurred by then, by what was known
(`services/read_models/history.py`). Each thousandth fact of a team leaves a snapshot, which says two things that such a
fold may rely on:

- As of any instant from `true_from` on, and knowing as much as was recorded with its fact, the fold up to its
  `position` is
  its `state`: a read begins there. `evolve` keeps `true_from`: the last instant that mattered to any fact so far, be it
  that one
  occurred, that a lot began or ended, or that a hold expired before its usage came.
- Of the facts after `after`, up to `position`, those that occurred before `late_before` are the ones in `late`: a read
  as of an
  earlier instant takes these and leaves the rest alone.

`late_before` is the `true_from` of the snapshot before the last one. So usage that arrives a little out of order is not
late. What comes days after its time is late, and costs a read itself alone, rather than every fact in between. That is
why the smallest time within each stretch would not do. A stretch with too many of them lists none and is read as a
whole. Facts are counted per team, whatever batch they came in, so that a rebuild leaves the same rows.

Snapshots change what a read costs, never what it says: any of them may be missing. Each has the number of the fold that
made it, and another fold passes it over.
"""

from dataclasses import fields
from datetime import datetime
from typing import NamedTuple

import msgspec

from projections.balance.fold import FOLD
from projections.balance.lots import is_settled
from projections.balance.state import ALWAYS, Stretch, TeamBalance
from schemas.facts import AMENDMENTS, Stored

_STATE = [field.name for field in fields(TeamBalance) if field.name not in ("changed", "stretch")]


class Cadence(NamedTuple):
    """How often a team leaves a snapshot. Live projector and rebuild have the same one, or their rows differ."""

    every: int = 1_000  # facts; half a byte to a fact, and a read folds some two thousand of them
    late_max: int = 100  # a tenth: with more, one reads nearly every page of the stretch anyway


CADENCE = Cadence()


class Snapshot(NamedTuple):
    """A row of `balance_snapshots_v…`."""

    shard: int
    team_id: str
    position: int
    recorded_at: datetime
    true_from: datetime
    after: int
    late_before: datetime
    late_positions: list[int]
    late_times: list[datetime]
    state: str
    fold: int


def takes_one(stretch: Stretch, facts: int, cadence: Cadence) -> bool:
    """Whether one of so many further facts takes a snapshot."""
    return stretch.facts + facts >= cadence.every


def note(team: TeamBalance, stored: Stored, cadence: Cadence = CADENCE) -> Snapshot | None:
    """Called with each fact, when it has been folded.

    Counts it, lists it if it is late, and takes a snapshot after every so many.
    """
    stretch = team.stretch
    stretch.facts += 1
    if stored.occurred_at < stretch.late_before:
        _list_late(stretch, stored, cadence.late_max)
    # Between what takes a usage back and the usage behind it, sum and lots are not those of any moment.
    if stretch.facts < cadence.every or stored.source == AMENDMENTS:
        return None
    team.stretch = Stretch(after=stored.position, late_before=stretch.next_late_before, next_late_before=team.true_from)
    return Snapshot(
        stored.shard, team.team_id, stored.position, stored.recorded_at, team.true_from, stretch.after, stretch.late_before,
        [position for position, _ in stretch.late], [occurred_at for _, occurred_at in stretch.late], encode(team), FOLD,
    )  # fmt: skip


def _list_late(stretch: Stretch, stored: Stored, late_max: int) -> None:
    if len(stretch.late) < late_max:
        stretch.late.append((stored.position, stored.occurred_at))
    else:
        stretch.late_before = ALWAYS
        stretch.late.clear()


def encode(team: TeamBalance) -> str:
    """The state as JSON, without what a process that has just loaded the team would not have either."""
    state = {name: getattr(team, name) for name in _STATE}
    state["lots"] = [lot for lot in team.lots if not is_settled(lot, team.sealed_until)]
    return msgspec.json.encode(state).decode()


def decode(state: str) -> TeamBalance:
    """A state of its own, ready to be folded further."""
    return msgspec.json.decode(state, type=TeamBalance)
