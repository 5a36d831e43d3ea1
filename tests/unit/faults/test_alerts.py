"""Every alert has its real fault, and docs/reliability.md shows which."""

import re
from io import StringIO
from pathlib import Path

import yaml
from rich.console import Console

from deploy.monitoring.dashboards import DASHBOARDS
from tests.faults.alerts.play import FAULTS, NOT_WHILE_WELL, Played, table_of

ROOT = Path(__file__).parents[3]
ALERTS = [
    rule["alert"]
    for group in yaml.safe_load((ROOT / "deploy/monitoring/alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]


def test_each_alert_is_made_to_fire_by_one_fault() -> None:
    assert sorted(FAULTS) == sorted(ALERTS)
    assert {name for fault in FAULTS.values() for name in fault.companions} <= set(ALERTS)
    assert [name for name, fault in FAULTS.items() if name in fault.companions] == []


def test_the_page_on_reliability_shows_them_as_they_are() -> None:
    page = (ROOT / "docs/reliability.md").read_text("utf-8")
    shown = re.findall(r"^\| `(Creditwell\w+)` \| (.+?) \| (.*?) ?\|$", page, re.MULTILINE)

    assert shown == [
        (name, fault.what, ", ".join(f"`{one}`" for one in fault.companions)) for name, fault in FAULTS.items()
    ]


def test_what_has_no_data_while_all_is_well_is_a_panel() -> None:
    assert {panel.title for dashboard in DASHBOARDS.values() for panel in dashboard.panels} >= NOT_WHILE_WELL


def test_the_table_of_a_run_names_each_alert_with_its_fault_and_what_never_came() -> None:
    (first, second), screen = [*FAULTS][:2], Console(width=80, record=True, file=StringIO())

    screen.print(table_of([Played(first, [], True, 63.4, 330.0, 12.0), Played(second, ["it can't be played"], True)]))
    said = screen.export_text()

    assert [len(line) <= 80 for line in said.splitlines()] == [True] * len(said.splitlines())
    row = next(line for line in said.splitlines() if first.removeprefix("Creditwell") in line)
    assert re.findall(r"silent|\d+ s", row) == ["silent", "63 s", "330 s", "12 s"]
    assert said.count("never") == 3
