"""Named places where a fault test may end, or stop, the process.

`CREDITWELL_CRASH_AT=recorder:copied:3` ends it with SIGKILL at the third passing; `CREDITWELL_STOP_AT` stops it with
SIGSTOP instead. Unset, a crash point costs one dictionary look-up.
"""

import os
import signal


def _armed(variable: str, how: signal.Signals) -> dict[str, tuple[int, signal.Signals]]:
    name, _, passing = os.environ.get(variable, "").rpartition(":")
    return {name: (int(passing), how)} if name else {}


_ARMED = _armed("CREDITWELL_CRASH_AT", signal.SIGKILL) | _armed("CREDITWELL_STOP_AT", signal.SIGSTOP)


def crashpoint(name: str) -> None:
    """End or stop this process here if a fault test asked for it."""
    if name not in _ARMED:
        return
    left, how = _ARMED[name]
    if left > 1:
        _ARMED[name] = (left - 1, how)
        return
    del _ARMED[name]
    os.kill(os.getpid(), how)
