"""The clock of the API's limits, for tests: it stands until a test moves it, however long the test's own requests take."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest


class LimitsClock:
    """What the library that counts takes for the time, in seconds."""

    def __init__(self) -> None:
        # It never stands quite still, or 60 / 7 would be rounded against somebody.
        self._looks = count(1_000.0, 1e-6)
        self._passed = 0.0

    def __call__(self) -> float:
        return self._passed + next(self._looks)

    def pass_by(self, seconds: float) -> None:
        """So much later."""
        self._passed += seconds


@contextmanager
def limits_clock() -> Iterator[LimitsClock]:
    """While the block runs, limits go by this clock. The library takes none as an argument; nothing else goes by it."""
    clock = LimitsClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("throttled.utils.now_mono_f", clock)
        yield clock
