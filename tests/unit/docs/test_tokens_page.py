"""What the page on tokens says is so: its example is run, its tables are the code's."""

import re
from pathlib import Path
from typing import Any

import pytest

from services.api.tokens import ALGORITHMS, TokenRole, tokens_of
from services.runtime.settings_loading import load_settings

PAGE = (Path(__file__).parents[3] / "docs/tokens.md").read_text("utf-8")


@pytest.fixture
def example(tmp_path: Path) -> dict[str, Any]:
    """The names that the Python example leaves behind; its JWKS lies in a file."""
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(code, names)
    (tmp_path / "jwks.json").write_text(names["jwks"])
    return names


async def test_the_token_of_the_python_example_is_accepted_for_what_it_says(
    example: dict[str, Any], tmp_path: Path
) -> None:
    settings = load_settings(
        jwks=str(tmp_path / "jwks.json"), jwt_issuer="https://app.example.com", jwt_audience="creditwell"
    )

    caller = await tokens_of(settings).verify(example["token"])

    assert (caller.team_id, caller.sub, caller.role) == ("team_42", "mem_7", TokenRole.ADMIN)


def test_both_examples_say_the_same() -> None:
    python, javascript = (re.search(rf"```{name}\n(.*?)```", PAGE, re.DOTALL) for name in ("python", "js"))
    assert python is not None
    assert javascript is not None

    for text in ("ES256", "2026-11", "https://app.example.com", "creditwell", "mem_7", "team_42", "admin", "15"):
        assert text in python[1], text
        assert text in javascript[1], text


def test_every_role_and_algorithm_is_named_and_no_other() -> None:
    _, _, roles = PAGE.partition("## Roles")
    roles, _, keys = roles.partition("## Keys")

    assert re.findall(r"^\| `(\w+)` \|", roles, re.MULTILINE) == [*TokenRole]
    assert re.findall(r"`([\w]+)`", keys.partition(" are accepted")[0]) == [*ALGORITHMS]
