"""What a browser gets of the page: its files, without what only those who write it read."""

import re
from pathlib import Path

import pytest

from services.api.routes.pages import FILES, without_comments

PAGE = Path(__file__).parents[3] / "services" / "page"
SCRIPTS = sorted(name for name in FILES if name.endswith(".js"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_loses_the_comments_about_its_functions_and_nothing_else(name: str) -> None:
    written = (PAGE / name).read_text("utf-8").splitlines()
    sent = FILES[name].body.decode().splitlines()

    assert len(sent) == len(written)
    lost = [line for line, left in zip(written, sent, strict=True) if line != left]
    assert all(re.match(r" *(/\*\*| \*)", line) for line in lost)
    assert not any(left for line, left in zip(written, sent, strict=True) if line != left)


def test_a_cast_before_code_and_a_rule_of_a_style_stay() -> None:
    script = b"/** @type {Element} */ (found)?.focus();\n  /* wide */\n/** Says. */\nrun(); /** end */\n"

    assert without_comments(script) == b"/** @type {Element} */ (found)?.focus();\n  /* wide */\n\nrun(); /** end */\n"


def test_declarations_of_types_are_not_sent() -> None:
    assert not any(name.endswith(".ts") for name in FILES)
    assert (PAGE / "api.d.ts").exists()
