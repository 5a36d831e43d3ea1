"""Every folder has a map, and the map is true: each module is named in it, and nothing that is not there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FEW = 2  # a folder of the local stack with fewer modules needs no map
PRODUCT = [
    path.parent for name in ("schemas", "projections", "services") for path in (ROOT / name).rglob("__init__.py")
]
FOLDERS = sorted([
    *PRODUCT, *(path.parent for path in (ROOT / "deploy").rglob("__init__.py")), ROOT / "tests", ROOT / "tests/support",
])  # fmt: skip
LINE = re.compile(r"^(?:    )?([a-z0-9_]+) {2,}\S", re.MULTILINE)  # a name, and what it is for


def modules_of(folder: Path) -> list[str]:
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    return sorted(there - {"__init__", "__main__"})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_folder_names_its_modules_and_no_others(folder: Path) -> None:
    named = LINE.findall(ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or "")
    needs_map = folder in PRODUCT or len(modules_of(folder)) >= FEW

    assert sorted(named) == (modules_of(folder) if needs_map else []), (
        f"the map is the docstring of {folder}/__init__.py"
    )


def test_no_folder_of_modules_is_without_its_docstring() -> None:
    folders = {path.parent for name in ("schemas", "projections", "services") for path in (ROOT / name).rglob("*.py")}

    assert folders <= set(PRODUCT)
