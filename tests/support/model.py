"""A slow, obvious model of a team's credits: told what happened in order, it knows what must be left. No code of ours."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass
class Bag:
    """Credits gained at one time."""

    number: int
    included: bool
    starts_at: datetime
    ends_at: datetime
    left: int

    @property
    def order(self) -> tuple[bool, datetime, datetime, int]:
        """Who pays first: included, what ends soonest, what is oldest."""
        return not self.included, self.ends_at, self.starts_at, self.number


@dataclass
class Purse:
    """What a team has. Enough for facts within one open cycle; nothing ends or is sealed here."""

    bags: list[Bag] = field(default_factory=list)
    debt: int = 0
    paid: dict[int, list[tuple[Bag, int]]] = field(default_factory=dict)
    owed: dict[int, int] = field(default_factory=dict)
    uses: int = 0
    used: int = 0

    @property
    def began(self) -> datetime:
        """Where the first cycle starts; what happened before it counts when it comes in."""
        return min((bag.starts_at for bag in self.bags if bag.included), default=FOREVER)

    @property
    def included(self) -> int:
        return sum(bag.left for bag in self.bags if bag.included)

    @property
    def additional(self) -> int:
        return sum(bag.left for bag in self.bags if not bag.included) - self.debt

    def told(self, position: int, type: str, occurred_at: datetime, recorded_at: datetime, body: bytes) -> None:
        """The next fact of the team."""
        data = json.loads(body)
        match type:
            case "usage.recorded.v1":
                self._use(position, data["credits"], occurred_at if occurred_at >= self.began else recorded_at)
            case "usage.voided.v1":
                self._void(data["usage_position"])
            case "credits.refilled.v1":
                self._gain(position, True, instant(data["starts_at"]), instant(data["ends_at"]), data["credits"])
            case "credits.topped_up.v1" | "credits.purchased.v1":
                self._gain(position, False, occurred_at, FOREVER, data["credits"])
            case "credits.granted.v1":
                ends_at = instant(data["expires_at"]) if "expires_at" in data else FOREVER
                self._gain(position, False, occurred_at, ends_at, data["credits"])
            case "charge.refunded.v1" | "charge.disputed.v1" | "dispute.closed.v1":
                taken = data.get("clawed_credits", data.get("frozen_credits", 0))
                self._take_back({data["lot"], *data.get("reinstated_lots", ())}, taken)
                self._gain(position, False, occurred_at, FOREVER, data.get("reinstated_credits", 0))
            case _:
                pass

    def _take_back(self, numbers: set[int], credits: int) -> None:
        for bag in self.bags:
            if bag.number in numbers:
                share = min(bag.left, credits)
                bag.left, credits = bag.left - share, credits - share
        self.debt += credits

    def _gain(self, position: int, included: bool, starts_at: datetime, ends_at: datetime, credits: int) -> None:
        self.bags.append(Bag(position, included, starts_at, ends_at, credits))

    def _use(self, position: int, credits: int, at: datetime) -> None:
        self.uses, self.used = self.uses + 1, self.used + credits
        payers = []
        for bag in sorted(self.bags, key=lambda bag: bag.order):
            if bag.starts_at <= at < bag.ends_at and bag.left and credits:
                share = min(bag.left, credits)
                bag.left, credits = bag.left - share, credits - share
                payers.append((bag, share))
        self.paid[position], self.owed[position] = payers, credits
        self.debt += credits

    def _void(self, usage: int) -> None:
        for bag, share in self.paid[usage]:
            bag.left += share
        self.debt -= self.owed[usage]
        self.uses, self.used = self.uses - 1, self.used - self.owed[usage] - sum(share for _, share in self.paid[usage])


def instant(text: str) -> datetime:
    """A time as facts write it."""
    return datetime.fromisoformat(text)


def purses(facts: Iterable[Any], known: dict[str, Purse] | None = None) -> dict[str, Purse]:
    """Every team's purse after these facts; goes on from `known`."""
    by_team = {} if known is None else known
    for fact in facts:
        by_team.setdefault(fact.team_id, Purse()).told(
            fact.position, fact.type, fact.occurred_at, fact.recorded_at, fact.body
        )
    return by_team
