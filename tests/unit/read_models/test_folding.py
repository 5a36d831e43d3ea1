"""A batch is folded the short way where it can be, to the very state, entries and counts of `evolve`."""

from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections import usage, usage_by_attribute
from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.snapshots import CADENCE, Cadence, encode
from projections.balance.state import ActivityKind, LotPayment, TeamBalance
from projections.usage_by_attribute import AttributeCells
from schemas.facts import Stored, UsageRecorded
from services.read_models.activity_rows import row_of
from services.read_models.activity_runs import entries_of
from services.read_models.folding import ProjectedBatch, fold_plainly
from services.store.copying import microseconds
from tests.unit.projections.history import History, at
from tests.unit.projections.random_history import STEPS, Step, of_a_member, ran_out, tell, with_hold

COUNTED = ("tier",)


class Folded:
    """A history that is folded by batches, and all that comes of it."""

    def __init__(self, cadence: Cadence = CADENCE) -> None:
        self.cadence = cadence
        self.team = TeamBalance("team_42", zone="Asia/Kathmandu")
        self.lots: dict[int, Any] = {}
        self.paid: dict[int, tuple[LotPayment, ...]] = {}
        self.used: usage.Cells = {}
        self.attributes: dict[int, dict[str, str] | None] = {}
        self.attributed: AttributeCells = {}
        self.entries: list[tuple[object, ...]] = []
        self.flow: list[object] = []
        self.snapshots: list[object] = []
        self.short = self.first = 0

    def fold(self, stored_facts: list[Stored], *, plainly: bool) -> None:
        """Take one batch, as `Projecting` does."""
        batch = ProjectedBatch(self.used, self.cadence, COUNTED)
        self.first = stored_facts[0].position
        for type_, group in groupby(stored_facts, key=lambda stored: stored.type):
            facts = list(group)
            self.attributes.update((stored.position, attributes_in(stored)) for stored in facts)
            if plainly and type_ == UsageRecorded.type:
                left = fold_plainly(batch, 7, self.team, [raw(stored) for stored in facts])
                by_position = {stored.position: stored for stored in facts}
                for row in left:
                    self._fold_one(batch, by_position[row[1]])
            else:
                for stored in facts:
                    self._fold_one(batch, stored)
        self._take(batch)

    def _fold_one(self, batch: ProjectedBatch, stored: Stored) -> None:
        fact = stored.fact()
        paid: tuple[LotPayment, ...] = ()
        if (earlier := earlier_usage(fact)) is not None:
            in_batch = batch.paid_for("team_42", earlier)
            paid = self.paid.get(earlier, ()) if in_batch is None else in_batch
            assert in_batch is not None or earlier < self.first
        entries = evolve(self.team, stored, fact, paid, self.lots)
        self.lots.update(self.team.changed)
        self.paid.update((entry.position, entry.paid) for entry in entries if entry.kind is ActivityKind.USAGE)
        about = stored.position if earlier is None or isinstance(fact, UsageRecorded) else earlier
        batch.note(self.team, stored, fact, entries, self.attributes[about])

    def _take(self, batch: ProjectedBatch) -> None:
        alone = [entry for run in batch.runs for entry in entries_of(run, 0, len(run.positions))]
        self.short += len(alone)
        self.lots.update(self.team.changed)
        self.paid.update((entry.position, entry.paid) for _, _, entry in alone)
        entries = sorted([*batch.entries, *alone], key=lambda one: one[2][:2])
        self.entries += [(shard, *row_of(team_id, entry)) for shard, team_id, entry in entries]
        for *_, entry in alone:
            team_day = (7, "team_42", usage.day_of(self.team.zone, entry.occurred_at))
            assert (entry.member_id or "") in batch.counted[team_day]
        usage.merge(self.used, batch.cells)
        usage_by_attribute.merge(self.attributed, batch.attributed)
        self.flow.append((dict(batch.flow.came), dict(batch.flow.went)))
        self.snapshots += batch.snapshots

    def everything(self) -> tuple[object, ...]:
        """What is saved, and what the next batch goes on from."""
        changed = str(sorted(self.team.changed.items()))
        counted = self.used, self.attributed
        return encode(self.team), self.team.stretch, changed, self.entries, counted, self.flow, self.snapshots


