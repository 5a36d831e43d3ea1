"""Each invariant is told once, under its number, and names tests that there are; whoever cites a number finds it."""

import re
from pathlib import Path

import pytest

from tests.support.cited import NAMED, missing_tests

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/invariants.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^### (\d+)\. .*?\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
SOURCES = sorted(
    path
    for folder in ("schemas", "projections", "services", "deploy", "tests", "docs")
    for ending in ("py", "sql", "js", "sh", "yaml", "toml", "md")
    for path in (ROOT / folder).rglob(f"*.{ending}")
    if "node_modules" not in path.parts
)
IN_WORDS = re.compile(r"\binvariants? ((?:\d+|, ?| and | to |-|–)+)", re.IGNORECASE)
IN_NAMES = re.compile(r"\btest_invariant_(\d+)_")


def test_there_are_the_twenty_three() -> None:
    assert list(SECTIONS) == [str(number) for number in range(1, 24)]


@pytest.mark.parametrize("number", SECTIONS)
def test_an_invariant_names_tests_that_there_are(number: str) -> None:
    assert NAMED.search(SECTIONS[number])
    assert missing_tests(SECTIONS[number]) == []


def cited(text: str) -> set[str]:
    numbers = {number for words in IN_WORDS.findall(text) for number in re.findall(r"\d+", words)}
    return numbers | {number.lstrip("0") for number in IN_NAMES.findall(text)}


def test_a_number_that_is_cited_in_any_way_is_seen() -> None:
    assert cited("(invariant 5)") == {"5"}
    assert cited("The numbered invariants 6 to 13 of") == {"6", "13"}
    assert cited("Invariants 1, 2 and 99.") == {"1", "2", "99"}
    assert cited("def test_invariant_03_order() -> None:") == {"3"}


def test_every_number_that_is_cited_is_an_invariant() -> None:
    found = {path: cited(path.read_text("utf-8")) for path in SOURCES if path != Path(__file__)}

    assert set().union(*found.values())
    assert {
        path.relative_to(ROOT).as_posix(): unknown for path, n in found.items() if (unknown := n - set(SECTIONS))
    } == {}
