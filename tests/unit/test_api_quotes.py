"""Permission has five answers beside yes, in their order: the first thing that is the matter is the one that is said."""

from datetime import UTC, datetime

import pytest

from projections.balance import TeamBalance, TopUpSettings
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.rates import NotPriced, RateCards
from services.api.models import Item
from services.api.quotes import quote

CATALOG = load_catalog()
CARD = RateCards([CATALOG.rate_card]).in_force(datetime(2026, 11, 23, tzinfo=UTC))
LOW = Item(feature="ai_image.generate", quantity="1", attributes={"tier": "low"})
HIGH = Item(feature="ai_image.generate", quantity="1", attributes={"tier": "high"})
CLIP = Item(feature="ai_video.generate", quantity="2", attributes={"tier": "low"})
UNKNOWN = Item(feature="ai_smell.generate", quantity="1")


def asked(*items: Item, plan: str = "pro", top_ups: bool = True, available: int = 1_000) -> tuple[object, list[object]]:
    team = TeamBalance("team_1", plan=plan, top_up=TopUpSettings(enabled=top_ups))
    said = quote(items, CARD, CATALOG, team, available * MICRO)
    assert said["allowed"] is (said["reason"] is None)
    return said["reason"], [item["reason"] for item in said["items"]]


def test_what_the_team_may_and_can_afford_is_allowed() -> None:
    assert asked(LOW, HIGH, CLIP) == (None, [None, None, None])


def test_high_quality_images_need_pro_and_top_ups_and_the_plan_is_said_first() -> None:
    assert asked(HIGH, plan="free", top_ups=False) == ("plan_required", ["plan_required"])
    assert asked(HIGH, plan="pro", top_ups=False) == ("top_ups_required", ["top_ups_required"])
    assert asked(LOW, plan="free", top_ups=False) == (None, [None])


def test_video_generation_needs_top_ups_on_every_plan() -> None:
    assert asked(CLIP, top_ups=False) == ("top_ups_required", ["top_ups_required"])


def test_a_feature_that_nobody_knows_or_a_tier_that_it_does_not_have_is_unknown() -> None:
    smell = Item(feature="ai_image.generate", quantity="1", attributes={"tier": "golden"})
    assert asked(UNKNOWN, plan="free") == ("unknown_feature", ["unknown_feature"])
    assert asked(smell) == ("unknown_feature", ["unknown_feature"])


def test_the_balance_is_used_up_item_by_item_in_their_order() -> None:
    assert asked(CLIP, LOW, CLIP, available=9) == ("exhausted", [None, None, "exhausted"])
    assert asked(LOW, available=1) == (None, [None])
    assert asked(LOW, available=-5) == ("exhausted", ["exhausted"])


def test_of_several_things_the_first_of_the_order_is_the_answer_for_all() -> None:
    assert asked(CLIP, UNKNOWN, HIGH, plan="free", top_ups=False, available=0)[0] == "unknown_feature"
    assert asked(CLIP, HIGH, plan="free", top_ups=False, available=0)[0] == "plan_required"
    assert asked(LOW, CLIP, top_ups=False, available=0)[0] == "top_ups_required"


def test_work_that_costs_more_than_an_entry_may_hold_is_a_wrong_question() -> None:
    with pytest.raises(NotPriced, match="too_large"):
        asked(Item(feature="ai_video.generate", quantity="999999999999", attributes={"tier": "high"}))
