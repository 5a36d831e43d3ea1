"""The page of faults has each of them once, and what it says that shows them is there."""

import re
from pathlib import Path

import pytest

from tests.faults.injections import INJECTIONS
from tests.support.cited import NAMED, missing_tests

PAGE = (Path(__file__).parents[3] / "docs/reliability.md").read_text("utf-8")
SHOWN, NOT_SHOWN = (
    dict(re.findall(r"^### (\d+)\. .*?\n(.*?)(?=^##|\Z)", part, re.DOTALL | re.MULTILINE))
    for part in PAGE.split("## Not shown")
)
OF_FAULTS = re.compile(r"`make faults`: ((?:`[\w-]+`(?:, )?)+)")
FAULTS = 50
VERBS = {
    "--promoted", "--money", "--went-back", "--restored", "--brokers", "--grown", "--upgrade", "--holds", "--steps",
    "--full-disk", "--day",
}  # fmt: skip


def kinds_of(text: str) -> set[str]:
    return {kind for kinds in OF_FAULTS.findall(text) for kind in re.findall(r"`([\w-]+)`", kinds)}


def test_each_fault_stands_there_once() -> None:
    assert sorted(map(int, [*SHOWN, *NOT_SHOWN])) == list(range(1, FAULTS + 1))


@pytest.mark.parametrize("number", SHOWN)
def test_a_fault_names_what_shows_it(number: str) -> None:
    assert NAMED.search(SHOWN[number]) or kinds_of(SHOWN[number])
    assert missing_tests(SHOWN[number]) == []


def test_every_kind_of_the_storm_is_on_the_page() -> None:
    assert kinds_of(PAGE) - VERBS == INJECTIONS.keys()


def test_what_is_not_shown_says_what_is_known() -> None:
    assert all(said.strip() for said in NOT_SHOWN.values())
    assert missing_tests("\n".join(NOT_SHOWN.values())) == []
