"""The Helm chart runs what the command line has. `make chart-check` renders it; here its parts are compared."""

import re
from pathlib import Path
from typing import Any

import yaml

from services import VERSION
from services.runtime.processes import PROCESSES
from services.runtime.settings import Settings
from services.runtime.settings_loading import unknown_variables

CHART = Path(__file__).parents[3] / "deploy/chart"
TEXT = (CHART / "values.yaml").read_text("utf-8")
VALUES: dict[str, Any] = yaml.safe_load(TEXT)
TEMPLATES = {path.name: path.read_text("utf-8") for path in (CHART / "templates").iterdir()}
HELPERS = TEMPLATES["_helpers.tpl"]
SECRET = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
# What a process can do without, and is not given a secret for.
KAFKAS = {name for name in SECRET if name.startswith("kafka_")}


def test_every_process_is_deployed_and_reaches_kafka_where_it_needs_it() -> None:
    facts = re.search(r'define "creditwell.facts" -\}\}\n(.*?)\{\{- end', HELPERS, re.DOTALL)
    assert facts is not None
    reached = {name: fact["kafka"] for name, fact in yaml.safe_load(facts[1]).items()}

    assert list(VALUES["processes"]) == list(PROCESSES)
    assert reached == {process.name: "kafka" in process.needs for process in PROCESSES.values()} | {"resume": True}
    assert set(VALUES["secrets"]) == {*PROCESSES, "resume", "migrate", "topics"}
    assert not VALUES["resume"]["enabled"]


def test_the_list_of_secrets_names_those_that_each_process_reads_and_no_others() -> None:
    for process in PROCESSES.values():
        line = re.search(rf"^  {process.name}: \S+ +# (.*)$", TEXT, re.MULTILINE)
        assert line is not None
        wanted = {"database", *((process.settings & SECRET) - KAFKAS)}
        assert set(re.findall(r"creditwell_(\w+)", line[1])) == wanted, process.name


def test_what_a_process_can_not_do_without_is_given_or_asked_for() -> None:
    for process in PROCESSES.values():
        for need in {*process.needs, *process.keys} - SECRET:
            assert f'"CREDITWELL_{need.upper()}"' in HELPERS, need


def test_every_setting_that_is_given_exists() -> None:
    given = set(re.findall(r"CREDITWELL_[A-Z_]+", "".join((TEXT, *TEMPLATES.values()))))

    assert given
    assert unknown_variables(dict.fromkeys(given, "")) == []


def test_every_value_is_explained_and_used() -> None:
    lines = TEXT.splitlines()
    for name in VALUES:
        above = lines[lines.index(next(line for line in lines if line.startswith(f"{name}:"))) - 1]
        assert above.startswith("#"), name
        assert any(f".Values.{name}" in text for text in TEMPLATES.values()), name


def test_the_chart_is_of_the_version_that_it_installs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))

    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_nothing_runs_as_root_or_writes_into_its_image() -> None:
    for rule in ("runAsNonRoot: true", "runAsUser: 10001", "readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false",
                 "capabilities: {drop: [ALL]}", "seccompProfile: {type: RuntimeDefault}", "automountServiceAccountToken: false"):  # fmt: skip
        assert rule in HELPERS
    for name in ("processes.yaml", "jobs.yaml"):
        assert (
            TEMPLATES[name].count('include "creditwell.pod"')
            == TEMPLATES[name].count('include "creditwell.container"')
            == 1
        )
