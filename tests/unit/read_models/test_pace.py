"""The more usage comes, the longer it comes together before it is folded."""

import pytest

from services.read_models.projector import PACE_MOST_SECONDS, PACE_SECONDS, pace_seconds


@pytest.mark.parametrize(("count", "seconds"), [(1, PACE_SECONDS), (2_000, 0.1), (20_000, PACE_MOST_SECONDS)])
def test_a_batch_lasts_the_longer_the_more_it_has_within_bounds(count: int, seconds: float) -> None:
    assert pace_seconds(count) == seconds
