"""Tests that a page of the docs names: do they exist?"""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def missing_tests(text: str) -> list[str]:
    """The tests and files of tests that `text` names and that do not exist."""
    return [
        f"{file}::{test}" if test else file
        for file, test in NAMED.findall(text)
        if not (ROOT / file).is_file() or (test and test not in _functions_of(ROOT / file))
    ]


@cache
def _functions_of(file: Path) -> frozenset[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, functions))
