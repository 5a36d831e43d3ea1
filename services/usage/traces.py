"""The traces with which usage came: said by the event, else by a header of its record.

A trace never decides anything. What is none is counted and dropped, and the usage is recorded as if it had none; the
same usage with another trace is a repetition.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog

from schemas.cloudevents import TRACEPARENT, trace_of
from services.runtime.tracing.context import trace_id
from services.store.append import Ready
from services.store.identities import Identity
from services.usage.door import ParsedUsage

log = structlog.get_logger("recorder")


class UsageTraces(NamedTuple):
    """The traces of the facts of a batch, and how many texts were none."""

    kept: dict[Identity, str]
    malformed: int


def traces_of_usage(usages: Iterable[ParsedUsage], facts: Sequence[Ready]) -> UsageTraces:
    """The traces of those facts that are made of these usages: of a repetition's there is none to be kept."""
    came: dict[Identity, str] = {}
    malformed = 0
    for record, event, identity in usages:
        text: str | None = event.traceparent
        if text is None:
            for name, value in record.headers:  # here and in no function: it is done for every record
                if name == TRACEPARENT:
                    text = (value or b"").decode("latin-1")
                    break
            else:
                continue
        trace = trace_of(text)
        if trace:
            came.setdefault(identity, trace)
        else:
            malformed += 1
    if came:
        new = {(fact.new.team_id, fact.new.source, fact.new.id) for fact in facts}
        came = {identity: trace for identity, trace in came.items() if identity in new}
    return UsageTraces(came, malformed)


def say_recorded(traces: UsageTraces) -> None:
    """A line at level debug for each usage that came with a trace and is recorded now."""
    for (team_id, source, event_id), trace in traces.kept.items():
        log.debug("recorded", team_id=team_id, source=source, id=event_id, trace_id=trace_id(trace))
