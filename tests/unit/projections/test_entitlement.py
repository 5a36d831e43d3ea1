"""Permission has five answers beside yes, in their order: the first thing that is the matter is the one that is said."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

import pytest

from projections.balance.state import TeamBalance, TopUpSettings
from projections.entitlement import Amount, Limit, Permission, PlannedWork, Spending, permit
from projections.usage import day_of
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import TopUpSuspended
from schemas.pricing import NotPriced, RateCards
from tests.unit.projections.history import NOON, History

CATALOG = load_catalog()
CARD = RateCards([CATALOG.rate_card]).in_force(datetime(2026, 11, 23, tzinfo=UTC))
ADA = "mem_1"


def work(feature: str, quantity: str = "1", member: str | None = None, **attributes: str) -> PlannedWork:
    return PlannedWork(feature, quantity, attributes, member)


LOW = work("ai_image.generate", tier="low")  # 1 credit
HIGH = work("ai_image.generate", tier="high")  # 15
CLIP = work("ai_video.generate", "2", tier="low")  # 8
UNKNOWN = work("ai_smell.generate")
ADAS_IMAGE = LOW._replace(member_id=ADA)


def decide(
    *wanted: PlannedWork | Amount,
    plan: str = "pro",
    top_ups: bool = True,
    available: int = 1_000,
    members: Mapping[str, Spending] | None = None,
) -> Permission:
    team = TeamBalance("team_1", plan=plan, top_up=TopUpSettings(enabled=top_ups))
    return permit(wanted, team, available * MICRO, members or {}, CARD, CATALOG)


def asked(*wanted: PlannedWork | Amount, **about: object) -> tuple[object, list[object]]:
    permission = decide(*wanted, **about)  # type: ignore[arg-type]
    return permission.reason, [verdict.reason for verdict in permission.verdicts]


def limited(*, hard: bool = True, today: int = 0, month: int = 0, held: int = 0, **limit: int) -> dict[str, Spending]:
    """Ada's limit and what counts against it, in whole credits."""
    most = {period: credits * MICRO for period, credits in limit.items()}
    return {ADA: Spending(Limit(**most, hard=hard), today * MICRO, month * MICRO, held * MICRO)}


def test_what_the_team_may_and_can_afford_is_allowed() -> None:
    assert asked(LOW, HIGH, CLIP) == (None, [None, None, None])


def test_high_quality_images_need_pro_and_top_ups_and_the_plan_is_said_first() -> None:
    assert asked(HIGH, plan="free", top_ups=False) == ("plan_required", ["plan_required"])
    assert asked(HIGH, plan="free", top_ups=True) == ("plan_required", ["plan_required"])
    assert asked(HIGH, plan="pro", top_ups=False) == ("top_ups_required", ["top_ups_required"])
    assert asked(LOW, plan="free", top_ups=False) == (None, [None])


def every_work() -> Iterable[tuple[str, PlannedWork]]:
    """One of each rate of the default card, by the name that customers know."""
    for category in CATALOG.rate_card.categories:
        for feature in category.features:
            for rate in feature.rates:
                tier = rate.attributes.get("tier", "") if feature.requires.top_ups is False else ""
                yield f"{feature.name} {tier}".strip(), work(feature.feature, **rate.attributes)


def test_some_features_require_top_ups_to_be_enabled_and_these_are_they() -> None:
    needing = {name for name, one in every_work() if asked(one, top_ups=False)[0] == "top_ups_required"}

    assert needing == {
        "AI video clip", "AI image high", "Video background removal", "Website scan", "Flexible storage",
    }  # fmt: skip
    assert {name for name, one in every_work() if asked(one)[0]} == set()


def test_only_high_quality_images_require_the_plan_pro() -> None:
    assert {name for name, one in every_work() if asked(one, plan="free")[0] == "plan_required"} == {"AI image high"}


def test_top_ups_that_are_paused_count_as_enabled() -> None:
    history = History()
    history.team.plan, history.team.top_up = "pro", TopUpSettings(enabled=True, threshold=MICRO)
    history.then(TopUpSuspended(cause="declines", reason="three declines", declines=3), recorded=NOON)

    assert permit([HIGH], history.team, 100 * MICRO, {}, CARD, CATALOG).reason is None


def test_a_feature_that_nobody_knows_or_a_tier_that_it_does_not_have_is_unknown() -> None:
    assert asked(UNKNOWN, plan="free") == ("unknown_feature", ["unknown_feature"])
    assert asked(work("ai_image.generate", tier="golden")) == ("unknown_feature", ["unknown_feature"])


def test_the_balance_is_used_up_item_by_item_in_their_order() -> None:
    assert asked(CLIP, LOW, CLIP, available=9) == ("exhausted", [None, None, "exhausted"])
    assert asked(LOW, available=1) == (None, [None])
    assert asked(LOW, available=-5) == ("exhausted", ["exhausted"])
    assert asked(Amount(7 * MICRO), available=6) == ("exhausted", ["exhausted"])


