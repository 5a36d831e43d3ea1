"""Fold 1, frozen: what a balance came to before never-ending credits paid the debt. Slow, obvious, and no code of ours.

It says each entry's kind, parts and balance. Fold 2 changes who pays, never these.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.support.model import FOREVER, LONG_AGO, Bag, Payment, instant

OneEntry = tuple[str, int, int, int]  # kind, included, additional, balance after it
Change = tuple[str, int, int]

COMES = {
    "credits.purchased.v1": "purchase", "credits.topped_up.v1": "top_up", "credits.granted.v1": "grant",
    "credits.adjusted.v1": "adjustment",
}  # fmt: skip
SHOWN = {"top_up.failed.v1": "top_up_failed", "top_up.skipped.v1": "top_up_skipped"}


@dataclass
class FoldOne:
    """All bags that there ever were."""

    bags: list[Bag] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    paid: dict[int, list[Payment]] = field(default_factory=dict)
    debt: int = 0
    balance: int = 0
    sealed: datetime = LONG_AGO
    cycle_ends: datetime = FOREVER

    def told(
        self, position: int, type: str, occurred_at: datetime, recorded_at: datetime, body: bytes
    ) -> list[OneEntry]:
        """The entries of the next fact."""
        changes = self._ends(recorded_at)
        changes += self._does(position, type, occurred_at, recorded_at, json.loads(body))
        if type == "credits.refilled.v1":
            changes += self._ends(recorded_at)
        entries = []
        for kind, included, additional in changes:
            self.balance += included + additional
            entries.append((kind, included, additional, self.balance))
        return entries

    def _does(self, position: int, type: str, occurred_at: datetime, now: datetime, data: Any) -> list[Change]:
        credits = data.get("credits", 0)
        match type:
            case "usage.recorded.v1":
                return self._burn("usage", position, credits, now if occurred_at < self.sealed else occurred_at)
            case "hold.captured.v1":
                return self._burn("usage", position, credits, now)
            case "usage.voided.v1":
                return self._void(position, self.paid[data["usage_position"]], now)
            case "credits.refilled.v1":
                starts_at, self.cycle_ends = instant(data["starts_at"]), instant(data["ends_at"])
                self.sealed = starts_at if self.sealed == LONG_AGO else self.sealed
                self.bags.append(Bag(position, True, starts_at, self.cycle_ends, credits))
                return [("refill", credits, 0)]
            case "period.sealed.v1":
                self.sealed = max(self.sealed, instant(data["ends_at"]))
            case "credits.adjusted.v1" if credits < 0:
                return self._burn("adjustment", position, -credits, now)
            case "charge.refunded.v1":
                return [self._refund(position, now, data)]
            case kind if kind in COMES:
                ends_at = instant(data["expires_at"]) if "expires_at" in data else FOREVER
                self.bags.append(Bag(position, False, occurred_at, ends_at, credits))
                return [(COMES[kind], 0, credits)]
            case kind if kind in SHOWN:
                return [(SHOWN[kind], 0, 0)]
        return []

    def _ends(self, now: datetime) -> list[Change]:
        over = [bag for bag in self.bags if bag.ends_at <= now and bag.number not in self.ended]
        self.ended |= {bag.number for bag in over}
        left = [bag for bag in sorted(over, key=lambda bag: bag.order) if bag.left]
        return [("expiry", -bag.left, 0) if bag.included else ("expiry", 0, -bag.left) for bag in left]

    def _burn(self, kind: str, position: int, credits: int, at: datetime) -> list[Change]:
        payments: list[Payment] = []
        for bag in sorted(self.bags, key=lambda bag: bag.order):
            share = min(bag.left, credits) if bag.starts_at <= at < bag.ends_at else 0
            bag.left, credits = bag.left - share, credits - share
            payments.append((bag, share))
        self.debt += credits
        self.paid[position] = [*payments, (None, credits)]
        of_included = sum(share for bag, share in payments if bag and bag.included)
        of_others = sum(share for _, share in payments) + credits - of_included
        entries = [(kind, -of_included, -of_others)]
        back = [(bag.included, share) for bag, share in payments if bag and bag.number in self.ended and share]
        if back:
            given = sum(share for included, share in back if included)
            entries.append(("expiry", given, sum(share for _, share in back) - given))
        return entries

    def _void(self, position: int, payments: list[Payment], now: datetime) -> list[Change]:
        included = homeless = 0
        for bag, share in payments:
            if bag is None:
                self.debt -= share
            elif bag.ends_at <= now:
                homeless += share
            else:
                bag.left += share
                included += share if bag.included else 0
        if homeless:
            self.bags.append(Bag(position, True, now, self.cycle_ends, homeless))
        total = sum(share for _, share in payments)
        return [("usage_voided", included + homeless, total - included - homeless)]

    def _refund(self, position: int, now: datetime, data: Any) -> Change:
        clawed, back = data["clawed_credits"], data.get("reinstated_credits", 0)
        rest = clawed
        for bag in self.bags:
            if bag.number in {data["lot"], *data.get("reinstated_lots", ())}:
                share = min(bag.left, rest)
                bag.left, rest = bag.left - share, rest - share
        self.debt += rest
        if back:
            self.bags.append(Bag(position, False, now, FOREVER, back))
        return "refund", 0, back - clawed
