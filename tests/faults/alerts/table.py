"""Which real fault makes each alert fire: a table that the modules of faults fill, and that docs/runbook.md shows."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from tests.faults.alerts.prometheus import HALF_A_MINUTE
from tests.faults.alerts.stage import Stage

Play = Callable[[Stage], AsyncIterator[None]]


@dataclass(frozen=True)
class AlertFault:
    """One alert.

    Attributes:
        what: the fault, as the runbook names it.
        play: breaks it up to its `yield`, where the alert is waited for; afterwards it does what the runbook says.
        companions: what may fire with it.
        pace: of recorded time while the alert is waited for.
    """

    alert: str
    what: str
    play: Play
    companions: tuple[str, ...] = ()
    pace: float = HALF_A_MINUTE


FAULTS: dict[str, AlertFault] = {}


def fires(alert: str, what: str, *companions: str, pace: float = HALF_A_MINUTE) -> Callable[[Play], Play]:
    """This is the fault of that alert."""

    def keep(play: Play) -> Play:
        assert alert not in FAULTS
        names = tuple(f"Creditwell{name}" for name in companions)
        FAULTS[f"Creditwell{alert}"] = AlertFault(f"Creditwell{alert}", what, play, names, pace)
        return play

    return keep
