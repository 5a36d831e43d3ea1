"""Writes the dashboards of Grafana, one JSON file for each question that an operator has.

python -m deploy.monitoring.dashboards            writes them anew
python -m deploy.monitoring.dashboards --check    exits 1, naming each that is out of date
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).with_name("dashboards")
SOURCE = {"type": "prometheus", "uid": "${source}"}
COLUMNS, HEIGHT = 2, 8  # panels beside each other; Grafana's grid has 24 columns


class Panel(NamedTuple):
    """One graph: a title, Grafana's name of the unit, and queries by their legends."""

    title: str
    unit: str
    queries: Mapping[str, str]


class Dashboard(NamedTuple):
    """One question, and the panels that answer it."""

    title: str
    panels: Sequence[Panel]


def _quantiles(histogram: str, by: str = "") -> dict[str, str]:
    legend = f" {{{{{by}}}}}" if by else ""
    labels = f"le, {by}" if by else "le"
    return {
        f"p{percent}{legend}": f"histogram_quantile(0.{percent}, sum by ({labels}) (rate({histogram}_bucket[$__rate_interval])))"
        for percent in (50, 99)
    }


DASHBOARDS: Mapping[str, Dashboard] = {
    "keeping-up": Dashboard("Creditwell: is it keeping up?", (
        Panel("Age of the oldest that waits", "s", {"{{work}}": "max by (work) (creditwell_oldest_seconds)"}),
        Panel("How much waits", "short", {
            "{{work}}": "max by (work) (creditwell_waiting)", "usage": 'sum(creditwell_lag{work="usage"})',
        }),
        Panel("Usage a second", "short", {
            "{{outcome}}": "sum by (outcome) (rate(creditwell_usage_records_total[$__rate_interval]))",
        }),
        Panel("Facts projected a second", "short", {
            "facts": "sum(rate(creditwell_projected_facts_total[$__rate_interval]))",
        }),
        Panel("Append, before COMMIT", "s", _quantiles("creditwell_append_seconds")),
        Panel("COMMIT", "s", _quantiles("creditwell_commit_seconds")),
        Panel("Fold and save of a batch", "s", _quantiles("creditwell_fold_seconds")),
        Panel("Round trip to the database", "s", _quantiles("creditwell_database_seconds", "job")),
        Panel("Answers of the API", "s", _quantiles("creditwell_http_seconds", "route")),
        Panel("Waits for somebody else", "s", {"{{process}} {{work}}": "creditwell_held_up_seconds"}),
    )),
    "money": Dashboard("Creditwell: is money right?", (
        Panel("Stripe against the log", "short", {"{{type}}": "max by (type) (creditwell_reconcile_breaks)"}),
        Panel("Charged in a day, minor units", "short", {
            "{{kind}} {{currency}}": "sum by (kind, currency) (increase(creditwell_charged_cents_total[1d]))",
        }),
        Panel("Credits that came in a day", "short", {
            "{{kind}}": 'sum by (kind) (increase(creditwell_credits_total{direction="in"}[1d]))',
        }),
        Panel("Credits that went in a day", "short", {
            "{{kind}}": 'sum by (kind) (increase(creditwell_credits_total{direction="out"}[1d]))',
        }),
        Panel("Decisions about top-ups", "short", {
            "{{decision}}": "sum by (decision) (rate(creditwell_top_up_decisions_total[$__rate_interval]))",
        }),
        Panel("Oldest charge and oldest news of Stripe's", "s", {
            "charge": "max(creditwell_top_up_oldest_seconds)", "news": 'max(creditwell_oldest_seconds{work="inbox"})',
        }),
        Panel("Stripe's answers", "short", {
            "{{outcome}}": "sum by (outcome) (rate(creditwell_stripe_seconds_count[$__rate_interval]))",
        }),
        Panel("How long Stripe takes", "s", _quantiles("creditwell_stripe_seconds", "endpoint")),
        Panel("Holds that are open", "short", {"holds": "max(creditwell_holds_open)"}),
        Panel("Newest anchor, and newest with a word of each witness", "s", {
            "age": "time() - max(creditwell_anchor_timestamp_seconds > 0)",
            "{{witness}}": "time() - max by (witness) (creditwell_witnessed_timestamp_seconds)",
        }),
    )),
    "refused": Dashboard("Creditwell: is anything refused?", (
        Panel("Usage refused, by reason", "short", {
            "{{reason}}": "sum by (reason) (rate(creditwell_usage_refused_total[$__rate_interval]))",
        }),
        Panel("Attributes dropped, by why", "short", {
            "{{why}}": "sum by (why) (rate(creditwell_usage_attributes_dropped_total[$__rate_interval]))",
        }),
        Panel("Traces of usage, and malformed ones of requests", "short", {
            "{{outcome}}": "sum by (outcome) (rate(creditwell_usage_traces_total[$__rate_interval]))",
            "requests": "sum(rate(creditwell_http_traces_malformed_total[$__rate_interval]))",
        }),
        Panel("Share of refused usage", "percentunit", {"share": "max(creditwell_usage_refused_share)"}),
        Panel("Requests by status", "short", {
            "{{status}}": "sum by (status) (rate(creditwell_http_seconds_count[$__rate_interval]))",
        }),
        Panel("Asked too often", "short", {
            "{{limit}}": "sum by (limit) (rate(creditwell_http_too_many_requests_total[$__rate_interval]))",
        }),
        Panel("Notices", "short", {
            "{{outcome}}": "sum by (outcome) (rate(creditwell_notice_tries_total[$__rate_interval]))",
        }),
        Panel("Notices that wait and that were given up", "short", {"{{state}}": "sum by (state) (creditwell_notices)"}),
        Panel("Halted for one alone", "short", {"{{process}} {{work}}": "creditwell_halted"}),
        Panel("Thin webhooks", "short", {"webhooks": "sum(increase(creditwell_stripe_thin_events_total[1h]))"}),
    )),
    "process": Dashboard("Creditwell: one process", (
        Panel("Ready, stuck", "short", {
            "ready {{process}}": "creditwell_ready", "stuck {{process}}": "creditwell_stuck",
        }),
        Panel("Nothing has moved for", "s", {"{{process}} {{work}}": "creditwell_progress_age_seconds"}),
        Panel("Did not answer", "short", {
            "{{what}}: {{error}}": "sum by (what, error) (rate(creditwell_away_total[$__rate_interval]))",
        }),
        Panel("Streams and downloads", "short", {"{{kind}}": "sum by (kind) (creditwell_http_open)"}),
        Panel("Processor", "percentunit", {"{{job}}": 'rate(process_cpu_seconds_total{job=~"creditwell.*"}[$__rate_interval])'}),
        Panel("Memory", "bytes", {"{{job}}": 'process_resident_memory_bytes{job=~"creditwell.*"}'}),
        Panel("Descriptors", "short", {"{{job}}": 'process_open_fds{job=~"creditwell.*"}'}),
        Panel("Room of the largest tables", "bytes", {"{{table}}": "topk(10, max by (table) (creditwell_table_bytes))"}),
        Panel("Spans, by what became of them", "short", {
            "{{job}} {{outcome}}": "sum by (job, outcome) (rate(creditwell_spans_total[$__rate_interval]))",
        }),
        Panel("Build", "short", {"{{process}} {{version}} {{python}}": "creditwell_build_info"}),
    )),
}  # fmt: skip


