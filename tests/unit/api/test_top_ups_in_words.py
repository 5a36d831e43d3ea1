"""What the API says of a team's top-ups."""

from datetime import UTC, datetime

import pytest

from projections.top_ups.state import TopUps
from schemas.catalog import load_catalog
from services.api.wording.top_ups import top_up_body


@pytest.mark.parametrize(
    ("zone", "month"),
    [("UTC", "2026-11"), ("Asia/Tokyo", "2026-12"), ("Etc/GMT+5", "2026-11"), ("Pacific/Kiritimati", "2026-12")],
)
def test_the_month_that_caps_count_in_is_the_teams_own_whatever_a_readers_calendar_shows(zone: str, month: str) -> None:
    now = datetime(2026, 11, 30, 17, 41, tzinfo=UTC)

    body = top_up_body(TopUps(team_id="team_1", zone=zone), 0, now, load_catalog(), sees_card=False)

    assert body["charged_this_month"] == {"amount": 0, "currency": "usd", "count": 0, "month": month}