def attributes_in(stored: Stored) -> dict[str, str] | None:
    """Those of usage."""
    fact = stored.fact()
    return fact.attributes if isinstance(fact, UsageRecorded) else None


def raw(stored: Stored) -> Any:
    """As PostgreSQL sends it to a fold."""
    recorded, occurred = (
        microseconds(at).to_bytes(8, "big", signed=True) for at in (stored.recorded_at, stored.occurred_at)
    )
    return (
        stored.shard, stored.position, stored.team_id, stored.type, stored.body, recorded, occurred, stored.source, stored.id,
    )  # fmt: skip


@given(STEPS, st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)), st.integers(1, 20), st.integers(2, 9))
@settings(max_examples=200, deadline=None)
def test_random_histories_come_to_the_same_both_ways(
    steps: list[Step], with_holds: set[int], run_out: set[int], together: int, every: int
) -> None:
    stored_facts = [with_hold(one) if one.position in with_holds else one for one in tell(steps).told.stored]
    stored_facts = [ran_out(one) if one.position in run_out else of_a_member(one) for one in stored_facts]
    short, long = Folded(Cadence(every=every)), Folded(Cadence(every=every))

    for start in range(0, len(stored_facts), together):
        short.fold(stored_facts[start : start + together], plainly=True)
        long.fold(stored_facts[start : start + together], plainly=False)

        assert short.everything() == long.everything()


def plain_usages(count: int) -> list[Stored]:
    history = History()
    history.granted(1_000, recorded=at(0))
    for minute in range(count):
        history.used(3, recorded=at(minute + 1))
    return history.stored


def test_what_is_plain_goes_the_short_way() -> None:
    folded = Folded()
    folded.fold(plain_usages(50), plainly=True)

    assert folded.short == 50


@pytest.mark.parametrize("odd", [0, 1, 30, 49])
def test_one_usage_among_many_that_names_a_hold_is_folded_alone(odd: int) -> None:
    grant, *usages = plain_usages(50)
    short, long = Folded(), Folded()
    stored_facts = [grant, *usages[:odd], with_hold(usages[odd]), *usages[odd + 1 :]]

    short.fold(stored_facts, plainly=True)
    long.fold(stored_facts, plainly=False)

    assert short.short == 49
    assert short.everything() == long.everything()


@pytest.mark.parametrize("body", [b"{}", b"{", b'{"feature":"f","quantity":"1","credits":-1,"rate_card":1}'])
def test_where_one_can_not_be_read_the_long_way_finds_it(body: bytes) -> None:
    grant, *usages = plain_usages(3)
    folded, batch = Folded(), ProjectedBatch()
    folded.fold([grant], plainly=True)
    rows = [raw(usages[0]), raw(usages[1]._replace(body=body)), raw(usages[2])]

    assert list(fold_plainly(batch, 7, folded.team, rows)) == rows


def test_work_of_before_2000_is_folded_the_long_way() -> None:
    grant, used = plain_usages(1)
    folded, batch = Folded(), ProjectedBatch()
    folded.fold([grant], plainly=True)
    old = raw(used._replace(occurred_at=used.occurred_at.replace(year=1999)))

    assert list(fold_plainly(batch, 7, folded.team, [old])) == [old]


@pytest.mark.parametrize(
    ("members", "is_plain"),
    [({"quantities": {"tokens": "1"}}, True), ({"quantity": "1", "corrects": 1}, False)],
    ids=["several quantities", "a correction"],
)
def test_usage_of_several_quantities_goes_the_short_way_and_a_correction_the_long_one(
    members: dict[str, Any], is_plain: bool
) -> None:
    grant, used = plain_usages(1)
    folded, batch = Folded(), ProjectedBatch()
    folded.fold([grant], plainly=True)
    row = raw(used._replace(body=UsageRecorded(feature="f", credits=3, rate_card=1, **members).body()))

    assert list(fold_plainly(batch, 7, folded.team, [row])) == ([] if is_plain else [row])
