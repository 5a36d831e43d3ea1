"""A callback for LiteLLM: every call that says whose it is becomes usage, through an emitter.

    litellm.callbacks = [UsageCallback(emitter, feature="ai_model.answer", attributes=lambda model: {"model": model})]
    whose = {"creditwell_team": "team_42", "creditwell_member": "mem_7"}
    litellm.completion(model="gpt-5", messages=messages, metadata=whose)

LiteLLM calls back when an answer is whole, on a thread of its own and perhaps after the block around the call is over.
So it is told to an emitter and not to a hold; in a hold say `hold.used(**openai_quantities(answer.usage))` yourself.
A call that failed, and a stream that was left, call nothing back: they cost nothing, and neither does an answer from
LiteLLM's own cache. For a stream of which nobody asked the provider for usage LiteLLM guesses the counts: that is not
charged, so streams want `stream_options={"include_usage": True}`.
"""

from collections.abc import Callable, Collection
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from .answers import AskedCall, UncountedCall
from .counts import PRICED
from .meters import Attributes, CallMeter, TeamUsage, UsageEmitter

TEAM, MEMBER = "creditwell_team", "creditwell_member"


class UsageCallback(CustomLogger):  # type: ignore[misc]  # LiteLLM is not installed where this is checked
    """For `litellm.callbacks`. Arguments are those of `wrap`; whose a call is stands in its metadata."""

    def __init__(
        self,
        emitter: UsageEmitter,
        *,
        feature: str,
        attributes: Attributes | None = None,
        priced: Collection[str] = PRICED,
        uncounted: Callable[[UncountedCall], None] | None = None,
    ) -> None:
        super().__init__()
        self._emitter, self._feature, self._attributes = emitter, feature, attributes
        self._priced, self._uncounted = priced, uncounted

    def log_success_event(self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:  # noqa: ARG002 - LiteLLM's signature
        """LiteLLM has the whole answer of a call."""
        if kwargs.get("cache_hit"):
            return
        metadata = (kwargs.get("litellm_params") or {}).get("metadata") or {}
        to = TeamUsage(self._emitter, team=str(metadata.get(TEAM)), member=metadata.get(MEMBER), feature=self._feature)
        meter = CallMeter(to, None, self._attributes, self._priced, self._uncounted)
        call = AskedCall("litellm", str(kwargs.get("model", "")), hides_usage=False)
        usage = getattr(response_obj, "usage", None)
        if metadata.get(TEAM) is None:
            meter.uncounted(UncountedCall(call.provider, call.model, f"its metadata has no {TEAM}"))
        elif usage is None or _is_guessed(kwargs):
            meter.uncounted(UncountedCall(call.provider, call.model, "the provider was not asked what it used"))
        else:
            meter.used(call, usage.model_dump())

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """The same, of a call that was awaited. LiteLLM calls one of the two."""
        self.log_success_event(kwargs, response_obj, start_time, end_time)


def _is_guessed(kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("stream")) and not (kwargs.get("stream_options") or {}).get("include_usage")
