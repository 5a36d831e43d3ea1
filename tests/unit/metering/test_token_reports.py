"""Spans that tell what calls of models used are added up, to compare with: nothing is charged for them."""

from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from deploy.client.creditwell_client.metering.opentelemetry import REPORTS_MAX, TokenReport, TokenReports

CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.usage.input_tokens": 2600,
    "gen_ai.usage.cache_read.input_tokens": 2000,
    "gen_ai.usage.cache_creation.input_tokens": 400,
    "gen_ai.usage.output_tokens": 50,
    "gen_ai.usage.reasoning.output_tokens": 20,
}


def told(*spans: dict[str, Any], by: tuple[str, ...] = ()) -> TokenReports:
    """What is reported after these spans."""
    reports = TokenReports(by=by)
    provider = TracerProvider()
    provider.add_span_processor(reports)
    for attributes in spans:
        with provider.get_tracer("test").start_as_current_span("call", attributes=attributes):
            pass
    provider.shutdown()
    return reports


def test_calls_are_added_up_by_model_and_by_the_attributes_that_were_asked_for() -> None:
    reports = told(CALL | {"app.team": "team_42"}, CALL | {"app.team": "team_42"}, CALL, by=("app.team",))

    once = {
        "input_token": 200, "cached_input_token": 2000, "cache_write_token": 400, "output_token": 30, "reasoning_token": 20
    }  # fmt: skip
    assert reports.report() == [
        TokenReport("openai", "gpt-5", ("",), 1, once),
        TokenReport("openai", "gpt-5", ("team_42",), 2, {name: 2 * count for name, count in once.items()}),
    ]


def test_the_sums_that_an_agent_tells_are_not_added_to_those_of_its_calls() -> None:
    reports = told(CALL, CALL | {"gen_ai.operation.name": "invoke_agent"}, {"http.request.method": "POST"})

    assert [report.calls for report in reports.report()] == [1]
    assert reports.unreported == 0


def test_counts_that_are_none_and_values_without_end_stop_nobody() -> None:
    reports = told(CALL | {"gen_ai.usage.input_tokens": "many"})
    for number in range(REPORTS_MAX + 1):
        reports.on_end(_Ended(CALL | {"gen_ai.request.model": f"model-{number}"}))  # type: ignore[arg-type]

    assert len(reports.report()) == REPORTS_MAX
    assert reports.unreported == 2


class _Ended:
    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes = attributes
