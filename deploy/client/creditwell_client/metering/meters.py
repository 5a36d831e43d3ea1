"""Where the counts of a call go: into a hold, or to an emitter."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..holds import Block
from .answers import QUANTITIES, AnswerReading, AskedCall, UncountedCall

Attributes = Mapping[str, str] | Callable[[str], Mapping[str, str]]
logger = logging.getLogger(__name__)


class Meter(Protocol):
    """What takes usage: a hold, or `TeamUsage`."""

    def used(self, *, feature: str | None, attributes: Mapping[str, str] | None, **quantities: int) -> None:
        """So much of each quantity was used."""


class UsageEmitter(Protocol):
    """The part of `creditwell_emitter.Emitter` that is needed here."""

    def report(
        self,
        *,
        team: str,
        feature: str,
        quantities: Mapping[str, int],
        member: str | None,
        attributes: Mapping[str, str] | None,
    ) -> object:
        """Say that a feature did paid work for a team."""


class TeamUsage:
    """Usage without a hold: of one team, and of a member of it, through an emitter. Make one for each request."""

    def __init__(
        self,
        emitter: UsageEmitter,
        *,
        team: str,
        feature: str,
        member: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self._emitter, self._team, self._feature, self._member = emitter, team, feature, member
        self._attributes = attributes

    def used(self, *, feature: str | None, attributes: Mapping[str, str] | None, **quantities: int) -> None:
        """Report it. Raises as `Emitter.report`."""
        self._emitter.report(
            team=self._team, feature=feature or self._feature, quantities=quantities, member=self._member,
            attributes=self._attributes if attributes is None else attributes,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CallMeter:
    """What becomes of the counts of a provider's answers. Never raises: an answer is not lost over its report."""

    to: Meter
    feature: str | None
    attributes: Attributes | None
    priced: Collection[str]
    tell_uncounted: Callable[[UncountedCall], None] | None

    def __post_init__(self) -> None:
        """Raises ValueError where it is not clear of which of a hold's items the work would be."""
        if isinstance(self.to, Block):
            self.to.planned(self.feature)

    def reading(self, call: AskedCall, *, is_stream: bool) -> AnswerReading:
        """What reads the answer of a call. One that is open when its hold ends says then what it knows."""
        reading = AnswerReading(call, is_stream=is_stream, on_usage=self.used, on_uncounted=self.uncounted)
        if isinstance(self.to, Block):
            self.to.before_end.append(reading.end)
        return reading

    def used(self, call: AskedCall, usage: dict[str, Any]) -> None:
        """The provider has said what a call used."""
        try:
            quantities = QUANTITIES[call.provider](usage, priced=self.priced)
            if quantities:
                attributes = self.attributes(call.model) if callable(self.attributes) else self.attributes
                self.to.used(feature=self.feature, attributes=attributes, **quantities)
        except Exception as error:
            logger.exception("what a call of %s used was not reported: %s", call.model, usage)
            self.uncounted(UncountedCall(call.provider, call.model, f"it was not reported: {error!r}"))

    def uncounted(self, call: UncountedCall) -> None:
        """Nobody says what a call used, or nobody took it."""
        if self.tell_uncounted is None:
            logger.warning("a call of %s's %s is not charged: %s", call.provider, call.model, call.reason)
            return
        try:
            self.tell_uncounted(call)
        except Exception:
            logger.exception("a call of %s's %s is not charged: %s", call.provider, call.model, call.reason)
