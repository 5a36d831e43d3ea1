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


def test_of_the_types_those_for_host_products_are_sent() -> None:
    assert {name for name in FILES if name.endswith(".ts")} == {"api.d.ts", "host.d.ts", "texts.d.ts"}
    assert (PAGE / "page.d.ts").exists()


def test_every_event_and_element_that_a_host_product_is_told_of_is_documented_and_typed() -> None:
    types, docs = (PAGE / "host.d.ts").read_text("utf-8"), (PAGE.parents[1] / "docs" / "page.md").read_text("utf-8")
    told = re.search(r"const TOLD = \[(.*?)\]", (PAGE / "element.js").read_text("utf-8"))
    assert told is not None
    events = [f"creditwell-{name}" for name in re.findall(r'"([\w-]+)"', told[1])]
    elements = re.findall(
        r'customElements\.define\("([a-z-]+)"', "".join(FILES[name].body.decode() for name in SCRIPTS)
    )

    assert len(events) == 7
    assert len(elements) == 7
    for name in (*events, *elements):
        assert f'"{name}"' in types, name
        assert name in docs, name
