"""The rooms keep their order: what may not import what, no circles, and no folder that one gets lost in."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grimp
import pytest

from tests.conftest import LONG

ROOT = Path(__file__).parents[3]
PACKAGES = ("schemas", "projections", "services", "deploy", "tests")
FOLDER_MAX = 17

# Each breaks another rule; the linter must name each of them.
FORBIDDEN = {
    "services/publishing/relay.py": "tests.support.waiting",
    "services/read_models/projector.py": "deploy.local.say",
    "services/store/read.py": "stripe",
    "services/store/append.py": "services.audit.replay",
    "services/runtime/clock.py": "services.store.read",
    "services/read_models/states.py": "services.credits.holds.hold",
    "services/credits/plans.py": "services.usage.door",
    "services/usage/door.py": "services.money.topup",
    "services/money/topup.py": "services.audit.verify",
    "services/usage/traces.py": "opentelemetry",
    "services/audit/verify.py": "services.publishing.relay",
    "services/export/files.py": "services.api.tokens",
    "services/audit/walk.py": "services.export.files",
    "services/publishing/notices.py": "services.usage.door",
    "services/api/tokens.py": "services.cli.teams",
    "projections/versions.py": "services.store.read",
    "projections/top_ups/months.py": "aiokafka",
    "schemas/credits.py": "asyncpg",
    "schemas/cycles.py": "projections.versions",
}


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a copy of the source in which each of the forbidden imports stands."""
    copy = tmp_path_factory.mktemp("planted")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for file, module in FORBIDDEN.items():
        with (copy / file).open("a") as source:
            source.write(f"\nimport {module}\n")
    linter = Path(sys.executable).with_name("lint-imports")
    ran = subprocess.run(
        [linter, "--no-cache"], cwd=copy, env={**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "500"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("file", FORBIDDEN)
def test_a_forbidden_import_is_found(linted: str, file: str) -> None:
    importer = file.removesuffix(".py").replace("/", ".")

    assert f"{importer} -> {FORBIDDEN[file]}" in linted


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}

    while free := {module for module, imported in imports.items() if not imported & imports.keys()}:
        for module in free:
            del imports[module]

    assert not imports, "these modules import each other in a circle, or import one that does"


def test_no_folder_holds_more_modules_than_one_keeps_in_mind() -> None:
    modules = [path.relative_to(ROOT) for package in PACKAGES[:-1] for path in (ROOT / package).rglob("*.py")]
    sizes = Counter(path.parent.as_posix() for path in modules if path.name != "__init__.py")

    assert {folder: size for folder, size in sizes.items() if size > FOLDER_MAX} == {}, (
        "make a folder of some of them, by meaning, as services/api/routes/finance"
    )


@pytest.mark.parametrize("name", LONG)
def test_a_file_of_tests_that_begins_first_is_there(name: str) -> None:
    assert len(list((ROOT / "tests").rglob(name))) == 1
