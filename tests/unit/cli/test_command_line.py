"""The command line by itself: what each command says, what it loads, and that its tables fit a terminal."""

import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner, Result

from services.cli import app, main
from services.cli.showing import print_table

COLUMNS = ("at", "why", "id", "credits")
NOBODY_ANSWERS = "postgresql://somebody@127.0.0.1:1/nowhere"
ASK = """
import sys
from services.cli import main
sys.argv = ["creditwell", "balance", "team_1"]
try:
    main()
except SystemExit as ended:
    print(ended.code, sorted({"fastapi", "starlette", "aiokafka", "stripe"} & sys.modules.keys()))
"""


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"CREDITWELL_DATABASE": NOBODY_ANSWERS} | environment)


def test_a_balance_is_asked_for_without_web_framework_kafka_or_stripe() -> None:
    given = {name: value for name, value in os.environ.items() if not name.startswith("CREDITWELL_")}
    asked = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, check=False,
        env=given | {"CREDITWELL_DATABASE": NOBODY_ANSWERS},
    )  # fmt: skip

    assert asked.stdout == "3 []\n", asked.stderr
    assert "the database does not answer" in asked.stderr


def test_the_version_is_said() -> None:
    assert run("--version").stdout == f"creditwell {version('creditwell')}\n"


@pytest.mark.parametrize(
    "arguments", [["balance", "a\udcff"], ["refused", "list", "--team", "\udced\udca0"], ["\udcff"]], ids=ascii
)
def test_bytes_that_are_no_text_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["creditwell", *arguments])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert f"{arguments[-1]!r} is no text in UTF-8." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--team", "a b", "--member", "m"), "nobody would be let in by it: the claim team is no team's"),
        (("--team", "t", "--member", "a/b"), "nobody would be let in by it: the claim sub is no member's"),
        (("--team", "*", "--member", "m"), "a token of role member belongs to one team"),
        (("--team", "t", "--member", "m", "--role", "chief"), "there is no role 'chief'"),
    ],
)
def test_no_token_is_minted_that_lets_nobody_in(given: tuple[str, ...], words: str) -> None:
    minted = run("token", *given, CREDITWELL_INSECURE_DEV="1")

    assert (minted.exit_code, minted.stdout) == (2, "")
    assert words in minted.stderr


@pytest.mark.parametrize("command", [("signing-key", "--json"), ("balance", "team_1"), ("refused", "list")])
def test_a_misspelt_variable_is_named_by_every_command(command: tuple[str, ...]) -> None:
    said = run(*command, CREDITWELL_SIGNIN_KEY="x").stderr

    assert "CREDITWELL_SIGNIN_KEY is not a setting; did you mean CREDITWELL_SIGNING_KEY?" in said


@pytest.mark.parametrize("length", [4, 60, 300])
def test_what_is_shown_is_at_most_80_columns_wide_and_breaks_no_id(
    capsys: pytest.CaptureFixture[str], length: int
) -> None:
    row = ("2026-11-23 10:15:30", "it says " * (length // 8), "i" * min(length, 60), "-1,000,000.5")

    print_table("Refused, newest first", COLUMNS, [row] * 2, numbers=["credits"], prose=["why"])

    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert all(shown.count(cell) == 2 for cell in (row[0], row[2], row[3]))
    assert len(re.findall("says", shown)) == 2 * (length // 8)


def test_a_sentence_in_a_column_of_names_cuts_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Could not be moved", ("team", "why"), [("team_2", "it says so " * 30)])

    shown = capsys.readouterr().out
    assert "team_2" in shown
    assert shown.count("says") == 30