def test_of_several_things_the_first_of_the_order_is_the_answer_for_all() -> None:
    nothing_left = limited(daily=0)
    everything = (UNKNOWN, HIGH, CLIP, ADAS_IMAGE, LOW)
    for skipped, reason in enumerate(
        ("unknown_feature", "plan_required", "top_ups_required", "member_limit", "exhausted")
    ):
        wanted = everything[skipped:]
        found = asked(*reversed(wanted), plan="free", top_ups=False, available=0, members=nothing_left)
        assert found[0] == reason
        assert decide(*wanted, plan="free", top_ups=False, available=0, members=nothing_left).detail is not None


def test_one_item_that_lacks_several_things_is_answered_with_the_first_of_them() -> None:
    everything_wrong = HIGH._replace(member_id=ADA)
    used_up = limited(daily=0)

    assert asked(everything_wrong, plan="free", top_ups=False, available=0, members=used_up)[0] == "plan_required"
    assert asked(everything_wrong, top_ups=False, available=0, members=used_up)[0] == "top_ups_required"
    assert asked(everything_wrong, available=0, members=used_up)[0] == "member_limit"
    assert asked(everything_wrong, available=0)[0] == "exhausted"


def test_a_plan_that_is_not_sold_any_more_is_named_by_its_id() -> None:
    card = CATALOG.rate_card.model_dump()
    card["categories"][2]["features"][0]["rates"][2]["requires"]["plan"] = "platinum"
    compiled = RateCards([type(CATALOG.rate_card).model_validate(card)]).in_force(NOON)

    permission = permit([HIGH], TeamBalance("team_1", plan="pro"), MICRO, {}, compiled, CATALOG)

    assert (permission.reason, permission.detail) == ("plan_required", "this needs the plan platinum")


def test_what_was_used_what_is_held_and_what_is_asked_for_all_count_against_a_limit() -> None:
    assert asked(ADAS_IMAGE, members=limited(daily=10, today=5, held=4)) == (None, [None])
    assert asked(ADAS_IMAGE, members=limited(daily=10, today=5, held=5)) == ("member_limit", ["member_limit"])
    assert asked(ADAS_IMAGE, ADAS_IMAGE, LOW, members=limited(daily=1)) == (
        "member_limit",
        [None, "member_limit", None],
    )
    assert asked(ADAS_IMAGE, members=limited(monthly=10, month=10)) == ("member_limit", ["member_limit"])
    assert asked(Amount(2 * MICRO, ADA), members=limited(daily=5, monthly=1))[0] == "member_limit"


def test_no_limit_is_not_a_limit_of_nothing() -> None:
    assert asked(ADAS_IMAGE, members=limited(today=500)) == (None, [None])
    assert asked(ADAS_IMAGE, members=limited(daily=0)) == ("member_limit", ["member_limit"])


def test_a_limit_is_its_members_own() -> None:
    assert asked(LOW, LOW._replace(member_id="mem_2"), members=limited(daily=0)) == (None, [None, None])


def test_a_soft_limit_marks_and_forbids_nothing() -> None:
    permission = decide(ADAS_IMAGE, members=limited(hard=False, daily=5, today=5))

    assert (permission.reason, permission.warning) == (None, "member_limit")
    assert decide(ADAS_IMAGE, members=limited(hard=False, daily=5, today=4)).warning is None


def test_a_refusal_says_how_much_of_a_limit_is_left() -> None:
    permission = decide(CLIP._replace(member_id=ADA), members=limited(monthly=20, month=10, held=4))

    assert permission.detail == "mem_1 may use 20 credits a month, of which 6 are left"


def test_work_that_costs_more_than_an_entry_may_hold_is_a_wrong_question() -> None:
    with pytest.raises(NotPriced, match="too_large"):
        asked(work("ai_video.generate", "999999999999", tier="high"))


@pytest.mark.parametrize(
    ("instant", "zone", "day"),
    [
        ("2026-03-29T00:59:59+00:00", "Europe/Berlin", date(2026, 3, 29)),  # 01:59 CET, a minute before the gap
        ("2026-03-29T21:59:59+00:00", "Europe/Berlin", date(2026, 3, 29)),  # a day of 23 hours ends at 22:00 UTC
        ("2026-03-29T22:00:00+00:00", "Europe/Berlin", date(2026, 3, 30)),
        ("2026-10-25T22:59:59+00:00", "Europe/Berlin", date(2026, 10, 25)),  # a day of 25 hours ends at 23:00 UTC
        ("2026-10-25T23:00:00+00:00", "Europe/Berlin", date(2026, 10, 26)),
        ("2026-12-31T10:00:00+00:00", "Pacific/Kiritimati", date(2027, 1, 1)),
        ("2027-01-01T06:59:59-01:00", "America/Los_Angeles", date(2026, 12, 31)),
    ],
)  # fmt: skip
def test_a_day_is_the_one_that_the_teams_own_calendar_shows(instant: str, zone: str, day: date) -> None:
    assert day_of(zone, datetime.fromisoformat(instant)) == day
