"""The stand-in's time: that of the machine, or of a script that moves it by hours and days."""

import time


class StripeClock:
    """Unix seconds that can be pushed forward; a frozen clock moves only so, which makes a run repeatable."""

    def __init__(self, frozen_at: int | None = None) -> None:
        self._frozen_at = frozen_at
        self._advanced_seconds = 0

    @property
    def frozen(self) -> bool:
        """It moves by `advance` only."""
        return self._frozen_at is not None

    @property
    def advanced_seconds(self) -> int:
        """How far scripts have pushed it, over all."""
        return self._advanced_seconds

    def now(self) -> int:
        """Unix seconds."""
        start = int(time.time()) if self._frozen_at is None else self._frozen_at
        return start + self._advanced_seconds

    def restart(self) -> None:
        """Back to where it began, for books that begin anew."""
        self._advanced_seconds = 0

    def advance(self, seconds: int) -> None:
        """Time never runs backwards: a remembered key or a pending webhook would become young again."""
        if seconds < 0:
            message = f"the clock can't go back by {-seconds} s"
            raise ValueError(message)
        self._advanced_seconds += seconds
