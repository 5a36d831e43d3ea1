"""Every room has a map, and the map is true: each module is named in it, and nothing that is not there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROOMS = sorted(
    path.parent for name in ("schemas", "projections", "services") for path in (ROOT / name).rglob("__init__.py")
)
LINE = re.compile(r"^(?:    )?([a-z_]+) {2,}\S", re.MULTILINE)  # a name, and what it is for


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(ROOT).as_posix())
def test_a_room_names_its_modules_and_no_others(room: Path) -> None:
    there = {path.stem for path in room.glob("*.py")} | {path.parent.name for path in room.glob("*/__init__.py")}

    told = LINE.findall(ast.get_docstring(ast.parse((room / "__init__.py").read_text("utf-8"))) or "")

    assert sorted(told) == sorted(there - {"__init__", "__main__"})
