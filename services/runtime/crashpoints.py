"""Named places where a fault test may end, or stop, the process.

`CREDITWELL_CRASH_AT=recorder:copied:3` ends it with SIGKILL at the third passing; `CREDITWELL_STOP_AT` stops it with
SIGSTOP instead, and `CREDITWELL_TERM_AT` asks it to end, with SIGTERM. Unset, a crash point costs one look-up in a
dictionary.
"""

import os
import signal
from collections.abc import Callable
from functools import partial


def _armed(variable: str, how: signal.Signals) -> dict[str, tuple[int, Callable[[], None]]]:
    name, _, passing = os.environ.get(variable, "").rpartition(":")
    return {name: (int(passing), partial(os.kill, os.getpid(), how))} if name else {}


_ARMED = (
    _armed("CREDITWELL_CRASH_AT", signal.SIGKILL)
    | _armed("CREDITWELL_STOP_AT", signal.SIGSTOP)
    | _armed("CREDITWELL_TERM_AT", signal.SIGTERM)
)


def crashpoint(name: str) -> None:
    """End or stop this process here if a fault test asked for it."""
    if name not in _ARMED:
        return
    remaining, end = _ARMED[name]
    if remaining > 1:
        _ARMED[name] = (remaining - 1, end)
        return
    del _ARMED[name]
    end()


def arm(name: str, passing: int, end: Callable[[], None]) -> None:
    """Have `end` called at a passing instead: for a test that plays thousands of deaths in one process."""
    _ARMED[name] = (passing, end)


def disarm() -> None:
    """Nothing ends here any more."""
    _ARMED.clear()
