"""What customers read about an entry, and the small forms in which the API writes and reads."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from fastapi_problem.error import Problem

from projections.balance.state import ActivityKind, BalanceEntry, LotKind, LotPayment
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    CreditsAdjusted,
    CreditsExpired,
    CreditsGranted,
    CreditsPurchased,
    CreditsRefilled,
    CreditsToppedUp,
    DisputeClosed,
    TopUpFailed,
    TopUpSkipped,
    UsageRecorded,
)
from schemas.instants import instant
from schemas.pricing import RateCards
from services.api.access import allowed
from services.api.routes.activity import parse_cursor, write_cursor
from services.api.tokens import TokenRole
from services.api.wording.balances import balance_body
from services.api.wording.entries import FAILED, MADE, SKIPPED, describe, detail, item, price_of
from services.read_models.activity import ActivityRow
from services.read_models.balances import ExactBalance
from tests.unit.projections.history import MONTH, NOON, History, at

NOW = datetime(2026, 11, 23, 10, 15, 30, 123456, tzinfo=UTC)
CATALOG = load_catalog()
CARDS = RateCards([CATALOG.rate_card])
USED = UsageRecorded(
    feature="ai_video.generate", quantity="2.5", credits=int(Decimal("62.5") * MICRO), rate_card=1, member_id="mem_7",
    attributes={"tier": "high"},
)  # fmt: skip


def entry(
    kind: ActivityKind, *, included: int = 0, additional: int = 0, late: bool = False, paid: tuple[LotPayment, ...] = ()
) -> BalanceEntry:
    return BalanceEntry(7, 0, kind, NOW, NOW, "mem_7", "ai_video.generate", included, additional, 0, paid, late)


def refill(*, upgrade: bool) -> CreditsRefilled:
    return CreditsRefilled(
        credits=MICRO,
        plan="pro",
        plan_assigned_id="plan:000001",
        cycle=0,
        starts_at=NOW,
        ends_at=NOW,
        upgrade=upgrade or None,
    )


def told(kind: ActivityKind, fact: AnyFact, *, included: int = 0, additional: int = 0) -> tuple[str, str | None]:
    one = entry(kind, included=included, additional=additional)
    return describe(one, fact, CARDS, CATALOG), detail(one, fact, CARDS)


def test_usage_is_called_as_the_rate_card_calls_it_and_shows_its_formula() -> None:
    assert told(ActivityKind.USAGE, USED) == ("AI video clip", "2.5 seconds × 25 = 62.5 credits · rate card 1")


def test_usage_that_came_in_late_says_so() -> None:
    assert "counted in the open cycle, it came in late" in (
        detail(entry(ActivityKind.USAGE, late=True), USED, CARDS) or ""
    )


def test_whatever_came_in_late_says_so_after_all_else() -> None:
    paid = {"credits": 50 * MICRO, "payment_intent_id": "pi", "charge_cents": 4_800, "currency": "usd"}
    bought = CreditsPurchased(pack="mini", **paid)
    one = entry(ActivityKind.PURCHASE, additional=50 * MICRO, late=True, paid=(LotPayment(7, 30 * MICRO),))

    assert detail(one, bought, CARDS) == (
        "48.00 USD · payment #7 · 30 of the credits paid off the negative balance · counted in the open cycle, it came in late"
    )


@pytest.mark.parametrize(
    ("kind", "fact", "words"),
    [
        (ActivityKind.REFILL, refill(upgrade=False), "Included credits refilled"),
        (ActivityKind.REFILL, refill(upgrade=True), "Included credits added by the new plan"),
        (ActivityKind.GRANT, CreditsGranted(credits=1, reason="welcome"), "Promotional credits"),
        (ActivityKind.ADJUSTMENT, CreditsAdjusted(credits=-1, reason="counted twice"), "Adjustment"),
        (ActivityKind.DISPUTE, DisputeClosed(payment_intent_id="pi", dispute_id="dp", lot=1, outcome="won", reinstated_credits=1), "Dispute won"),
    ],
)  # fmt: skip
def test_each_kind_of_entry_has_its_words(kind: ActivityKind, fact: AnyFact, words: str) -> None:
    assert told(kind, fact)[0] == words


def test_money_is_named_after_its_pack_or_as_automatic() -> None:
    paid = {"credits": 1, "payment_intent_id": "pi", "charge_cents": 4_800, "currency": "usd"}
    assert told(ActivityKind.PURCHASE, CreditsPurchased(pack="standard", **paid))[0] == "Purchase · Standard pack"
    assert told(ActivityKind.PURCHASE, CreditsPurchased(pack="no_longer_sold", **paid))[0] == "Purchase"
    assert told(ActivityKind.TOP_UP, CreditsToppedUp(attempt_id="a", **paid))[0] == "Automatic top-up"


def test_an_expiry_says_whose_credits_ended_and_when_late_usage_made_them_fewer() -> None:
    ended = CreditsExpired(lot=1, ended_at=NOW)
    assert told(ActivityKind.EXPIRY, ended, included=-5) == ("Included credits expired", None)
    assert told(ActivityKind.EXPIRY, ended, additional=-5) == ("Promotional credits expired", None)
    assert told(ActivityKind.EXPIRY, USED, included=5) == (
        "Fewer included credits expired",
        "Usage that came in late was paid by them",
    )


def test_every_reason_not_to_charge_and_every_failure_and_every_lot_has_words() -> None:
    for reason in (
        "disabled",
        "in_flight",
        "cooling_down",
        "cap_money",
        "cap_count",
        "suspended",
        "no_payment_method",
        "plan",
    ):
        skipped = TopUpSkipped.model_validate({"ran_low_id": "r", "decision": "d", "reason": reason})
        assert told(ActivityKind.TOP_UP_SKIPPED, skipped) == ("Top-up not made", SKIPPED[reason])
    for reason in ("declined_retry_later", "declined_needs_card", "declined_needs_authentication", "cancelled"):
        failed = TopUpFailed.model_validate({"attempt_id": "a", "reason": reason})
        assert told(ActivityKind.TOP_UP_FAILED, failed) == ("Top-up failed", FAILED[reason])
    assert set(MADE) == set(LotKind)


def test_a_price_of_a_card_that_is_not_known_here_is_left_out_rather_than_guessed() -> None:
    unknown = UsageRecorded(feature="ai_video.generate", quantity="1", credits=MICRO, rate_card=99)
    assert price_of(unknown, CARDS) is None
    assert told(ActivityKind.USAGE, unknown) == ("ai_video.generate", "Rate card 99")


def test_credits_are_decimal_strings_and_times_have_microseconds_and_utc() -> None:
    shown = item(ActivityRow(31, entry(ActivityKind.USAGE, included=-62_500_000), USED), CARDS, CATALOG)

    assert (shown["credits"], shown["at"], shown["id"]) == ("-62.5", "2026-11-23T10:15:30.123456Z", "31:7:0")
    assert instant(NOW.replace(microsecond=0)) == "2026-11-23T10:15:30.000000Z"


def test_a_cursor_leads_back_to_where_the_page_ended() -> None:
    assert parse_cursor(write_cursor((20_418, 3))) == (20_418, 3)


@pytest.mark.parametrize("cursor", ["", "20418.3", "bm9uc2Vuc2U", "MS4y!", "é", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTkuMQ"])
def test_a_cursor_that_somebody_made_up_is_refused(cursor: str) -> None:
    with pytest.raises(Problem):
        parse_cursor(cursor)


def test_who_may_do_what_follows_from_the_roles_that_the_contract_names() -> None:
    assert allowed("GET", [TokenRole.MEMBER]) == {
        TokenRole.MEMBER,
        TokenRole.ADMIN,
        TokenRole.FINANCE,
        TokenRole.OPERATOR,
    }
    assert allowed("GET", [TokenRole.SERVICE]) == {TokenRole.SERVICE, TokenRole.OPERATOR}
    assert allowed("POST", [TokenRole.MEMBER, TokenRole.SERVICE]) == {
        TokenRole.MEMBER,
        TokenRole.ADMIN,
        TokenRole.SERVICE,
    }
    assert allowed("PUT", [TokenRole.ADMIN]) == {TokenRole.ADMIN}
    assert allowed("PUT", [TokenRole.OPERATOR]) == {TokenRole.OPERATOR}


def test_the_allowance_of_a_cycle_is_all_that_it_was_given_so_that_no_more_of_it_is_left_than_there_was() -> None:
    told = History()
    told.refilled(100, starts=NOON, ends=NOON + MONTH)
    told.used(40, recorded=at(1))
    told.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH)
    told.voided(2, recorded=NOON + MONTH)  # of a cycle that is over: it comes back in the open one
    told.used(30, recorded=NOON + MONTH)

    body = balance_body(ExactBalance(told.team, 7, 5, NOON + MONTH), 5)

    assert (body["included"], body["allowance"]) == ("110", "140")
