"""The months that caps count by: where they begin in each zone, whatever its clock does then, and in which currency."""

from datetime import UTC, datetime, timedelta

import pytest

from projections.top_ups.months import month_of, next_month
from schemas.catalog import Catalog
from schemas.credits import MICRO
from schemas.cycles import zone_names
from schemas.facts import PlanAssigned, TopUpSkipped
from services.api.wording.top_ups import top_up_body
from tests.unit.projections.test_top_up_decisions import CATALOG, Team, card, settings

INSTANT = timedelta(microseconds=1)
CAP = {"monthly_cap_cents": 700, "cool_down_seconds": 0}  # one top-up of 500, and no second one
YEN = CATALOG.model_copy(update={"top_up": CATALOG.top_up.model_copy(update={"currency": "jpy"})})

# Where a month begins in the middle of what the clock does: it skips midnight, or shows it twice.
BEGINS = {
    "Amman skips midnight": ("Asia/Amman", datetime(2016, 3, 31, 22, tzinfo=UTC)),
    "Havana has midnight twice": ("America/Havana", datetime(2026, 11, 1, 4, tzinfo=UTC)),
    "Cairo turns back at midnight": ("Africa/Cairo", datetime(2024, 10, 31, 22, tzinfo=UTC)),
    "Lord Howe is half an hour off": ("Australia/Lord_Howe", datetime(2026, 4, 30, 13, 30, tzinfo=UTC)),
    "Kiritimati is first": ("Pacific/Kiritimati", datetime(2026, 11, 30, 10, tzinfo=UTC)),
    "Pago Pago is last": ("Pacific/Pago_Pago", datetime(2026, 12, 1, 11, tzinfo=UTC)),
    "Apia skipped a day": ("Pacific/Apia", datetime(2011, 12, 31, 10, tzinfo=UTC)),
}


def low_in(zone: str, now: datetime, **changes: object) -> Team:
    """A team of a zone, with a card and top-ups on, that runs low now."""
    plan = PlanAssigned(plan="pro", anchor=now, zone=zone, allowance_credits=0)
    return Team(now=now).then(plan, settings(**(CAP | changes)), card()).ran_low()


@pytest.mark.parametrize("year", [2011, 2016, 2026, 2031])
def test_every_month_of_every_zone_ends_where_the_next_begins(year: int) -> None:
    for zone in sorted(zone_names()):
        instant = datetime(year, 1, 10, tzinfo=UTC)
        for month in range(2, 14):
            instant = next_month(instant, zone)
            expected = f"{year + month // 13}-{(month - 1) % 12 + 1:02d}"
            assert (month_of(instant, zone), month_of(instant - INSTANT, zone)) == (
                expected, f"{year}-{month - 1:02d}",
            ), (zone, instant)  # fmt: skip


@pytest.mark.parametrize(("zone", "begins_at"), BEGINS.values(), ids=BEGINS.keys())
def test_a_cap_holds_to_the_last_instant_of_the_month_and_the_next_one_begins_anew(
    zone: str, begins_at: datetime
) -> None:
    team = low_in(zone, begins_at - timedelta(minutes=5))
    team.succeeded(team.requests())
    team.now = begins_at - 2 * INSTANT

    skipped = team.decides()

    assert isinstance(skipped, TopUpSkipped)
    assert (skipped.reason, skipped.next_decision_at) == ("cap_money", begins_at)
    assert team.decides(after=INSTANT) is None  # the last instant of the month
    team.succeeded(team.requests(after=INSTANT))
    assert team.skips() == "cap_money"
    assert sum(team.state.charges_cents(month_of(begins_at, zone), "usd")) == 500


def test_a_clock_that_goes_back_over_the_end_of_a_month_forgets_no_charge_of_it() -> None:
    zone, first = (
        "America/St_Johns",
        datetime(2009, 11, 1, 2, 30, tzinfo=UTC),
    )  # a minute of November, then October again
    team = low_in(zone, first - timedelta(minutes=10))
    team.succeeded(team.requests())
    team.now = first
    assert month_of(first - INSTANT, zone) == "2009-10"
    assert month_of(first, zone) == "2009-11"
    team.succeeded(team.requests())
    team.now = first + timedelta(minutes=30)
    assert month_of(team.now, zone) == "2009-10"

    team.ran_low()

    assert team.skips() == "cap_money"


def test_a_team_that_moves_to_another_zone_and_back_forgets_no_charge_of_the_month() -> None:
    now = datetime(2026, 11, 30, 20, tzinfo=UTC)
    team = low_in("UTC", now)
    team.succeeded(team.requests())
    ahead = PlanAssigned(plan="pro", anchor=now, zone="Pacific/Auckland", allowance_credits=0)
    team.then(ahead).ran_low()
    team.succeeded(team.requests())  # it is December there

    team.then(ahead.model_copy(update={"zone": "UTC"})).ran_low()

    assert team.skips() == "cap_money"


def test_what_was_charged_in_another_currency_is_never_added_to_what_is_charged_now() -> None:
    team = low_in("UTC", datetime(2026, 11, 10, tzinfo=UTC), max_per_month=2)
    team.succeeded(team.requests()).ran_low()
    saved_again = settings(**(CAP | {"currency": "jpy", "max_per_month": 2}))

    before = told(team, YEN)
    team.then(saved_again)
    after = told(team, YEN)

    assert before["reason"] == "top-ups are charged in JPY now, and these settings are in USD: save them again"
    assert after["reason"] is None
    assert before["charged_this_month"] == after["charged_this_month"] == {
        "amount": 0, "currency": "jpy", "count": 1, "month": "2026-11",
    }  # fmt: skip


def told(team: Team, catalog: Catalog) -> dict[str, object]:
    """What an admin reads."""
    return top_up_body(team.state, 900 * MICRO, team.now, catalog, sees_card=True)
