"""What spans say that calls of models used: figures to compare with, never a charge.

    tokens = TokenReports(by=("app.team",))
    tracer_provider.add_span_processor(tokens)
    tokens.report()  # [TokenReport(provider="openai", model="gpt-5", ..., quantities={"input_token": 1200, ...})]

Spans are sampled, dropped when an exporter is slow, and may be written by anybody who has a tracer: nothing here sends
usage, and no credits are taken. A report beside the activity of the same hours shows calls that nobody metered.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from .counts import openai_quantities

CALLS = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
"""Operations of one call. Those of agents and workflows tell the sums of the calls within them."""
EVERY_PART = frozenset({"input_token", "cached_input_token", "cache_write_token", "output_token", "reasoning_token"})
REPORTS_MAX = 10_000  # a value that differs in each span would fill the memory


@dataclass(frozen=True, slots=True)
class TokenReport:
    """What the spans of one kind told.

    Attributes:
        by: the values of the attributes that were asked for, empty where a span had none.
        calls: how many spans.
        quantities: as `openai_quantities` has them, every part on its own.
    """

    provider: str
    model: str
    by: tuple[str, ...]
    calls: int
    quantities: Mapping[str, int]


class TokenReports(SpanProcessor):
    """Adds up `gen_ai.usage.*` of spans that end, by provider, model, and the attributes in `by`. Charges nothing."""

    def __init__(self, *, by: Sequence[str] = ()) -> None:
        self._by = tuple(by)
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, str, tuple[str, ...]], TokenReport] = {}
        self.unreported = 0  # spans beyond what is kept apart, or with counts that are none

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Usage is known when a span ends."""

    def on_end(self, span: ReadableSpan) -> None:
        """Count a span that is a call of a model. Never raises: telemetry stops nobody."""
        attributes = dict(span.attributes or {})
        if attributes.get("gen_ai.operation.name") not in CALLS or "gen_ai.usage.input_tokens" not in attributes:
            return
        model = attributes.get("gen_ai.request.model") or attributes.get("gen_ai.response.model") or ""
        provider = attributes.get("gen_ai.provider.name") or attributes.get("gen_ai.system") or ""
        key = (str(provider), str(model), tuple(str(attributes.get(name, "")) for name in self._by))
        try:
            quantities = openai_quantities(_as_openai(attributes), priced=EVERY_PART)
        except ValueError:
            self.unreported += 1
            return
        with self._lock:
            before = self._sums.get(key, TokenReport(*key, 0, {}))
            if not before.calls and len(self._sums) >= REPORTS_MAX:
                self.unreported += 1
                return
            sums = dict(before.quantities)
            for name, count in quantities.items():
                sums[name] = sums.get(name, 0) + count
            self._sums[key] = TokenReport(*key, before.calls + 1, sums)

    def report(self) -> list[TokenReport]:
        """What was told since the process began, in the order of providers and models."""
        with self._lock:
            return [self._sums[key] for key in sorted(self._sums)]

    def shutdown(self) -> None:
        """Nothing waits."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the interface's signature
        """Nothing waits."""
        return True


def _as_openai(attributes: Mapping[str, object]) -> dict[str, object]:
    """The conventions count as OpenAI does: input tokens contain those of the cache, output tokens the reasoning."""
    return {
        "input_tokens": attributes.get("gen_ai.usage.input_tokens"),
        "output_tokens": attributes.get("gen_ai.usage.output_tokens"),
        "input_tokens_details": {
            "cached_tokens": attributes.get("gen_ai.usage.cache_read.input_tokens"),
            "cache_write_tokens": attributes.get("gen_ai.usage.cache_creation.input_tokens"),
        },
        "output_tokens_details": {"reasoning_tokens": attributes.get("gen_ai.usage.reasoning.output_tokens")},
    }
