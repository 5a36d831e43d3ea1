"""What a team would have paid had another rate card held: its whole log, folded twice by the one fold.

The first fold takes every fact as it is, the second prices the usage since an instant anew. So credits are burned from
the same lots in the same order, what is taken back returns what it cost, and a card that prices alike changes nothing.
Usage that the card has no price for keeps its own, and is counted.

Top-ups are decided anew beside it, by the walk that simulates them (`projections.top_ups.simulation`), with the team's
own settings as they were, and a bank that takes each charge. A team whose usage costs what it did was charged what the
log says.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.state import ActivityKind, LotPayment, TeamBalance
from projections.top_ups.simulation import TopUpWalk
from schemas.catalog import Catalog
from schemas.credits import MicroCredits
from schemas.facts import AnyFact, CreditsToppedUp, HoldCaptured, Stored, UsageRecorded, UsageVoided
from schemas.pricing import CompiledCard, NotPriced

USED = (ActivityKind.USAGE, ActivityKind.USAGE_VOIDED)


@dataclass(slots=True)
class _Course:
    """One of the two folds: a balance, who paid what may be taken back, and credits used by feature."""

    team: TeamBalance
    paid: dict[int, tuple[LotPayment, ...]] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)

    def take(self, stored: Stored, fact: AnyFact, voided: frozenset[int], *, counts: bool) -> None:
        """One fact further; `counts` where its usage lies in the stretch that is asked for."""
        earlier = earlier_usage(fact)
        paid = () if earlier is None else self.paid.get(earlier, ())
        for entry in evolve(self.team, stored, fact, paid, self.team.changed):
            if entry.kind not in USED:
                continue
            if entry.position in voided:
                self.paid[entry.position] = entry.paid
            if counts:
                self.used[entry.feature or ""] -= entry.credits


@dataclass(slots=True)
class Charged:
    """Top-ups that were charged, or would have been: how many, and what they cost, in minor units by currency."""

    count: int = 0
    cents: Counter[str] = field(default_factory=Counter)

    def add(self, currency: str, cents: int) -> None:
        """One more."""
        self.count += 1
        self.cents[currency] += cents

    def include(self, other: "Charged") -> None:
        """Those as well."""
        self.count += other.count
        self.cents += other.cents


@dataclass(slots=True)
class Repriced:
    """A team under two prices; credits by feature are those used less those taken back, in micro-credits.

    Attributes:
        team_id: whose log it is.
        recorded: credits by feature as they were recorded.
        simulated: credits by feature by the other card.
        balance_recorded: the balance after its last fact.
        balance_simulated: the same by the other card, with the credits that came as they came.
        charged_recorded: the top-ups that were charged.
        charged_simulated: those that would have been. Their credits are not in `balance_simulated`.
        unpriced: how often the card had no price, by its reason in words.
    """

    team_id: str
    recorded: Counter[str]
    simulated: Counter[str]
    balance_recorded: MicroCredits
    balance_simulated: MicroCredits
    charged_recorded: Charged
    charged_simulated: Charged
    unpriced: Counter[str]

    @property
    def change(self) -> MicroCredits:
        """How many credits more it would have paid."""
        return self.simulated.total() - self.recorded.total()


class Repricing:
    """A team's log, fact by fact from its first; `voided` are the positions of usage that is taken back in it."""

    def __init__(
        self, team: tuple[str, int], card: CompiledCard, catalog: Catalog, since: datetime, voided: frozenset[int]
    ) -> None:
        """`team` is its id and its shard; the catalog says what top-ups cost."""
        self.card, self.since, self.voided = card, since, voided
        self.as_recorded, self.as_simulated = _Course(TeamBalance(team[0])), _Course(TeamBalance(team[0]))
        self.walk, self._began, self._another = TopUpWalk(*team, voided, catalog, since), False, False
        self.currency, self.charged = catalog.top_up.currency, Charged()
        self.unpriced: Counter[str] = Counter()

    def take(self, facts: Iterable[Stored]) -> None:
        """Go on by these facts. Raises what `Stored.fact` does."""
        for stored in facts:
            fact = stored.fact()
            worked_at = fact.usage_occurred_at if isinstance(fact, UsageVoided) else stored.occurred_at
            counts = worked_at >= self.since
            self.as_recorded.take(stored, fact, self.voided, counts=counts)
            priced = self._priced(fact) if counts else fact
            self.as_simulated.take(stored, priced, self.voided, counts=counts)
            self._top_up(stored, fact, priced)

    def _top_up(self, stored: Stored, fact: AnyFact, priced: AnyFact) -> None:
        """What the fact means for top-ups: those of the log, and those that are decided anew."""
        if stored.recorded_at < self.since:
            self.walk.take(stored, priced)
            return
        if not self._began:
            self._began = True
            self.walk.begin()
        self._another |= priced is not fact and priced != fact
        if isinstance(fact, CreditsToppedUp):
            self.charged.add(fact.currency, fact.charge_cents)
        self.walk.go_on(stored, priced)

    def _priced(self, fact: AnyFact) -> AnyFact:
        if not isinstance(fact, UsageRecorded | HoldCaptured) or fact.feature is None or fact.rate_card is None:
            return fact
        try:
            credits = self.card.price_used(fact.feature, fact.quantity, fact.quantities, fact.attributes)
        except NotPriced as unpriced:
            self.unpriced[unpriced.detail] += 1
            return fact
        if isinstance(fact, UsageRecorded):
            return msgspec.structs.replace(fact, credits=credits)
        return fact.model_copy(update={"credits": credits})

    def result(self, until: datetime) -> Repriced:
        """What came of it, with the top-ups that time alone brings up to an instant."""
        recorded, simulated = self.as_recorded, self.as_simulated
        charged = self.charged
        if self._another:
            charged = Charged()
            for top_up in self.walk.end(until):
                charged.add(self.currency, top_up.charge_cents)
        return Repriced(
            recorded.team.team_id,
            recorded.used,
            simulated.used,
            recorded.team.total,
            simulated.team.total,
            self.charged,
            charged,
            self.unpriced,
        )
