"""What docs/tracing.md shows works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import schemas.emitter
from services.runtime.tracing.sending import asks_for_spans

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/tracing.md").read_text("utf-8")
EXAMPLE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_example_in_python_keeps_the_context_with_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "creditwell_emitter.emitter", schemas.emitter)
    monkeypatch.setitem(sys.modules, "creditwell_emitter", schemas)

    exec(block("python").replace("localhost:9092", "127.0.0.1:1"))

    assert any(EXAMPLE.encode() in path.read_bytes() for path in tmp_path.rglob("spool/*") if path.is_file())


def test_the_variables_ask_for_spans() -> None:
    ran = subprocess.run(["sh", "-c", f"{block('sh')}\nenv"], env={}, capture_output=True, text=True, check=True)
    environment = dict(line.split("=", 1) for line in ran.stdout.splitlines())

    with capture_logs() as lines:
        assert asks_for_spans(environment)
    assert not lines


def test_every_span_is_in_the_table() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "services").rglob("*.py"))
    opened = set(re.findall(r'\bspan\(\s*f?"([a-z -]+)', source))

    assert opened >= {"record usage", "top-up", "notice"}
    assert [name for name in opened if f"| `{name}" not in PAGE] == []
