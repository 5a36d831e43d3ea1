"""What leads back to whoever sent a usage: a trace, said by the event, else by a header of its record; a request's id.

A trace never decides anything. What is none is counted and dropped, and the usage is recorded as if it had none; the
same usage with another trace is a repetition.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog

from schemas.cloudevents import NO_TRACE, REQUEST_ID, TRACEPARENT, request_id_of, trace_of
from services.runtime.tracing.context import Trail, carrying
from services.store.append import Ready
from services.store.identities import Identity
from services.usage.door import ParsedUsage

log = structlog.get_logger("recorder")


class UsageTraces(NamedTuple):
    """What came with the facts of a batch, and how many texts were no trace."""

    kept: dict[Identity, Trail]
    malformed: int


def traces_of_usage(usages: Iterable[ParsedUsage], facts: Sequence[Ready]) -> UsageTraces:
    """The trails of those facts that are made of these usages: of a repetition's there is none to be kept."""
    came: dict[Identity, Trail] = {}
    malformed = 0
    for record, event, identity in usages:
        text: str | None = event.traceparent
        request_id: str | None = None
        for name, value in record.headers:  # here and in no function: it is done for every record
            if name == TRACEPARENT and text is None:
                text = (value or b"").decode("latin-1")
            elif name == REQUEST_ID and request_id is None:
                request_id = request_id_of((value or b"").decode("latin-1"))
        if text is None and request_id is None:
            continue
        trace = trace_of(text)
        malformed += trace == NO_TRACE
        if trace or request_id:
            came.setdefault(identity, Trail(trace or None, request_id))
    if came:
        new = {(fact.new.team_id, fact.new.source, fact.new.id) for fact in facts}
        came = {identity: trail for identity, trail in came.items() if identity in new}
    return UsageTraces(came, malformed)


def say_recorded(traces: UsageTraces) -> None:
    """A line at level debug for each usage that came with a trace or a request's id and is recorded now."""
    for (team_id, source, event_id), trail in traces.kept.items():
        with carrying(trail):
            log.debug("recorded", team_id=team_id, source=source, id=event_id)
