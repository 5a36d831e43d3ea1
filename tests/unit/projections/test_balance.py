"""The balance of a team, told as histories: given these facts, when this happens, then the balance says that."""

from datetime import timedelta

import pytest

from projections.balance.crossings import crossings
from projections.balance.state import BALANCE_MAX, ActivityKind, LotKind
from schemas.credits import ENTRY_MAX, MICRO
from schemas.facts import (
    AnyFact,
    BalanceRanLow,
    BalanceRecovered,
    ChargeRefunded,
    CreditsAdjusted,
    CreditsExpired,
    HoldCaptured,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    PlanAssigned,
    TopUpConfigured,
)
from services.read_models.activity_rows import pack_row
from tests.unit.projections.history import MONTH, NOON, History, at


@pytest.fixture
def history() -> History:
    """A team whose first cycle began at noon."""
    told = History()
    told.refilled(100, starts=NOON, ends=NOON + MONTH)
    return told


def test_included_credits_are_used_first_then_additional_ones(history: History) -> None:
    history.purchased(50, recorded=at(1))

    (entry,) = history.used(120, recorded=at(2))

    assert history.balance() == (0, 30)
    assert (entry.included, entry.additional) == (-100 * MICRO, -20 * MICRO)
    assert [(paid.lot, paid.credits) for paid in entry.paid] == [(1, 100 * MICRO), (2, 20 * MICRO)]


def test_what_expires_soonest_is_used_before_what_was_bought_earlier(history: History) -> None:
    history.purchased(50, recorded=at(1))
    history.granted(10, recorded=at(2), expires=at(90))
    history.granted(10, recorded=at(3), expires=at(60))

    (entry,) = history.used(125, recorded=at(4))

    assert [paid.lot for paid in entry.paid] == [1, 4, 3, 2]


def test_of_equal_lots_the_oldest_is_used_first(history: History) -> None:
    history.purchased(10, recorded=at(1))
    history.purchased(10, recorded=at(2))

    (entry,) = history.used(105, recorded=at(3))

    assert [paid.lot for paid in entry.paid] == [1, 2]


def test_usage_past_zero_is_recorded_and_additional_goes_negative(history: History) -> None:
    history.used(130, recorded=at(1))

    assert history.balance() == (0, -30)
    assert history.team.debt == 30 * MICRO


def test_a_purchase_after_an_overdraft_raises_the_total_by_what_was_bought(history: History) -> None:
    history.used(130, recorded=at(1))
    history.purchased(50, recorded=at(2))

    assert history.balance() == (0, 20)


def test_included_credits_end_with_their_cycle_and_additional_ones_stay(history: History) -> None:
    history.purchased(50, recorded=at(1))
    entries = history.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH)

    assert [(entry.kind, entry.credits // MICRO) for entry in entries] == [
        (ActivityKind.EXPIRY, -100),
        (ActivityKind.REFILL, 100),
    ]
    assert history.balance() == (100, 50)


def test_a_lot_has_ended_whether_or_not_anybody_has_written_it_down(history: History) -> None:
    history.granted(10, recorded=at(1), expires=at(60))

    assert history.balance(now=at(59)) == (100, 10)
    assert history.balance(now=at(60)) == (100, 0)


def test_the_end_of_a_lot_is_booked_once(history: History) -> None:
    history.granted(10, recorded=at(1), expires=at(60))
    history.then(CreditsExpired(lot=2, ended_at=at(60)), recorded=at(61))
    history.then(CreditsExpired(lot=2, ended_at=at(60)), recorded=at(62))

    assert [entry.credits // MICRO for entry in history.entries if entry.kind is ActivityKind.EXPIRY] == [-10]


def test_late_usage_burns_what_was_left_of_the_lot_of_its_own_time(history: History) -> None:
    history.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH)

    usage, back = history.used(30, recorded=NOON + MONTH + timedelta(minutes=5), occurred=at(3))

    assert usage.paid[0].lot == 1
    assert not usage.late
    assert (usage.credits, back.kind, back.credits) == (-30 * MICRO, ActivityKind.EXPIRY, 30 * MICRO)
    assert history.balance() == (100, 0)


def test_usage_after_the_seal_counts_in_the_open_cycle_and_is_marked_late(history: History) -> None:
    history.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH)
    history.sealed(ends=NOON + MONTH, recorded=NOON + MONTH + timedelta(hours=1))

    (usage,) = history.used(30, recorded=NOON + MONTH + timedelta(hours=2), occurred=at(3))

    assert usage.late
    assert usage.paid[0].lot == 2
    assert history.balance() == (70, 0)


