"""Random histories against a slow, obvious model of lots and cycles, and the identities that must hold in every one."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from projections.balance.fold import evolve
from projections.balance.lots import end_lots
from projections.balance.state import DEBT, NEVER, ActivityKind, LotKind, TeamBalance
from schemas.credits import MICRO
from schemas.facts import UsageVoided
from tests.unit.projections.history import MONTH, NOON, History

HOUR = timedelta(hours=1)


@dataclass
class Bag:
    """A lot of the model: no cleverness, nothing is ever forgotten."""

    number: int
    included: bool
    starts: datetime
    ends: datetime
    left: int


@dataclass
class Model:
    """Everything is worked out anew from all bags, each time."""

    bags: list[Bag] = field(default_factory=list)
    debt: int = 0
    sealed: datetime = NOON  # the first cycle begins then
    cycle_ends: datetime = NOON
    paid: dict[int, list[tuple[Bag | None, int]]] = field(default_factory=dict)

    def use(self, position: int, credits: int, occurred: datetime, recorded: datetime) -> None:
        when = recorded if occurred < self.sealed else occurred
        parts: list[tuple[Bag | None, int]] = []
        for bag in sorted(self.bags, key=lambda b: (not b.included, b.ends, b.starts, b.number)):
            if bag.starts <= when < bag.ends and bag.left and credits:
                take = min(bag.left, credits)
                bag.left -= take
                credits -= take
                parts.append((bag, take))
        self.debt += credits
        self.paid[position] = [*parts, (None, credits)]

    def void(self, position: int, usage: int, recorded: datetime) -> None:
        homeless = 0
        for bag, credits in self.paid[usage]:
            if bag is None:
                self.debt -= credits
            elif bag.ends > recorded:
                bag.left += credits
            else:
                homeless += credits
        if homeless:
            self.bags.append(Bag(position, True, recorded, self.cycle_ends, homeless))

    def balance(self, now: datetime) -> tuple[int, int]:
        living = [bag for bag in self.bags if bag.ends > now]
        return sum(b.left for b in living if b.included), sum(b.left for b in living if not b.included) - self.debt


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["use", "use", "use", "use", "late", "buy", "grant", "void", "seal", "wait"]),
        st.integers(1, 150),
        st.integers(0, 60),
    ),
    max_size=60,
)


def tell(steps: list[tuple[str, int, int]]) -> tuple[History, Model, datetime]:
    """The same story for both: a refill at every cycle's begin, as the store guarantees."""
    told, model = History(), Model()
    now, usages, voided = NOON, [], set()

    def refill_if_due() -> None:
        while model.cycle_ends <= now:
            starts, ends = model.cycle_ends, model.cycle_ends + MONTH
            told.refilled(100, starts=starts, ends=ends, recorded=now)
            model.bags.append(Bag(len(told.stored), True, starts, ends, 100))
            model.cycle_ends = ends

    refill_if_due()
    for what, credits, hours in steps:
        now += HOUR * hours if what != "wait" else MONTH * (hours / 40)
        refill_if_due()
        position = len(told.stored) + 1
        match what:
            case "use" | "late":
                occurred = now - (MONTH if what == "late" else HOUR / 60)
                told.used(credits, recorded=now, occurred=occurred)
                model.use(position, credits, occurred, now)
                usages.append(position)
            case "buy":
                told.purchased(credits, recorded=now)
                model.bags.append(Bag(position, False, now, NEVER, credits))
            case "grant":
                told.granted(credits, recorded=now, expires=now + HOUR * hours + HOUR)
                model.bags.append(Bag(position, False, now, now + HOUR * hours + HOUR, credits))
            case "void" if usages and (usage := usages[credits % len(usages)]) not in voided:
                voided.add(usage)
                told.voided(usage, recorded=now)
                model.void(position, usage, now)
            case "seal":
                ends = model.cycle_ends - MONTH
                told.sealed(ends=ends, recorded=now)
                model.sealed = max(model.sealed, ends)
            case _:
                pass
    return told, model, now


@given(STEPS)
@settings(max_examples=400, deadline=None)
def test_random_histories_fold_to_what_the_obvious_model_says(steps: list[tuple[str, int, int]]) -> None:
    told, model, now = tell(steps)

    included, additional = told.balance(now)

    assert (included, additional) == model.balance(now)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_a_balance_is_the_sum_of_its_entries_and_every_entry_says_the_balance_after_it(
    steps: list[tuple[str, int, int]],
) -> None:
    told, _, _ = tell(steps)

    running = 0
    for entry in told.entries:
        running += entry.credits
        assert entry.balance_after == running
    team = told.team
    assert running == team.total
    living = [lot for lot in team.lots if not lot.ended]
    assert team.included == sum(lot.remaining for lot in living if lot.kind is LotKind.INCLUDED)
    assert team.additional == sum(lot.remaining for lot in living if lot.kind is not LotKind.INCLUDED) - team.debt


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_the_lots_that_paid_add_up_to_what_each_usage_cost(steps: list[tuple[str, int, int]]) -> None:
    told, _, _ = tell(steps)

    for entry in told.entries:
        if entry.kind is ActivityKind.USAGE:
            assert sum(paid.credits for paid in entry.paid) == -entry.credits
            assert all(paid.lot == DEBT or paid.lot in told.lots for paid in entry.paid)


@given(STEPS, st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_as_of_is_the_fold_of_a_prefix(steps: list[tuple[str, int, int]], cut: int) -> None:
    told, _, _ = tell(steps)
    prefix = told.stored[:cut]

    again = refold(prefix)

    entries = [entry for entry in told.entries if entry.position <= len(prefix)]
    assert again.total == (entries[-1].balance_after if entries else 0)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_folding_again_gives_the_same_state_bit_for_bit(steps: list[tuple[str, int, int]]) -> None:
    told, _, now = tell(steps)

    again = refold(told.stored)
    for team in (told.team, again):
        end_lots(team, now, [])

    assert [vars_of(lot) for lot in again.lots] == [vars_of(lot) for lot in told.team.lots]
    assert (again.included, again.additional, again.debt, again.next_end) == (
        told.team.included, told.team.additional, told.team.debt, told.team.next_end,
    )  # fmt: skip


def vars_of(lot: object) -> tuple[object, ...]:
    """The fields of a lot, to compare by value."""
    return tuple(getattr(lot, name) for name in ("lot", "kind", "gained", "remaining", "starts_at", "ends_at", "ended"))


def refold(stored_facts: list) -> TeamBalance:  # type: ignore[type-arg]
    """A fresh fold that throws its memory away now and then, as a projector that restarts does."""
    again = History()
    for index, stored in enumerate(stored_facts):
        fact = stored.fact()
        paid = again.paid[fact.usage_position] if isinstance(fact, UsageVoided) else ()
        entries = evolve(again.team, stored, fact, paid, again.lots)
        again.lots.update(again.team.changed)
        again.paid.update((entry.position, entry.paid) for entry in entries if entry.kind is ActivityKind.USAGE)
        if index % 5 == 0:
            again.team = replace(again.team, lots=list(again.team.lots), changed={})
    return again.team


def test_the_model_counts_in_whole_credits_as_the_fold_counts_in_micro() -> None:
    told, model, now = tell([("use", 30, 1), ("buy", 5, 1)])

    assert told.team.total == 75 * MICRO
    assert sum(model.balance(now)) == 75
