"""How hypothesis draws its examples: never by the clock, and in CI never by luck."""

import os

from hypothesis import HealthCheck, settings


def test_no_example_has_a_deadline() -> None:
    assert settings.default is not None
    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check


def test_in_ci_the_same_examples_are_drawn_each_time() -> None:
    ci = settings.get_profile("ci")

    assert (ci.derandomize, ci.database, ci.deadline, ci.max_examples) == (True, None, None, 100)
    assert HealthCheck.too_slow in ci.suppress_health_check
    assert (settings.default == ci) == (os.environ.get("CI") == "true")
