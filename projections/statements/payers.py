"""Who paid each usage of a team, which its void has to be told."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from projections.balance.state import LotPayment
from schemas.credits import MicroCredits

Paid = tuple[LotPayment, ...]


class PlainPayments(NamedTuple):
    """Usages that one lot has paid, in order, sixteen bytes each."""

    lot: int
    positions: "array[int]"
    credits: "array[int]"


@dataclass(slots=True)
class Payers:
    """Lots by the position of the usage that they have paid. Plain usage goes in runs, for there may be much of it."""

    paid: dict[int, Paid] = field(default_factory=dict)
    runs: list[PlainPayments] = field(default_factory=list)

    def note(self, position: int, paid: Paid) -> None:
        """These have paid a usage."""
        self.paid[position] = paid

    def note_plainly(self, lot: int, positions: Sequence[int], credits: Sequence[MicroCredits]) -> None:
        """A lot has paid usages that come behind all others."""
        last = self.runs[-1] if self.runs else None
        if last is None or last.lot != lot:
            last = PlainPayments(lot, array("q"), array("q"))
            self.runs.append(last)
        last.positions.extend(positions)
        last.credits.extend(credits)

    def of(self, position: int) -> Paid:
        """Who has paid the usage at this position. Raises KeyError: there is none."""
        number = bisect_right(self.runs, position, key=lambda run: run.positions[0]) - 1
        if number >= 0:
            run = self.runs[number]
            index = bisect_left(run.positions, position)
            if index < len(run.positions) and run.positions[index] == position:
                return (LotPayment(run.lot, run.credits[index]),)
        return self.paid[position]
