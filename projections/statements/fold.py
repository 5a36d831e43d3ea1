"""In which cycle each entry counts, and what a cycle adds up to.

An entry counts at its own time. Where that lies in a cycle that was sealed when the entry was recorded, it counts at
its recorded time. What ends with a cycle ends in it. So nothing that is recorded after the seal of a cycle counts in it
or in one before: a statement is a pure function of the facts up to the seal, and each begins where the last one ended.

    opening + refilled + bought + topped up + granted + given back + adjusted + taken back
        − used − expired − refunded − disputed = closing

No clock, no randomness, no input or output.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.state import ALWAYS, DEBT, ActivityKind, BalanceEntry, Lot, LotPayment, TeamBalance
from projections.statements.lines import CycleOf, StatementLines
from schemas.credits import MicroCredits
from schemas.cycles import Cycle
from schemas.facts import AnyFact, Stored

INSTANT = timedelta(microseconds=1)
# The line of the statement that counts an entry, and with which sign; top-ups that brought nothing change nothing.
# Every kind stands here: what no line counted would be missing between the opening and the closing balance.
LINES: dict[ActivityKind, tuple[str, int] | None] = {
    ActivityKind.REFILL: ("refilled", 1), ActivityKind.PURCHASE: ("bought", 1), ActivityKind.TOP_UP: ("topped_up", 1),
    ActivityKind.GRANT: ("granted", 1), ActivityKind.ADJUSTMENT: ("adjusted", 1), ActivityKind.USAGE: ("used", -1),
    ActivityKind.USAGE_VOIDED: ("taken_back", 1), ActivityKind.EXPIRY: ("expired", -1),
    ActivityKind.REFUND: ("refunded", -1), ActivityKind.DISPUTE: ("disputed", -1),
    ActivityKind.TOP_UP_FAILED: None, ActivityKind.TOP_UP_SKIPPED: None,
}  # fmt: skip
GAINS = ("refilled", "bought", "topped_up", "granted", "given_back", "adjusted", "taken_back")
LOSSES = ("used", "expired", "refunded", "disputed")


@dataclass(slots=True)
class CreditSum:
    """Credits, included and additional."""

    included: MicroCredits = 0
    additional: MicroCredits = 0

    @property
    def total(self) -> MicroCredits:
        """Both together."""
        return self.included + self.additional

    def add(self, entry: "BalanceEntry | CreditSum", sign: int = 1) -> None:
        """Count it in."""
        self.included += sign * entry.included
        self.additional += sign * entry.additional


@dataclass(slots=True)
class StatementFold:
    """A statement in the making: told each fact of the team up to the seal of the cycle, in order.

    Attributes:
        sums: credits by the line of the statement.
        remaining: what is left of each lot by the end, and the debt as lot 0. Less than nothing of a lot is debt, too:
            what came after the end has paid for work before it.
        plan: the plan at the cycle's end.
    """

    cycle: Cycle
    cycle_of: CycleOf
    team: TeamBalance
    sums: defaultdict[str, CreditSum] = field(default_factory=lambda: defaultdict(CreditSum))
    lines: StatementLines = field(default_factory=StatementLines)
    remaining: Counter[int] = field(default_factory=Counter)
    lots: dict[int, Lot] = field(default_factory=dict)
    paid: dict[int, tuple[LotPayment, ...]] = field(default_factory=dict)
    spendable: dict[int, MicroCredits] = field(default_factory=dict)
    plan: str = ""

    def take(self, stored: Stored) -> None:
        """The team's next fact. Raises as `Stored.fact` does; KeyError where it is about what is not there."""
        team, fact = self.team, stored.fact()
        sealed_until, debt = team.sealed_until, team.debt
        team.changed.clear()
        earlier = earlier_usage(fact)
        paid = () if earlier is None else self.paid[earlier]
        entries = evolve(team, stored, fact, paid, self.lots)
        self.lots.update(team.changed)
        at = counts_at(stored.occurred_at, stored.recorded_at, sealed_until)
        for entry in entries:
            if entry.kind is ActivityKind.USAGE:
                self.paid[entry.position] = entry.paid
            self._count(entry, fact, sealed_until)
        if at < self.cycle.ends_at:
            self.lines.pay(stored, fact, counts=at >= self.cycle.starts_at)
            self.remaining[DEBT] -= team.debt - debt
            self.plan = team.plan
        for number, lot in team.changed.items():
            self._follow(number, lot, at, ends_at(lot.ends_at, stored.recorded_at, sealed_until))

    def _count(self, entry: BalanceEntry, fact: AnyFact, sealed_until: datetime) -> None:
        is_end = entry.kind is ActivityKind.EXPIRY
        at = (ends_at if is_end else counts_at)(entry.occurred_at, entry.recorded_at, sealed_until)
        if at >= self.cycle.ends_at:
            return
        if at < self.cycle.starts_at:
            self.sums["opening"].add(entry)
        elif (line := _line_of(entry)) is not None:
            self.sums[line[0]].add(entry, line[1])
            self.lines.add(entry, fact, self.cycle_of)

    def _follow(self, number: int, lot: Lot, at: datetime, ends: datetime) -> None:
        """What changed of a lot: by its end, or by the fact."""
        before, after = self.spendable.get(number, 0), 0 if lot.ended else lot.remaining
        self.spendable[number] = after
        self._leave(number, ends if lot.ended else at, after - before)

    def _leave(self, number: int, at: datetime, credits: MicroCredits) -> None:
        if at < self.cycle.ends_at:
            self.remaining[number] += credits

    def close(self) -> CreditSum:
        """What is left at the end; call it when everything was told."""
        closing = self.sums["closing"]
        closing.add(self.sums["opening"])
        for name in GAINS:
            closing.add(self.sums[name])
        for name in LOSSES:
            closing.add(self.sums[name], -1)
        return closing

    def left_by_kind(self) -> dict[str, MicroCredits]:
        """Credits that are left at the end, by kind of lot, and the debt: together they are the closing balance."""
        kinds: Counter[str] = Counter()
        for number, credits in self.remaining.items():
            kinds[self.lots[number].kind if number != DEBT and credits > 0 else "debt"] += credits
        return {kind: credits for kind, credits in sorted(kinds.items()) if credits}


def counts_at(own: datetime, recorded_at: datetime, sealed_until: datetime) -> datetime:
    """The instant that decides in which cycle something counts: its own, or where that is sealed, its recorded one."""
    return recorded_at if sealed_until > ALWAYS and own < sealed_until else own


def ends_at(own: datetime, recorded_at: datetime, sealed_until: datetime) -> datetime:
    """The same for the end of a lot. It lies just before its instant: what ends with a cycle ends in it."""
    return counts_at(own - INSTANT, recorded_at, sealed_until)


def _line_of(entry: BalanceEntry) -> tuple[str, int] | None:
    if entry.kind in (ActivityKind.REFUND, ActivityKind.DISPUTE) and entry.credits > 0:
        return "given_back", 1
    return LINES[entry.kind]
