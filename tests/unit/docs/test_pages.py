"""The pages hold together: links lead somewhere, words are used, paths exist, and the README leads to the rest."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GLOSSARY = ROOT / "docs/glossary.md"
FOLDERS = ("schemas", "projections", "services", "deploy", "tests", "docs")
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    if "node_modules" not in path.parts
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        assert not anchor or anchor in anchors(target), f"{name_of(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    named = set(re.findall(r"`((?:schemas|projections|services|tests|deploy|docs)/[\w./-]*\w)/?`", prose(page)))

    assert [path for path in named if not (ROOT / path).exists()] == []


WORDS = [
    word.strip()
    for row in re.findall(r"^\| ([^|]+) \|", GLOSSARY.read_text("utf-8"), re.MULTILINE)
    for word in row.split(",")
    if row not in {"word", "---"}
]


@cache
def everything_but_the_glossary() -> str:
    files = [*PAGES, *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
    others = {GLOSSARY, Path(__file__)}
    return "\n".join(path.read_text("utf-8") for path in files if path not in others).lower()


@pytest.mark.parametrize("word", WORDS)
def test_every_word_of_the_glossary_is_used(word: str) -> None:
    assert re.search(rf"\b{word}(?:s|ed|d)?\b", everything_but_the_glossary())


def test_no_word_of_the_glossary_is_told_twice() -> None:
    assert len(WORDS) == len(set(WORDS))


def test_the_decisions_are_all_in_their_index() -> None:
    folder = ROOT / "docs/decisions"

    assert set(LINK.findall((folder / "README.md").read_text("utf-8"))) == {
        path.name for path in folder.glob("*.md") if path.name != "README.md"
    }
    for path in folder.glob("[0-9]*.md"):
        assert re.findall(r"^## (\w+)", path.read_text("utf-8"), re.MULTILINE) == ["Context", "Decision", "Price"]


def test_the_readme_leads_to_every_page_of_the_docs() -> None:
    linked = set(LINK.findall((ROOT / "README.md").read_text("utf-8")))

    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"docs/{path.name}" not in linked] == []
    assert {"docs/decisions/README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_prose_keeps_to_lines_that_can_be_read(page: Path) -> None:
    """Tables, code and names of tests can't be broken."""
    lines = [line for line in prose(page).splitlines() if not line.startswith("|") and "::" not in line]

    assert [line for line in lines if len(line) > 130] == []
