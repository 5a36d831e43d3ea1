"""Who pays what no lot of its time could pay, told as histories: never-ending credits do, and then it is debt."""

from datetime import timedelta

import pytest

from projections.balance.snapshots import decode, encode
from projections.balance.state import DEBT, DEBT_PAYERS_MAX, ActivityKind, LotKind
from schemas.credits import MICRO
from schemas.facts import ChargeDisputed, ChargeRefunded, CreditsAdjusted, DisputeClosed, HoldCaptured, TopUpFailed
from tests.unit.projections.history import MONTH, NOON, History, at


@pytest.fixture
def history() -> History:
    """A team whose first cycle began at noon, with 100 included credits as lot 1."""
    told = History()
    told.refilled(100, starts=NOON, ends=NOON + MONTH)
    return told


def last_paid(told: History) -> list[tuple[int, int]]:
    """Lots and whole credits of the last entry."""
    return [(part.lot, part.credits // MICRO) for part in told.entries[-1].paid]


def payers(told: History) -> list[tuple[int, int]]:
    """Who has paid debt, in whole credits."""
    return [(payer.lot, payer.credits // MICRO) for payer in told.team.debt_payers]


def left(told: History) -> dict[int, int]:
    """What is left of each additional lot, in whole credits."""
    return {lot.lot: lot.remaining // MICRO for lot in told.lots.values() if lot.kind is not LotKind.INCLUDED}


def refund(told: History, lot: int, credits: int, *, minute: float, back: int = 0) -> None:
    """Some credits of a payment are taken back, or come back."""
    fact = ChargeRefunded(
        payment_intent_id="pi", lot=lot, refunded_cents=1, currency="usd", clawed_credits=credits * MICRO,
        reinstated_credits=back * MICRO or None,
    )  # fmt: skip
    told.then(fact, recorded=at(minute))


def test_usage_of_before_a_purchase_that_comes_after_it_is_paid_by_the_purchase(history: History) -> None:
    history.purchased(50, recorded=at(10))
    history.used(130, recorded=at(11), occurred=at(5))

    assert last_paid(history) == [(1, 100), (2, 30)]
    assert history.balance() == (0, 20)
    assert history.team.debt == 0


def test_of_never_ending_lots_the_oldest_pays_first_and_the_rest_is_debt(history: History) -> None:
    history.purchased(10, recorded=at(10))
    history.granted(10, recorded=at(11))
    history.used(125, recorded=at(12), occurred=at(5))

    assert last_paid(history) == [(1, 100), (2, 10), (3, 10), (DEBT, 5)]


def test_credits_that_end_or_are_included_pay_for_their_own_time_alone(history: History) -> None:
    history.granted(50, recorded=at(10), expires=at(90))
    history.used(130, recorded=at(11), occurred=at(5))
    history.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH)

    assert history.team.debt == 30 * MICRO
    assert history.balance() == (100, -30)


@pytest.mark.parametrize(
    "comes", ["a purchase", "an endless grant", "an adjustment", "what a refund gives back"],
)  # fmt: skip
def test_never_ending_credits_that_come_pay_the_debt_at_once_by_their_own_entry(history: History, comes: str) -> None:
    history.used(130, recorded=at(1))
    match comes:
        case "a purchase":
            history.purchased(50, recorded=at(2))
        case "an endless grant":
            history.granted(50, recorded=at(2))
        case "an adjustment":
            history.then(CreditsAdjusted(credits=50 * MICRO, reason="sorry"), recorded=at(2))
        case _:
            refund(history, 99, 0, back=50, minute=2)

    assert (last_paid(history), payers(history), left(history)) == ([(3, 30)], [(3, 30)], {3: 20})
    assert history.team.debt == 0
    assert history.entries[-1].credits == 50 * MICRO
    assert len([entry for entry in history.entries if entry.position == 3]) == 1


def test_a_grant_that_ends_leaves_the_debt_as_it_is(history: History) -> None:
    history.used(130, recorded=at(1))
    history.granted(50, recorded=at(2), expires=at(90))

    assert (history.team.debt, payers(history)) == (30 * MICRO, [])


def test_a_lot_that_the_debt_takes_whole_leaves_the_state(history: History) -> None:
    history.used(130, recorded=at(1))
    history.purchased(20, recorded=at(2))

    assert [lot.lot for lot in history.team.lots] == [1]
    assert history.team.debt == 10 * MICRO


def test_a_void_of_what_was_debt_returns_to_who_paid_it(history: History) -> None:
    history.used(130, recorded=at(1))
    history.purchased(30, recorded=at(2))
    history.voided(2, recorded=at(3))

    assert last_paid(history) == [(1, 100), (3, 30)]
    assert (history.balance(), left(history), payers(history)) == ((100, 30), {3: 30}, [])


def test_a_void_lowers_what_is_still_owed_before_it_returns_anything_the_newest_payer_first(history: History) -> None:
    history.used(200, recorded=at(1))
    history.purchased(30, recorded=at(2))
    history.purchased(50, recorded=at(3))
    history.voided(2, recorded=at(4))

    assert last_paid(history) == [(1, 100), (DEBT, 20), (4, 50), (3, 30)]
    assert (history.team.debt, payers(history), left(history)) == (0, [], {3: 30, 4: 50})


def test_of_the_newest_payer_only_a_part_returns_and_the_rest_stays_remembered(history: History) -> None:
    history.used(120, recorded=at(1))
    history.used(10, recorded=at(2))
    history.purchased(15, recorded=at(3))
    history.purchased(15, recorded=at(4))
    assert payers(history) == [(4, 15), (5, 15)]

    history.voided(3, recorded=at(5))

    assert (payers(history), left(history)) == ([(4, 15), (5, 5)], {4: 0, 5: 10})


def test_what_returns_to_a_never_ending_lot_pays_the_debt_first(history: History) -> None:
    history.purchased(50, recorded=at(1))
    history.used(150, recorded=at(2))
    history.used(20, recorded=at(3))
    history.voided(3, recorded=at(4))

    assert last_paid(history) == [(1, 100), (2, 50)]
    assert (payers(history), left(history)) == ([(2, 20)], {2: 30})
    assert history.balance() == (100, 30)


def test_a_void_whose_lots_have_ended_returns_as_before(history: History) -> None:
    history.used(130, recorded=at(1))
    history.purchased(30, recorded=at(2))
    history.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH)
    history.voided(2, recorded=NOON + MONTH + timedelta(hours=1))

    assert history.balance() == (200, 30)
    assert last_paid(history) == [(1, 100), (3, 30)]


def test_what_paid_debt_is_spent_when_its_payment_is_taken_back(history: History) -> None:
    history.used(130, recorded=at(1))
    history.purchased(50, recorded=at(2))
    refund(history, 3, 50, minute=3)

    assert (last_paid(history), payers(history)) == ([(3, 20), (DEBT, 30)], [])
    assert history.balance() == (0, -30)


def test_a_void_after_that_lowers_the_debt_and_gives_back_no_credits_of_the_payment(history: History) -> None:
    history.used(130, recorded=at(1))
    history.purchased(50, recorded=at(2))
    refund(history, 3, 50, minute=3)
    history.voided(2, recorded=at(4))

    assert (history.balance(), left(history)) == ((100, 0), {3: 0})


def test_where_the_payer_is_gone_a_void_returns_as_credits_of_its_own_that_never_end(history: History) -> None:
    history.used(130, recorded=at(1))
    history.purchased(50, recorded=at(2))
    refund(history, 3, 50, minute=3)
    history.purchased(50, recorded=at(4))
    refund(history, 5, 50, minute=5)
    history.purchased(80, recorded=at(6))
    refund(history, 7, 1, minute=7)
    assert payers(history) == []

    history.voided(2, recorded=at(8))

    lot = history.lots[9]
    assert (lot.kind, lot.remaining, lot.is_never_ending) == (LotKind.ADJUSTED, 30 * MICRO, True)
    assert last_paid(history) == [(1, 100), (9, 30)]


def test_one_void_may_bring_credits_that_end_and_credits_that_do_not(history: History) -> None:
    history.used(130, recorded=at(1))
    history.purchased(50, recorded=at(2))
    refund(history, 3, 1, minute=3)
    history.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH)
    history.voided(2, recorded=NOON + MONTH + timedelta(hours=1))

    brought = {lot.lot: (lot.kind, lot.remaining // MICRO) for lot in history.team.lots if abs(lot.lot) == 6}
    assert brought == {6: (LotKind.INCLUDED, 100), -6: (LotKind.ADJUSTED, 30)}
    assert history.balance() == (200, 49)


def test_the_newest_hundred_payers_are_remembered(history: History) -> None:
    history.used(100, recorded=at(0))
    for minute in range(1, 2 * (DEBT_PAYERS_MAX + 5), 2):
        history.used(1, recorded=at(minute))
        history.purchased(1, recorded=at(minute + 1))

    assert [lot for lot, _ in payers(history)] == sorted(history.lots)[-DEBT_PAYERS_MAX:]


def test_a_snapshot_remembers_who_paid(history: History) -> None:
    history.used(130, recorded=at(1))
    history.purchased(20, recorded=at(2))

    assert decode(encode(history.team)).debt_payers == history.team.debt_payers != []


def test_a_frozen_payment_takes_other_credits_and_they_return_by_their_own_lot_when_it_is_won(history: History) -> None:
    history.purchased(50, recorded=at(1))
    history.used(150, recorded=at(2))
    history.purchased(20, recorded=at(3))
    dispute = ChargeDisputed(
        payment_intent_id="pi", dispute_id="dp", lot=2, disputed_cents=1, currency="usd", frozen_credits=50 * MICRO
    )
    history.then(dispute, recorded=at(4))
    assert last_paid(history) == [(4, 20), (DEBT, 30)]

    won = DisputeClosed(payment_intent_id="pi", dispute_id="dp", lot=2, outcome="won", reinstated_credits=50 * MICRO)
    history.then(won, recorded=at(5))

    assert (last_paid(history), left(history)) == ([(6, 30)], {2: 0, 4: 0, 6: 20})


def test_a_capture_past_zero_is_debt_that_the_next_purchase_pays(history: History) -> None:
    history.then(HoldCaptured(hold_id="h", credits=130 * MICRO), recorded=at(1))
    history.purchased(50, recorded=at(2))

    assert (history.team.debt, history.balance()) == (0, (0, 20))


def test_a_gift_that_is_taken_back_burns_first_what_it_refers_to(history: History) -> None:
    history.granted(500, recorded=at(1))
    history.then(CreditsAdjusted(credits=-500 * MICRO, reason="mistake", burns_lot=2), recorded=at(2))

    assert last_paid(history) == [(2, 500)]
    assert history.balance() == (100, 0)


def test_what_is_spent_of_it_already_is_burned_like_any_correction(history: History) -> None:
    history.used(70, recorded=at(1))
    history.granted(50, recorded=at(2))
    history.purchased(10, recorded=at(3))
    history.then(CreditsAdjusted(credits=-90 * MICRO, reason="mistake", burns_lot=3), recorded=at(4))

    assert last_paid(history) == [(3, 50), (1, 30), (4, 10)]


@pytest.mark.parametrize("lot", [None, 77])
def test_a_correction_that_names_no_lot_burns_as_it_always_did(history: History, lot: int | None) -> None:
    history.granted(500, recorded=at(1))
    history.then(CreditsAdjusted(credits=-500 * MICRO, reason="mistake", burns_lot=lot), recorded=at(2))

    assert history.balance() == (0, 100)


def test_a_lot_that_has_ended_is_not_burned_again(history: History) -> None:
    history.granted(50, recorded=at(1), expires=at(10))
    history.then(CreditsAdjusted(credits=-50 * MICRO, reason="mistake", burns_lot=2), recorded=at(20))

    assert last_paid(history) == [(1, 50)]


@pytest.mark.parametrize("what", ["void", "purchase", "grant", "top-up that failed", "refill"])
def test_whatever_happened_in_a_sealed_cycle_is_late_but_a_refill(history: History, what: str) -> None:
    history.used(10, recorded=at(1))
    after = NOON + MONTH + timedelta(hours=2)
    history.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH)
    history.sealed(ends=NOON + MONTH, recorded=NOON + MONTH + timedelta(hours=1))
    match what:
        case "void":
            history.voided(2, recorded=after, occurred=at(5))
        case "purchase":
            history.purchased(50, recorded=after, occurred=at(5))
        case "grant":
            history.granted(50, recorded=after, occurred=at(5))
        case "refill":
            history.refilled(50, starts=at(5), ends=NOON + 2 * MONTH, recorded=after)
        case _:
            failed = TopUpFailed(attempt_id="a", reason="cancelled")
            history.then(failed, recorded=after, occurred=at(5))

    assert history.entries[-1].late == (what != "refill")
    assert not [entry for entry in history.entries if entry.kind is ActivityKind.EXPIRY and entry.late]


def test_what_happened_after_the_seal_is_not_late(history: History) -> None:
    history.sealed(ends=NOON, recorded=at(1))
    history.purchased(50, recorded=at(2))

    assert not history.entries[-1].late
