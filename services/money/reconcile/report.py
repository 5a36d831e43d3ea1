"""What a comparison saw: sums of both sides over the payments of a time, exact about its edges.

A payment belongs to the time in which Stripe made it, whenever its credits came or what of it went back. So two times
that meet count each payment once, and what one side has of a payment is held against what the other has of the same.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from services.money.reconcile.breaks import Break, BreakKind, Payment
from services.money.reversals import seen_of

BEGINNING = datetime(2011, 1, 1, tzinfo=UTC)  # before Stripe
END = datetime(9999, 1, 1, tzinfo=UTC)


class Period(NamedTuple):
    """A time: it holds its beginning and not its end. Stripe says whole seconds."""

    since: datetime = BEGINNING
    until: datetime = END

    def holds(self, instant: datetime) -> bool:
        """True for an instant of this time."""
        return self.since <= instant < self.until

    def wider(self, by: timedelta) -> "Period":
        """With so much more at both ends, where there is an end."""
        since = self.since - by if self.since > BEGINNING else self.since
        return Period(since, self.until + by if self.until < END else self.until)

    @property
    def bounds(self) -> tuple[datetime | None, datetime | None]:
        """Both ends as somebody said them; None where nobody did."""
        return self.since if self.since > BEGINNING else None, self.until if self.until < END else None


@dataclass(slots=True)
class Report:
    """What a comparison saw, what it healed, and what it leaves.

    Attributes:
        period: the time whose payments it is about.
        payments: how many there are at Stripe, paid or not.
        credits: how many brought credits, by the log.
        charged: what Stripe took, in minor units by currency; as all sums are.
        credited: what was paid for credits, by the log.
        refunded: what was given back of it, at Stripe.
        refunded_by_log: the same as the log has it.
        disputed: what banks hold or have kept of it, at Stripe.
        disputed_by_log: the same as the log has it.
        breaks: what is left.
        healed: what was, and is mended.
    """

    period: Period = field(default_factory=Period)
    payments: int = 0
    credits: int = 0
    charged: dict[str, int] = field(default_factory=dict)
    credited: dict[str, int] = field(default_factory=dict)
    refunded: dict[str, int] = field(default_factory=dict)
    refunded_by_log: dict[str, int] = field(default_factory=dict)
    disputed: dict[str, int] = field(default_factory=dict)
    disputed_by_log: dict[str, int] = field(default_factory=dict)
    breaks: list[Break] = field(default_factory=list)
    healed: list[Break] = field(default_factory=list)

    @property
    def by_type(self) -> dict[str, int]:
        """How many breaks of each type are left; the types that there are none of, too."""
        return {kind.value: sum(one.type is kind for one in self.breaks) for kind in BreakKind}

    def count(self, payment: Payment) -> None:
        """Add a payment to the sums, if it is of this time and somebody of ours was charged or credited."""
        intent, account = payment.intent, payment.account
        if not self.period.holds(intent.created_at if intent is not None else payment.credits[0].recorded_at):
            return
        self.credits += len(payment.credits)
        for credit in payment.credits:
            _add(self.credited, credit.currency, credit.charge_cents)
        if account is not None:
            _add(self.refunded_by_log, account.currency, account.refunded_cents)
            _add(self.disputed_by_log, account.currency, sum(one.away_cents for one in account.disputes.values()))
        if intent is None or intent.state != "succeeded" or not (payment.credits or "team_id" in intent.metadata):
            return
        _add(self.charged, intent.currency, intent.amount_cents)
        _add(self.refunded, intent.currency, intent.refunded_cents)
        for dispute in seen_of(intent, payment.disputes, account).disputes.values():
            _add(self.disputed, intent.currency, dispute.away_cents)


def _add(sums: dict[str, int], currency: str, cents: int) -> None:
    if cents:
        sums[currency] = sums.get(currency, 0) + cents
