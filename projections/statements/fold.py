"""In which cycle each entry counts, and what a cycle adds up to.

An entry counts at its own time. Where that lies in a cycle that was sealed when the entry was recorded, it counts at
its recorded time. What ends with a cycle ends in it. So nothing that is recorded after the seal of a cycle counts in it
or in one before: a statement is a pure function of the facts up to the seal, and each begins where the last one ended.

    opening + refilled + bought + topped up + granted + given back + adjusted + taken back
        − used − expired − refunded − disputed = closing

No clock, no randomness, no input or output.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.plain import NO_SNAPSHOTS, PlainPayment, plain_at_first, use_plainly
from projections.balance.state import ALWAYS, DEBT, NEVER, ActivityKind, BalanceEntry, Lot, TeamBalance
from projections.statements.lines import CycleOf, StatementLines
from projections.statements.payers import Payers
from projections.statements.usages import TeamUsages
from schemas.credits import MicroCredits
from schemas.cycles import Cycle
from schemas.facts import AnyFact, Stored, UsageRecorded

FEW = 16  # usages to take one by one where they are not all plain and nothing says which
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
    payers: Payers = field(default_factory=Payers)
    spendable: dict[int, MicroCredits] = field(default_factory=dict)
    plan: str = ""

    def take(self, stored: Stored) -> None:
        """The team's next fact. Raises as `Stored.fact` does; KeyError where it is about what is not there."""
        team, fact = self.team, stored.fact()
        sealed_until, debt = team.sealed_until, team.debt
        team.changed.clear()
        earlier = earlier_usage(fact)
        paid = () if earlier is None else self.payers.of(earlier)
        entries = evolve(team, stored, fact, paid, self.lots)
        self.lots.update(team.changed)
        at = counts_at(stored.occurred_at, stored.recorded_at, sealed_until)
        for entry in entries:
            if entry.kind is ActivityKind.USAGE:
                self.payers.note(entry.position, entry.paid)
            self._count(entry, fact, sealed_until)
        if at < self.cycle.ends_at:
            self.lines.pay(stored, fact, counts=at >= self.cycle.starts_at)
            self.remaining[DEBT] -= team.debt - debt
            self.plan = team.plan
        for number, lot in team.changed.items():
            self._follow(number, lot, at, ends_at(lot.ends_at, stored.recorded_at, sealed_until))

    def take_plainly(self, stored_facts: Sequence[Stored]) -> Iterator[Stored]:
        """The team's next facts: usage that one open lot pays is taken at once, to what `take` makes of it.

        What is not plain is given back: the caller has it taken before he asks for the next.
        """
        for is_usage, group in groupby(stored_facts, key=_is_usage):
            if is_usage:
                yield from self._use(list(group))
            else:
                yield from group

    def _use(self, stored_facts: Sequence[Stored]) -> Iterator[Stored]:
        try:
            usages = TeamUsages.of(stored_facts)
        except ValueError:  # whose it is, `take` will find out
            yield from stored_facts
            return
        start, most = 0, len(stored_facts)
        while start < len(stored_facts):
            part = usages.cut(start, start + most)
            count, plain = len(part.facts), part.plain_usages()
            self.team.changed.clear()
            payment = None if plain is None else use_plainly(self.team, plain, NO_SNAPSHOTS)
            if payment is not None:
                self._note_plainly(part, payment)
                start, most = start + count, most * 2
                continue
            at_first = count if plain is None else plain_at_first(self.team, plain, NO_SNAPSHOTS)
            if 0 < at_first < count:
                most = at_first
            elif at_first == count > FEW:
                most = FEW
            else:
                count = max(1, min(at_first, count))
                yield from stored_facts[start : start + count]
                start += count

    def _note_plainly(self, usages: TeamUsages, payment: PlainPayment) -> None:
        """Count usage that one lot has paid. All of it counts at its own time: none lies in a sealed cycle."""
        self.spendable[payment.lot] = self.team.changed[payment.lot].remaining
        self.payers.note_plainly(payment.lot, usages.positions, usages.credits)
        counted = usages.between(ALWAYS, self.cycle.ends_at)
        if not counted.facts:
            return
        self.plan = self.team.plan
        self.remaining[payment.lot] -= sum(counted.credits)
        earlier, own = counted.between(ALWAYS, self.cycle.starts_at), counted.between(self.cycle.starts_at, NEVER)
        if earlier.facts:
            self.sums["opening"].add(_burned(payment, earlier), -1)
        if own.facts:
            self.sums["used"].add(_burned(payment, own))
            self.lines.use_plainly(own.facts)

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


def _is_usage(stored: Stored) -> bool:
    return stored.type == UsageRecorded.type


def _burned(payment: PlainPayment, usages: TeamUsages) -> CreditSum:
    credits = sum(usages.credits)
    return CreditSum(credits, 0) if payment.is_included else CreditSum(0, credits)


def _line_of(entry: BalanceEntry) -> tuple[str, int] | None:
    if entry.kind in (ActivityKind.REFUND, ActivityKind.DISPUTE) and entry.credits > 0:
        return "given_back", 1
    return LINES[entry.kind]
