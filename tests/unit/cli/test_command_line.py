"""The command line by itself: what each command says, what it loads, and that its tables fit a terminal."""

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import schemas
from deploy.docs.tables import all_commands, text_and_example
from services.cli import app, main
from services.cli.showing import print_table

HERE = Path(__file__).parent
CATALOG = Path(schemas.__file__).with_name("catalog.toml")
COLUMNS = ("at", "why", "id", "credits")
NOBODY_ANSWERS = "postgresql://somebody@127.0.0.1:1/nowhere"
EXAMPLES = {name: text_and_example(command)[1] for name, command in all_commands()}
WITHOUT_END = {"serve", "demo", "bench"}
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


def test_a_paragraph_of_help_has_the_width_of_the_terminal() -> None:
    assert [name for name, command in all_commands() if re.search(r"[^\n]\n(?!\n|Example: )", command.help or "")] == []
    text = run("verify", "--help", COLUMNS="80").stdout
    assert "migrations made. With paths: check these proofs, or exports and archives, and" in text


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


@pytest.mark.parametrize("more", [("--apply", "--by", "me"), ("--as-it-is",), ("--accept",), ("--json",)])
def test_whoever_watches_a_store_gives_no_order_for_it(more: tuple[str, ...]) -> None:
    given = run("resume", "--watch", *more)

    assert (given.exit_code, "--watch: it takes no other option" in given.stderr) == (2, True)


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


def test_a_heading_of_several_words_takes_no_letters_from_the_prose_beside_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = ("credits.events", "min.insync.replicas", "1", "3", "later", "1 of 3 brokers are there: start the others")

    print_table("Topics", ("topic", "what", "is", "must be", "fixed by", "how"), [row], prose=["how"])

    assert "are there: start the others" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("text", ["\x1b[31mred", "\x9b31mred", "a\rb", "a\x08b", "\u202egpj.exe", "\u2066a"], ids=ascii)
def test_no_name_tells_a_terminal_anything(capsys: pytest.CaptureFixture[str], text: str) -> None:
    print_table("Members", ("name",), [(text,)])

    shown = capsys.readouterr().out
    assert repr(text)[1:-1] in shown
    assert text not in shown


def test_a_sentence_in_a_column_of_names_cuts_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Could not be moved", ("team", "why"), [("team_2", "it says so " * 30)])

    shown = capsys.readouterr().out
    assert "team_2" in shown
    assert shown.count("says") == 30


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_command_uses_it_rightly(name: str) -> None:
    """Whoever uses it wrongly is told by an exception of the parser's."""
    command, *words = shlex.split(EXAMPLES[name])
    dict(all_commands())[name].make_context(name, words[len(name.split()) :])

    assert [command, *words[: len(name.split())]] == ["creditwell", *name.split()]


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - WITHOUT_END))
def test_the_example_of_a_command_comes_as_far_as_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "anchors").mkdir()
    (tmp_path / "models.json").write_bytes((HERE / "models.json").read_bytes())
    (tmp_path / "card.toml").write_bytes(CATALOG.read_bytes())
    (tmp_path / "ana.jwt").write_text("e30.e30.e30")
    monkeypatch.chdir(tmp_path)

    ran = run(
        *shlex.split(EXAMPLES[name])[1:], CREDITWELL_INSECURE_DEV="1", CREDITWELL_KAFKA="127.0.0.1:1",
        CREDITWELL_STRIPE_KEY="sk_test_1",
    )  # fmt: skip

    assert ran.exit_code in (0, 3), ran.output
