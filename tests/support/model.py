"""A slow, obvious model of a team's credits: told what happened in order, it knows what must be left. No code of ours."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

FOREVER = datetime.max.replace(tzinfo=UTC)
LONG_AGO = datetime.min.replace(tzinfo=UTC)
PAYERS_MAX = 100


@dataclass(eq=False)
class Bag:
    """Credits gained at one time; nothing is ever forgotten."""

    number: int
    included: bool
    starts_at: datetime
    ends_at: datetime
    left: int

    @property
    def order(self) -> tuple[bool, datetime, datetime, int]:
        """Who pays first: included, what ends soonest, what is oldest."""
        return not self.included, self.ends_at, self.starts_at, self.number

    @property
    def never_ends(self) -> bool:
        """Only such a bag pays debt."""
        return self.ends_at == FOREVER and not self.included


Payment = tuple[Bag | None, int]  # None is debt


@dataclass
class Purse:
    """What a team has. Everything is worked out anew from all bags, each time."""

    bags: list[Bag] = field(default_factory=list)
    debt: int = 0
    payers: list[tuple[Bag, int]] = field(default_factory=list)
    paid: dict[int, list[Payment]] = field(default_factory=dict)
    now: datetime = LONG_AGO
    sealed: datetime = LONG_AGO
    cycle_ends: datetime = FOREVER
    uses: int = 0
    used: int = 0

    @property
    def included(self) -> int:
        return sum(bag.left for bag in self.bags if bag.included and bag.ends_at > self.now)

    @property
    def additional(self) -> int:
        return sum(bag.left for bag in self.bags if not bag.included and bag.ends_at > self.now) - self.debt

    def told(
        self, position: int, type: str, occurred_at: datetime, recorded_at: datetime, body: bytes, source: str = ""
    ) -> None:
        """The next fact of the team."""
        data = json.loads(body)
        credits, self.now = data.get("credits", 0), recorded_at
        match type:
            case "usage.recorded.v1":
                at = recorded_at if occurred_at < self.sealed else occurred_at
                self._use(position, credits, at, data.get("corrects"), min(occurred_at, recorded_at))
            case "hold.captured.v1":
                self._use(position, credits, recorded_at, None, recorded_at)
            case "usage.voided.v1" if source == "creditwell:amendments":
                pass  # the usage right behind it says what of it comes back
            case "usage.voided.v1":
                self._return(position, self.paid[data["usage_position"]], self.now)
                self.uses -= 1
            case "credits.refilled.v1":
                self._refill(position, instant(data["starts_at"]), instant(data["ends_at"]), credits)
            case "period.sealed.v1":
                self.sealed = max(self.sealed, instant(data["ends_at"]))
            case "credits.adjusted.v1" if credits < 0:
                self._need(-credits, recorded_at, [bag for bag in self.bags if bag.number == data.get("burns_lot")])
            case "credits.topped_up.v1" | "credits.purchased.v1" | "credits.granted.v1" | "credits.adjusted.v1":
                ends_at = instant(data["expires_at"]) if "expires_at" in data else FOREVER
                self._gain(Bag(position, included=False, starts_at=occurred_at, ends_at=ends_at, left=credits))
            case "charge.refunded.v1" | "charge.disputed.v1" | "dispute.closed.v1":
                taken = data.get("clawed_credits", data.get("frozen_credits", 0))
                if type != "dispute.closed.v1":
                    self._take_back({data["lot"], *data.get("reinstated_lots", ())}, taken)
                if back := data.get("reinstated_credits", 0):
                    self._gain(Bag(position, included=False, starts_at=occurred_at, ends_at=FOREVER, left=back))
            case _:
                pass

    def _refill(self, position: int, starts_at: datetime, ends_at: datetime, credits: int) -> None:
        if self.sealed == LONG_AGO:
            self.sealed = starts_at  # what happened before the first cycle counts when it comes in
        self.cycle_ends = ends_at
        self._gain(Bag(position, included=True, starts_at=starts_at, ends_at=ends_at, left=credits))

    def _gain(self, bag: Bag) -> None:
        """Credits that come; those that never end pay the debt first."""
        self.bags.append(bag)
        self._pay_debt(bag)

    def _pay_debt(self, bag: Bag) -> None:
        share = min(bag.left, self.debt) if bag.never_ends else 0
        if share:
            bag.left, self.debt = bag.left - share, self.debt - share
            self.payers = [*self.payers, (bag, share)][-PAYERS_MAX:]

    def _need(self, credits: int, at: datetime, first: Collection[Bag] = ()) -> list[Payment]:
        """Bags of that time pay, these of them first, then bags that never end, then nobody does."""
        in_time = sorted((bag for bag in self.bags if bag.starts_at <= at < bag.ends_at), key=lambda bag: bag.order)
        return self._take(credits, [*(bag for bag in in_time if bag in first), *in_time])

    def _take_back(self, numbers: set[int], credits: int) -> None:
        """Of a payment: from its own bags, then from those that never end. What they paid of a debt stays paid."""
        self._take(credits, [bag for bag in self.bags if bag.number in numbers])
        self.payers = [(bag, share) for bag, share in self.payers if bag.number not in numbers]

    def _take(self, credits: int, bags: list[Bag]) -> list[Payment]:
        endless = sorted((bag for bag in self.bags if bag.never_ends), key=lambda bag: bag.order)
        payments: list[Payment] = []
        for bag in [*bags, *(bag for bag in endless if bag.starts_at <= self.now)]:
            share = min(bag.left, credits)
            bag.left, credits = bag.left - share, credits - share
            payments.append((bag, share))
        self.debt += credits
        return [*payments, (None, credits)]

    def _use(self, position: int, credits: int, at: datetime, corrects: int | None, since: datetime) -> None:
        kept: list[Payment] = []
        back: list[Payment] = []
        for bag, share in self.paid[corrects] if corrects is not None else []:
            keeps = min(share, credits - sum(kept_share for _, kept_share in kept))
            kept.append((bag, keeps))
            back.append((bag, share - keeps))
        more = credits - sum(share for _, share in kept)
        self.uses, self.used = self.uses + (corrects is None), self.used + more
        self._return(position, back, since)
        given_back = (
            [bag for bag in self.bags if bag.included and bag.ends_at > self.now] if corrects is not None else []
        )
        self.paid[position] = [*kept, *self._need(more, at, given_back)]

    def _return(self, position: int, paid: list[Payment], since: datetime) -> None:
        homeless = nobodys = 0
        for bag, share in paid:
            self.used -= share
            if bag is None:
                nobodys += self._return_debt(share)
            elif bag.ends_at > self.now:
                bag.left += share
                self._pay_debt(bag)
            else:
                homeless += share
        if homeless:
            self._gain(Bag(position, included=True, starts_at=since, ends_at=self.cycle_ends, left=homeless))
        if nobodys:
            number = -position if homeless else position
            self._gain(Bag(number, included=False, starts_at=since, ends_at=FOREVER, left=nobodys))

    def _return_debt(self, credits: int) -> int:
        """To the debt, then to those who paid debt, the newest first; what is left is nobody's."""
        share = min(self.debt, credits)
        self.debt, credits = self.debt - share, credits - share
        while credits and self.payers:
            bag, paid = self.payers.pop()
            share = min(paid, credits)
            bag.left, credits = bag.left + share, credits - share
            if share < paid:
                self.payers.append((bag, paid - share))
        return credits


def instant(text: str) -> datetime:
    """A time as facts write it."""
    return datetime.fromisoformat(text)


def purses(facts: Iterable[Any], known: dict[str, Purse] | None = None) -> dict[str, Purse]:
    """Every team's purse after these facts; goes on from `known`."""
    by_team = {} if known is None else known
    for fact in facts:
        by_team.setdefault(fact.team_id, Purse()).told(
            fact.position, fact.type, fact.occurred_at, fact.recorded_at, fact.body, fact.source
        )
    return by_team
