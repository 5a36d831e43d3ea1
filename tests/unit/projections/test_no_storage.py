"""Language and meaning know nothing of how PostgreSQL keeps them; the import contracts hold the rest."""

import ast
import re
from pathlib import Path

import pytest

import projections
import schemas

PARAMETER = re.compile(
    r"\$\d"
)  # a statement that is asked again and again; the tables and views of a projection have none
MODULES = [
    module
    for package in (projections, schemas)
    for folder in package.__path__
    for module in sorted(Path(folder).rglob("*.py"))
    if "emitter" not in module.parts  # its spool has a binary format of its own
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: "/".join(module.parts[-2:]))
def test_a_fold_packs_no_rows_and_asks_no_database(module: Path) -> None:
    nodes = list(ast.walk(ast.parse(module.read_text("utf-8"))))

    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]

    assert "struct" not in imported
    assert not [text for text in texts if PARAMETER.search(text)]
