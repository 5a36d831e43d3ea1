"""What operators see of top-ups: every decision counted by its reason, an alarm for a team that tops up all day, no team in any label."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import structlog

from projections.top_ups.state import OFTEN, TopUps
from schemas.catalog import load_catalog
from schemas.facts import TopUpRequested, TopUpSkipped
from services.money.topup import Figures, Worker
from services.runtime.health import Health

NOW = datetime(2026, 11, 10, tzinfo=UTC)


def test_a_team_that_tops_up_unusually_often_raises_an_alarm_with_its_name_in_the_log_and_not_in_the_metrics() -> None:
    health = Health("topup")
    nothing = cast("Any", None)
    worker = Worker(nothing, nothing, load_catalog(), "worker", health, Figures(health))
    recent = tuple(NOW + timedelta(hours=n) for n in range(OFTEN))
    request = TopUpRequested(
        attempt_id="a", ran_low_id="low", attempt=0, credits=1, charge_cents=1, currency="usd", customer_id="cus",
        payment_method_id="pm",
    )  # fmt: skip
    skip = TopUpSkipped(ran_low_id="low", decision="crossing", reason="cap_money")

    with structlog.testing.capture_logs() as said:
        worker.tell(TopUps(team_id="team_42", recent=recent[:-1]), request)
        worker.tell(TopUps(team_id="team_42", recent=recent), skip)
        worker.tell(TopUps(team_id="team_42", recent=recent), request)

    seen = health.registry.get_sample_value
    assert seen("creditwell_top_up_decisions_total", {"decision": "requested"}) == 2
    assert seen("creditwell_top_up_decisions_total", {"decision": "cap_money"}) == 1
    assert seen("creditwell_top_ups_unusually_often_total") == 1
    assert [(line["team_id"], line["log_level"]) for line in said if "unusually" in line["event"]] == [
        ("team_42", "warning")
    ]
    labels = {name for metric in health.registry.collect() for sample in metric.samples for name in sample.labels}
    assert labels - {"le"} == {"decision"}  # le: the buckets of a histogram
