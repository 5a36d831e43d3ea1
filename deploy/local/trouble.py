"""What may go wrong while the local stack starts, told so that the reader knows the step and the way out."""

from pathlib import Path

TAIL_LINES = 15


class StackTrouble(Exception):
    """A step of the local stack failed; the message names the step, what was seen, and what to do."""

    def __init__(self, step: str, symptom: str, *, way_out: str = "") -> None:
        self.step = step
        self.symptom = symptom
        self.way_out = way_out
        super().__init__("\n".join(part for part in (f"{step}: {symptom}", way_out) if part))


def tail(log: Path, *, lines: int = TAIL_LINES) -> str:
    """The last lines of a server's log, indented for a message; says so when there are none."""
    if not log.exists():
        return f"  ({log} was not written)"
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 64 * 1024))
        last = file.read().decode(errors="replace").splitlines()[-lines:]
    return "\n".join(f"  {line}" for line in last) or f"  ({log} is empty)"