def test_usage_from_before_the_first_cycle_counts_in_the_open_one_and_is_marked_late(history: History) -> None:
    (usage,) = history.used(30, recorded=at(1), occurred=at(-1))

    assert usage.late
    assert usage.paid[0].lot == 1
    assert history.balance() == (70, 0)


def test_a_void_returns_credits_to_the_lots_that_paid_not_by_policy(history: History) -> None:
    history.purchased(50, recorded=at(1))
    history.used(120, recorded=at(2))
    history.voided(3, recorded=at(3))

    assert history.balance() == (100, 50)
    assert [lot.remaining // MICRO for lot in history.team.lots] == [100, 50]


def test_a_void_of_an_overdraft_takes_the_debt_away(history: History) -> None:
    history.used(130, recorded=at(2))
    history.voided(2, recorded=at(3))

    assert history.balance() == (100, 0)
    assert history.team.debt == 0


def test_a_void_after_the_lot_ended_returns_credits_until_the_end_of_the_open_cycle(history: History) -> None:
    history.used(40, recorded=at(2))
    history.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH)
    history.voided(2, recorded=NOON + MONTH + timedelta(days=1))

    assert history.balance() == (140, 0)
    assert history.balance(now=NOON + 2 * MONTH) == (0, 0)


@pytest.mark.parametrize(("unspent", "anew", "left"), [
    (0, 39, (101, 500)), (0, 40, (100, 500)), (0, 45, (100, 495)),
    # What the ended lot had left pays more work of its time, and nothing that was paid already.
    (60, 39, (101, 500)), (60, 40, (100, 500)), (60, 45, (100, 500)),
])  # fmt: skip
@pytest.mark.parametrize("is_sealed", [False, True])
def test_what_an_amendment_gives_back_pays_first_though_the_lot_that_paid_has_ended(
    history: History, unspent: int, anew: int, left: tuple[int, int], *, is_sealed: bool
) -> None:
    begins = NOON + MONTH
    history.used(60 - unspent, recorded=at(1))
    history.used(40, recorded=at(2))
    history.purchased(500, recorded=at(3))
    history.refilled(100, starts=begins, ends=begins + MONTH)
    if is_sealed:
        history.sealed(ends=begins, recorded=begins + timedelta(minutes=4))
        left = (140 - anew, 500)

    history.amended(3, anew, recorded=begins + timedelta(minutes=5))

    assert history.balance() == left


def test_amendments_one_after_the_other_bring_nobody_credits(history: History) -> None:
    begins = NOON + MONTH
    history.used(40, recorded=at(2))
    history.refilled(100, starts=begins, ends=begins + MONTH)
    for minute in range(5):
        usage = history.entries[-1].position if minute else 2
        history.amended(usage, 40, recorded=begins + timedelta(minutes=minute))

    assert history.balance() == (100, 0)


def test_what_an_amendment_gives_back_of_a_debt_that_was_paid_pays_the_usage_anew(history: History) -> None:
    history.used(130, recorded=at(2))
    history.purchased(50, recorded=at(3))
    history.amended(2, 120, recorded=at(4))

    assert history.balance() == (0, 30)
    assert history.team.debt == 0


