"""A time of day that a script moves on, for itself and all that it starts: `tests/clocks/shift.c`, and a file that it reads."""

import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = "CLOCK_SHIFT_FILE"
SHIFT = struct.Struct("=q")


@dataclass(frozen=True)
class MovingClock:
    """The file that says by how many seconds all clocks are ahead."""

    file: Path

    def is_now(self, moment: datetime) -> None:
        """Let it be this moment, for everybody who runs by this clock."""
        ahead = round((moment - datetime.now(UTC)).total_seconds())
        with self.file.open("r+b") as told:
            (before,) = SHIFT.unpack(told.read(SHIFT.size))
            told.seek(0)
            told.write(SHIFT.pack(before + ahead))


def our_clock() -> MovingClock | None:
    """The clock that this process runs by; None where that is the system's."""
    return MovingClock(Path(os.environ[FILE])) if FILE in os.environ else None


def by_a_clock(folder: Path) -> Mapping[str, str]:
    """The environment of who is to run by a clock of its own, which lies in this folder. Needs a C compiler."""
    folder.chmod(0o755)  # PostgreSQL's own user reads both
    library, file = folder / "shift.so", folder / "ahead"
    source = ROOT / "tests/clocks/shift.c"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    file.write_bytes(SHIFT.pack(0))
    return {"LD_PRELOAD": str(library), FILE: str(file)}


def again_by_a_clock(arguments: Sequence[str]) -> int:
    """Run this program again with these arguments, by a clock that it can move; its exit code."""
    with tempfile.TemporaryDirectory(prefix="creditwell-clock-") as folder:
        clock = by_a_clock(Path(folder))
        return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env={**os.environ, **clock}).returncode