def main(arguments: Sequence[str], folder: Path = FOLDER) -> int:
    """Write the dashboards into `folder`, or with --check say which are not as they should be."""
    if unknown := set(arguments) - {"--check"}:
        print(f"unknown argument {', '.join(sorted(unknown))}: only --check is known", file=sys.stderr)
        return 2
    texts = {folder / f"{name}.json": _text(name, dashboard) for name, dashboard in DASHBOARDS.items()}
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.name} is out of date: run python -m deploy.monitoring.dashboards", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(texts[path], "utf-8")
    return 0


def _text(name: str, dashboard: Dashboard) -> str:
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    model = {
        "uid": f"creditwell-{name}", "title": dashboard.title, "tags": ["creditwell"], "schemaVersion": 39,
        "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "templating": {"list": [source]},
        "panels": list(_panels(dashboard)),
    }  # fmt: skip
    return json.dumps(model, indent=2) + "\n"


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    width = 24 // COLUMNS
    for number, panel in enumerate(dashboard.panels):
        row, column = divmod(number, COLUMNS)
        targets = [
            {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for at, (legend, query) in enumerate(panel.queries.items())
        ]
        yield {
            "id": number + 1, "type": "timeseries", "title": panel.title, "datasource": SOURCE,
            "gridPos": {"x": column * width, "y": row * HEIGHT, "w": width, "h": HEIGHT},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []}, "targets": targets,
        }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