def test_a_void_of_an_exhausted_pack_fills_it_again(history: History) -> None:
    history.purchased(20, recorded=at(1))
    history.used(120, recorded=at(2))
    assert [lot.lot for lot in history.team.lots] == [1]

    history.voided(3, recorded=at(3))

    assert [(lot.lot, lot.remaining // MICRO) for lot in history.team.lots] == [(1, 100), (2, 20)]


def test_a_void_that_fills_a_spent_lot_again_knows_when_it_ends(history: History) -> None:
    end = NOON + MONTH + timedelta(days=10)
    history.granted(20, recorded=at(1), expires=end)
    history.used(120, recorded=at(2))
    history.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH)
    assert history.team.next_end == NOON + 2 * MONTH

    history.voided(3, recorded=NOON + MONTH + timedelta(days=1))

    assert history.team.next_end == end
    history.used(1, recorded=end)
    assert history.balance() == (199, 0)


@pytest.mark.parametrize("gained", [0, ENTRY_MAX // MICRO], ids=["in debt", "in credit"])
def test_a_balance_stays_within_what_its_columns_hold_and_is_told_exactly_there(history: History, gained: int) -> None:
    for minute in range(1, 20):
        if gained:
            history.granted(gained, recorded=at(minute))
        else:
            history.used(ENTRY_MAX // MICRO, recorded=at(minute))

    assert abs(history.team.total) == BALANCE_MAX
    assert history.team.total == sum(lot.remaining for lot in history.team.lots) - history.team.debt
    pack_row(1, "team_1", history.granted(gained, recorded=at(21))[0])


def test_a_void_gives_back_what_its_usage_has_taken_and_no_more(history: History) -> None:
    for minute in range(1, 6):
        history.used(ENTRY_MAX // MICRO, recorded=at(minute))

    history.voided(history.team.position, recorded=at(7))

    assert history.team.total == -history.team.debt == -BALANCE_MAX + 100 * MICRO  # the included ones paid the first


@pytest.mark.parametrize("ended", [False, True], ids=["to lots that live", "to lots that have ended"])
def test_voids_give_back_no_more_than_the_largest_balance_holds(history: History, *, ended: bool) -> None:
    huge, expires = ENTRY_MAX // MICRO, at(15) if ended else None
    for minute in range(1, 5):
        history.granted(huge, expires=expires, recorded=at(minute))
    for minute in range(5, 10):
        history.used(huge, recorded=at(minute))
    used = range(history.team.position - 4, history.team.position + 1)
    for minute in range(10, 15):
        history.granted(huge, recorded=at(minute))

    entries = [entry for position in used for entry in history.voided(position, recorded=at(20))]

    assert history.team.total == BALANCE_MAX == entries[-1].balance_after
    assert history.team.total == sum(lot.remaining for lot in history.team.lots) - history.team.debt
    assert all(entry.credits == sum(part.credits for part in entry.paid) for entry in entries)
    pack_row(1, "team_1", entries[-1])


@pytest.mark.parametrize(
    "fact",
    [HoldExtended(hold_id="h", expires_at=at(90)), HoldCaptured(hold_id="h", credits=MICRO, remaining_credits=MICRO)],
)
def test_no_fact_about_a_hold_that_is_over_stops_the_fold(history: History, fact: AnyFact) -> None:
    history.then(fact, recorded=at(1))

    assert history.team.holds == {}


def test_a_hold_lowers_what_is_available_and_nothing_else(history: History) -> None:
    history.then(HoldPlaced(hold_id="h", credits=40 * MICRO, expires_at=at(60)), recorded=at(1))

    assert history.balance() == (100, 0)
    assert history.team.available(at(2)) == 60 * MICRO
    assert history.team.available(at(60)) == 100 * MICRO


def test_a_capture_burns_in_burn_order_and_frees_the_rest_of_the_hold(history: History) -> None:
    history.then(HoldPlaced(hold_id="h", credits=40 * MICRO, expires_at=at(60)), recorded=at(1))
    history.then(HoldCaptured(hold_id="h", credits=25 * MICRO), recorded=at(2))
    assert history.team.available(at(2)) == 75 * MICRO

    history.then(HoldExpired(hold_id="h"), recorded=at(3))

    assert history.balance() == (75, 0)
    assert history.team.available(at(4)) == 75 * MICRO


def test_a_refund_takes_the_unspent_part_of_its_own_lot_first(history: History) -> None:
    history.purchased(50, recorded=at(1))
    history.purchased(50, recorded=at(2))
    history.used(120, recorded=at(3))
    history.then(
        ChargeRefunded(payment_intent_id="pi", lot=2, refunded_cents=1, currency="usd", clawed_credits=50 * MICRO),
        recorded=at(4),
    )

    assert [(part.lot, part.credits // MICRO) for part in history.entries[-1].paid] == [(2, 30), (3, 20)]
    assert history.balance() == (0, 30)
    assert history.team.debt == 0


def test_an_adjustment_downwards_burns_like_usage(history: History) -> None:
    history.then(CreditsAdjusted(credits=-30 * MICRO, reason="charged twice"), recorded=at(1))

    assert history.balance() == (70, 0)


def test_an_upgrade_lot_ends_with_the_running_cycle(history: History) -> None:
    history.refilled(50, starts=at(10), ends=NOON + MONTH)

    assert history.balance() == (150, 0)
    assert history.balance(now=NOON + MONTH) == (0, 0)


def test_low_is_said_once_per_crossing_however_long_it_lasts(history: History) -> None:
    settings = TopUpConfigured(enabled=True, threshold_credits=50 * MICRO, credits=100 * MICRO, currency="usd")
    history.then(settings, recorded=at(1))
    history.used(60, recorded=at(2))

    (low,) = crossings(history.team, at(3))
    assert isinstance(low, BalanceRanLow)
    history.then(low, recorded=at(3))
    history.used(1, recorded=at(4))

    assert crossings(history.team, at(5)) == []


def test_recovered_is_said_a_tenth_above_the_threshold(history: History) -> None:
    settings = TopUpConfigured(enabled=True, threshold_credits=50 * MICRO, credits=100 * MICRO, currency="usd")
    history.then(settings, recorded=at(1))
    history.used(60, recorded=at(2))
    history.then(crossings(history.team, at(3))[0], recorded=at(3))
    history.purchased(14, recorded=at(4))
    assert crossings(history.team, at(5)) == []

    history.purchased(1, recorded=at(6))

    assert [type(fact) for fact in crossings(history.team, at(7))] == [BalanceRecovered]


def test_without_top_ups_the_notice_threshold_of_the_plan_counts() -> None:
    told = History()
    plan = PlanAssigned(plan="free", anchor=NOON, zone="UTC", allowance_credits=0, notice_threshold_credits=20 * MICRO)
    told.then(plan, recorded=NOON)
    told.refilled(100, starts=NOON, ends=NOON + MONTH)
    told.used(81, recorded=at(1))

    (low,) = crossings(told.team, at(2))

    assert isinstance(low, BalanceRanLow)
    assert not low.top_up_enabled


def test_a_refill_that_comes_after_its_whole_cycle_changes_nothing_in_the_end(history: History) -> None:
    late = history.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH, recorded=NOON + 3 * MONTH)

    assert [entry.credits // MICRO for entry in late] == [-100, 100, -100]
    assert history.balance() == (0, 0)


def test_lots_that_nothing_can_touch_leave_the_state(history: History) -> None:
    for month in range(1, 13):
        history.refilled(100, starts=NOON + month * MONTH, ends=NOON + (month + 1) * MONTH)
        history.sealed(ends=NOON + month * MONTH, recorded=NOON + month * MONTH + timedelta(hours=1))

    assert [lot.kind for lot in history.team.lots] == [LotKind.INCLUDED]
