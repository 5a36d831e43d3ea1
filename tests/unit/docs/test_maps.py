"""The local stack and the tests have maps too, as true as those of the product (`tests/unit/layout/test_maps.py`)."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LINE = re.compile(r"^(?:    )?([a-z0-9_]+) {2,}\S", re.MULTILINE)  # a name, and what it is for
FEW = 2  # modules that need no map
ROOMS = sorted(path.parent for path in (ROOT / "deploy").rglob("__init__.py"))


def modules_of(room: Path) -> list[str]:
    there = {path.stem for path in room.glob("*.py")} | {path.parent.name for path in room.glob("*/__init__.py")}
    return sorted(there - {"__init__", "__main__"})


@pytest.mark.parametrize(
    "room", [*ROOMS, ROOT / "tests", ROOT / "tests/support"], ids=lambda room: room.relative_to(ROOT).as_posix()
)
def test_a_folder_of_the_stack_and_of_the_tests_names_its_modules_and_no_others(room: Path) -> None:
    told = LINE.findall(ast.get_docstring(ast.parse((room / "__init__.py").read_text("utf-8"))) or "")

    assert sorted(told) == (modules_of(room) if len(modules_of(room)) >= FEW else [])


def test_every_module_of_the_services_stands_in_the_map_of_its_folder() -> None:
    modules = [path for path in (ROOT / "services").rglob("*.py") if path.stem not in {"__init__", "__main__"}]

    assert modules
    unnamed = [
        path.relative_to(ROOT).as_posix()
        for path in modules
        if path.stem not in LINE.findall(ast.get_docstring(ast.parse((path.parent / "__init__.py").read_text())) or "")
    ]
    assert unnamed == []
