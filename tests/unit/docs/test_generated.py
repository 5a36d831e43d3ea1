"""What follows from the code is documented as the code has it, and nothing is left out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.docs import generate
from deploy.docs.tables import FILES, TABLES
from schemas.facts import FACTS
from schemas.notices import NOTICES
from services.api.openapi.codes import MEANINGS
from services.cli import app
from services.runtime.processes import PROCESSES
from services.runtime.settings import Settings, variable
from services.runtime.settings_loading import OTHERS

ROOT = Path(__file__).parents[3]
REFUSE = {"BadUsage", "NotUnpacked", "NotPriced", "RefusedRecord", "_refuse"}


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def test_the_committed_pages_are_up_to_date() -> None:
    assert generate.main(["--check"]) == 0


def test_every_table_stands_in_a_page() -> None:
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md"))

    assert sorted(re.findall(r"<!-- table: (\w+) -->", pages)) == sorted(TABLES)


def test_every_file_that_is_written_whole_is_there() -> None:
    assert [name for name in FILES if not (ROOT / "docs" / name).exists()] == []


def test_a_page_that_is_out_of_date_is_named_and_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "notices.md"
    stale.write_text("# By hand\n\n<!-- table: notices -->\nout of date\n<!-- end -->\n\nBy hand.\n", "utf-8")
    (tmp_path / "prose.md").write_text("Nothing is generated here.\n", "utf-8")

    assert generate.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err.split()[0] == "docs/notices.md"
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0
    written = stale.read_text("utf-8")
    assert written.startswith("# By hand\n")
    assert written.endswith("<!-- end -->\n\nBy hand.\n")
    assert "out of date" not in written
    assert "`balance.ran_low.v1`" in written


def test_an_unknown_argument_is_a_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--chekc"]) == 2
    assert "--chekc" in capsys.readouterr().err


def test_a_table_that_nobody_can_write_is_no_silence() -> None:
    with pytest.raises(KeyError):
        generate.filled("<!-- table: nonsense -->\n<!-- end -->")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_as_the_code_describes_it(name: str) -> None:
    assert f"| `{variable(name)}` | {Settings.model_fields[name].description} |" in page("settings.md")


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_every_variable_that_is_read_beside_the_settings_is_documented(name: str) -> None:
    assert f"`{name}=" in page("settings.md") or f"`{name}`" in page("settings.md")


def commands() -> Iterator[str]:
    for group in (app, *(member.typer_instance for member in app.registered_groups)):
        names = [member.name for member in app.registered_groups if member.typer_instance is group]
        before = f"{names[0]} " if names else ""
        for command in group.registered_commands if group is not None else []:
            assert command.callback is not None
            yield before + (command.name or command.callback.__name__)


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_is_documented(name: str) -> None:
    assert re.search(rf"^### `creditwell {name}[` ]", page("commands.md"), re.MULTILINE)


def metrics() -> set[str]:
    """Names of metrics, by their look alone, so that a way of making one that the generator does not know is found."""
    sources = [path.read_text("utf-8") for path in (ROOT / "services").rglob("*.py")]
    return {name for source in sources for name in re.findall(r'"(creditwell_[a-z_]+)"', source)}


def test_every_metric_is_documented() -> None:
    assert metrics()
    assert [
        name for name in metrics() if not re.search(rf"^\| `{name}(_total)?` \|", page("metrics.md"), re.MULTILINE)
    ] == []


def test_every_error_code_is_documented() -> None:
    codes = {(status, code) for status, named in MEANINGS.items() for code in named}

    assert [code for code in codes if f"| {code[0]} | `{code[1]}` | " not in page("errors.md")] == []


def reasons() -> set[str]:
    """Why usage is refused: the codes that stand where a refusal is made."""
    found = set()
    for path in (
        ROOT / "schemas/usage.py",
        ROOT / "schemas/cloudevents.py",
        ROOT / "schemas/rates.py",
        *(ROOT / "schemas/pricing").glob("*.py"),
        *(ROOT / "services/usage").glob("*.py"),
        ROOT / "services/runtime/kafka/unpacking.py",
    ):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in REFUSE:
                texts = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
                found |= {text for text in texts[:1] if re.fullmatch(r"[a-z_]+", text)}
    return found


def test_every_reason_to_refuse_usage_is_documented_and_no_other() -> None:
    _, _, table = page("errors.md").partition("## Refused usage")

    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == reasons()


def test_every_notice_fact_and_process_is_documented() -> None:
    assert [name for name in NOTICES if f"| `{name}` |" not in page("notices.md")] == []
    assert [name for name in FACTS if f"[`{name}`](../schemas/json/facts/{name}.json)" not in page("facts.md")] == []
    assert [name for name in PROCESSES if page("architecture.md").count(f"| `{name}` |") != 2] == []
