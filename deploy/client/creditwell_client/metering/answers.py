"""A provider's answer as it passes, whole or streamed: what it says of usage, and nothing that nobody asked for."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .counts import anthropic_quantities, openai_quantities

END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n|\r\r")
COMPLETIONS, RESPONSES, MESSAGES = "/completions", "/responses", "/messages"
METERED = {
    "openai": (COMPLETIONS, RESPONSES, "/responses/compact", "/embeddings"),
    "anthropic": (MESSAGES,),
}
"""What is counted of each provider, by the end of the path. COMPLETIONS are those of chat, too."""

QUANTITIES: Mapping[str, Callable[..., dict[str, int]]] = {
    "openai": openai_quantities,
    "anthropic": anthropic_quantities,
    "litellm": openai_quantities,
}


@dataclass(frozen=True, slots=True)
class UncountedCall:
    """A call that was answered, at least in part, and for which nothing is charged, since nobody says what it used.

    Attributes:
        provider: "openai", "anthropic" or "litellm".
        model: as it was asked for.
        reason: what is missing.
    """

    provider: str
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class AskedCall:
    """A call that is metered.

    Attributes:
        hides_usage: whether usage was asked for in the caller's stead, and is taken out of what the caller gets.
    """

    provider: str
    model: str
    hides_usage: bool


class AnswerReading:
    """One answer that passes, from its first byte to its last, or to where the caller left it."""

    def __init__(
        self,
        call: AskedCall,
        *,
        is_stream: bool,
        on_usage: Callable[[AskedCall, dict[str, Any]], None],
        on_uncounted: Callable[[UncountedCall], None],
    ) -> None:
        self._call, self._is_stream = call, is_stream
        self._on_usage, self._on_uncounted = on_usage, on_uncounted
        self._kept = bytearray()
        self._searched = 0
        self._usage: dict[str, Any] = {}
        self._has_failed = False
        self._ending = threading.Lock()  # is taken once: who reads and the hold may end it at the same time

    def take(self, data: bytes) -> bytes:
        """Bytes came in; gives those that the caller gets now. Of a stream that is whole events alone."""
        if self._is_stream or not self._ending.locked():
            self._kept += data
        return b"".join(self._events()) if self._is_stream else data

    def rest(self) -> bytes:
        """The answer is whole: gives what is left of it, and reports."""
        tail = bytes(self._kept)
        if self._is_stream:
            self._hides(tail)
        else:
            self._read(_json(tail))
        self.end("the answer does not say what it used")
        return tail if self._is_stream else b""

    def end(self, reason: str = "the answer was left before the provider had said what it used") -> None:
        """Report what the provider has said so far. Later calls do nothing."""
        if not self._ending.acquire(blocking=False):
            return
        if not self._is_stream:
            self._kept.clear()
        if self._has_failed:
            return
        if self._usage:
            self._on_usage(self._call, self._usage)
        else:
            self._on_uncounted(UncountedCall(self._call.provider, self._call.model, reason))

    def _events(self) -> Iterator[bytes]:
        while match := END_OF_EVENT.search(self._kept, self._searched):
            event = bytes(self._kept[: match.end()])
            del self._kept[: match.end()]
            self._searched = 0
            if not self._hides(event):
                yield event
        self._searched = max(0, len(self._kept) - 3)  # an end may be here in part

    def _hides(self, event: bytes) -> bool:
        """Read an event; True where the caller did not ask for it."""
        if b'"usage"' not in event and b'"error"' not in event:  # most events, and not worth parsing
            return False
        lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
        body = _json(b"\n".join(lines))
        self._read(body)
        return self._call.hides_usage and bool(body.get("usage")) and body.get("choices") == []

    def _read(self, body: Mapping[str, Any]) -> None:
        """What a whole answer or one event says. Counts are totals so far: a later one replaces an earlier one."""
        inner = body.get("response") or body.get("message")  # of a stream of responses, and of messages
        about = inner if isinstance(inner, dict) else body
        self._has_failed |= bool(body.get("error") or about.get("error"))
        for usage in (about.get("usage"), body.get("usage")):
            if isinstance(usage, dict):
                self._usage |= {name: count for name, count in usage.items() if count is not None}


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):  # the end of a stream, "[DONE]"; a page of a proxy
        return {}
    return body if isinstance(body, dict) else {}
