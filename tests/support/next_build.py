"""The build after this one: a copy of the source tree, changed as a release may change it, run by the same interpreter.

It has another fold, a column more in a table of a projection, a migration, a function with another text, and a type of
fact that this build does not know.
"""

import asyncio
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

from deploy.local.folders import ROOT, own_environment
from projections.balance.fold import FOLD

ROOMS = ("schemas", "projections", "services")
NEW_FACT = "member.noted.v1"
CHANGES = {
    "projections/balance/fold.py": (f"\nFOLD = {FOLD}\n", f"\nFOLD = {FOLD + 1}\n"),
    "projections/balance.sql": ("    as_of timestamptz", "    of_next_build boolean NOT NULL DEFAULT true,\n    as_of timestamptz"),
    "services/store/functions/lock_team.sql": ("COMMENT ON FUNCTION lock_team IS '", "COMMENT ON FUNCTION lock_team IS 'Next: "),
    "schemas/facts/__init__.py": ("\nDECODE:", f'\nFACTS["{NEW_FACT}"] = FACTS["member.erased.v1"]\nDECODE:'),
}  # fmt: skip
MIGRATION = "0002_next.sql"


def next_build(folder: Path) -> Path:
    """Make it in `folder`, which is not there yet."""
    for room in ROOMS:
        copytree(ROOT / room, folder / room, ignore=ignore_patterns("__pycache__", "node_modules"))
    for name, (old, new) in CHANGES.items():
        text = (folder / name).read_text("utf-8")
        assert old in text, f"{name} has another text now"
        (folder / name).write_text(text.replace(old, new, 1), "utf-8")
    (folder / "services/store/migrations" / MIGRATION).write_text("ALTER TABLE teams ADD COLUMN of_next_build text;\n")
    return folder


async def creditwell(root: Path, database: str, *arguments: str) -> tuple[int, str]:
    """Run a command of the build in `root`; its exit code, and everything that it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", *arguments, cwd=root,
        env=own_environment() | {"CREDITWELL_DATABASE": database, "CREDITWELL_INSECURE_DEV": "1"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()
