"""Makers of API clients take the OpenAPI document whole: no answer is left out, and what they make is well typed.

python -m tests.outside.generators    after tests/outside/run.sh has installed them; exits with 1 where something is missing
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from services.api.app import new_app
from tests.support.node import NODE

ROOT = Path(__file__).parents[2]
OUTSIDE = ROOT / ".creditwell/outside/bin"
PACKAGES = Path(__file__).parent / "node_modules"


def main() -> int:
    """The exit code."""
    with tempfile.TemporaryDirectory() as folder:
        document: dict[str, Any] = new_app().openapi()
        file = Path(folder, "openapi.json")
        file.write_text(json.dumps(document), "utf-8")
        problems = [*in_python(document, file), *in_typescript(document, file)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def in_python(document: dict[str, Any], file: Path) -> list[str]:
    """What openapi-python-client warns of, misses, or gets wrong."""
    made = file.parent / "in_python"
    done = run(OUTSIDE / "openapi-python-client", "generate", "--path", file, "--output-path", made, "--meta", "none")
    modules = sum("def sync_detailed" in path.read_text("utf-8") for path in (made / "api").rglob("*.py"))
    typed = run(OUTSIDE / "mypy", "--ignore-missing-imports", "--no-error-summary", made / "client.py", made / "models")
    print(f"openapi-python-client: {modules} calls, {len(list((made / 'models').iterdir()))} models")
    return [
        *(line for line in (done.stdout + done.stderr).splitlines() if "WARNING" in line or "Cannot" in line),
        *(
            [f"{modules} of {len(operation_ids(document))} calls were made"]
            if modules != len(operation_ids(document))
            else []
        ),
        *typed.stdout.splitlines(),
    ]


def in_typescript(document: dict[str, Any], file: Path) -> list[str]:
    """What openapi-typescript misses, or what TypeScript finds in it."""
    made = file.parent / "api.d.ts"
    done = run(NODE, PACKAGES / "openapi-typescript/bin/cli.js", file, "--output", made)
    if done.returncode:
        return [done.stdout + done.stderr]
    types = made.read_text("utf-8")
    _, _, declared = types.partition("export interface operations {")
    missing = [name for name in operation_ids(document) if f"\n    {name}: {{" not in declared]
    checked = run(NODE, PACKAGES / "typescript/bin/tsc", "--noEmit", "--strict", "--lib", "es2024", made)
    print(f"openapi-typescript: {len(operation_ids(document)) - len(missing)} calls")
    return [
        *(f"{name} is not declared" for name in missing),
        *checked.stdout.splitlines(),
    ]


def operation_ids(document: dict[str, Any]) -> list[str]:
    """The names of the document's calls."""
    return [
        call["operationId"]
        for methods in document["paths"].values()
        for call in methods.values()
        if "operationId" in call
    ]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """A program with what it says."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


if __name__ == "__main__":
    sys.exit(main())
