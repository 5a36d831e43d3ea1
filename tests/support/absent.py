"""What a test needs and this machine may not have."""

import os
from typing import NoReturn

import pytest


def absent(what: str) -> NoReturn:
    """Skip the test, with a line that says why; under CI=true it fails, for there nothing may be left out in silence."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)
