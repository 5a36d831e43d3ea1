"""Alerts and dashboards ask for metrics that exist, and each alert has its chapter in the runbook."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.docs.tables import MetricDoc, found_metrics
from deploy.monitoring import dashboards
from deploy.monitoring.dashboards import DASHBOARDS
from services.publishing.notices import NoticeMetrics
from services.runtime.health import Health

ROOT = Path(__file__).parents[3]
RUNBOOK = (ROOT / "docs/runbook.md").read_text("utf-8")
COMMANDS = (ROOT / "docs/commands.md").read_text("utf-8")
GROUPS = yaml.safe_load((ROOT / "deploy/monitoring/alerts.yaml").read_text("utf-8"))["groups"]
RULES: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
METRICS = {metric.name: metric for metric in found_metrics()}
# The client library's own, and what Prometheus says of a scrape.
OTHERS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "up"}
SCRAPED = {"job", "instance"}
CASES = yaml.safe_load((ROOT / "deploy/monitoring/alerts.cases.yaml").read_text("utf-8"))["cases"]


def queries() -> Iterator[tuple[str, str]]:
    """Every query that somebody may run, by where it stands."""
    yield from ((alert, rule["expr"]) for alert, rule in RULES.items())
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard.panels:
            yield from ((f"{name}: {panel.title}", query) for query in panel.queries.values())


def metric_of(name: str) -> MetricDoc | None:
    """The metric of a series; a histogram has three."""
    stem = re.sub(r"_(bucket|count|sum)$", "", name)
    found = METRICS.get(name) or METRICS.get(stem)
    return found if found is None or found.kind == "histogram" or found.name == name else None


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_query_asks_for_series_and_labels_that_exist(where: str, query: str) -> None:
    names = re.findall(r"\b(creditwell_\w+|process_\w+|up)\b(?=\{|\[|\)|\s|$)", re.sub(r'"[^"]*"', '""', query))
    metrics = [metric_of(name) for name in names if name not in OTHERS]
    labels = {label for metric in metrics if metric is not None for label in re.findall(r"`(\w+)`", metric.labels)}
    asked_for = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query))
    for together in re.findall(r"\bby \(([^)]*)\)", query):
        asked_for |= {label.strip() for label in together.split(",")}

    assert names, where
    assert None not in metrics, where
    assert asked_for <= labels | SCRAPED | {"le"}, where
    assert query.count("(") == query.count(")"), where


def test_every_alert_says_how_urgent_it_is_what_it_means_and_where_to_read_on() -> None:
    for name, rule in RULES.items():
        assert rule["labels"]["severity"] in {"page", "ticket"}, name
        assert set(rule["annotations"]) == {"summary", "meaning", "runbook"}, name
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"


def test_every_alert_is_shown_what_makes_it_fire() -> None:
    assert list(dict.fromkeys(case["alert"] for case in CASES if "fires" in case)) == list(RULES)


def test_a_series_whose_increase_is_watched_begins_with_zero() -> None:
    health = Health("notices")
    NoticeMetrics(health)
    watched = re.findall(r"increase\((\w+)\{outcome=\"(\w+)\"\}", "\n".join(query for _, query in queries()))

    assert watched
    for name, outcome in watched:
        assert health.registry.get_sample_value(name, {"outcome": outcome}) == 0


def test_the_runbook_has_a_chapter_for_each_alert_and_no_other() -> None:
    chapters = dict(
        zip((parts := re.split(r"^## (\w+)$", RUNBOOK, flags=re.MULTILINE))[1::2], parts[2::2], strict=True)
    )

    assert list(chapters) == list(RULES)
    for name, chapter in chapters.items():
        assert chapter.strip().startswith(f"{RULES[name]['labels']['severity']}. **Means** "), name
        assert "\n**Look** " in chapter, name
        assert "\n**Do** " in chapter, name


def test_every_command_of_the_runbook_exists() -> None:
    named = set(re.findall(r"creditwell ((?:halted|refused|notices|topics) \w+|[a-z]+)", RUNBOOK))

    assert named
    assert [name for name in named if not re.search(rf"^### `creditwell {name}[` ]", COMMANDS, re.MULTILINE)] == []


def test_what_is_measured_is_looked_at_somewhere() -> None:
    text = " ".join(query for _, query in queries())

    assert [name for name in METRICS if name not in text and name != "creditwell_notice_oldest_seconds"] == [
        "creditwell_kafka_partitions"
    ]


def test_the_committed_dashboards_are_up_to_date(tmp_path: Path) -> None:
    assert dashboards.main(["--check"]) == 0
    assert dashboards.main(["--check"], tmp_path) == 1
    assert dashboards.main(["--chekc"]) == 2
