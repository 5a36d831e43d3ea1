"""May this team do this work? One decision for quotes, which only ask, and for holds, which set credits aside.

Beside yes there are five answers, in this order: `unknown_feature`, `plan_required`, `top_ups_required` (suspended
counts as enabled), `member_limit`, `exhausted`. What is the matter first is said, so a team that lacks the plan is not
told to buy credits.

It is asked before work starts. Work that was done is recorded whatever the answer would have been.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from projections.balance.state import TeamBalance
from schemas.catalog import Catalog
from schemas.credits import MicroCredits, format_credits
from schemas.pricing import CompiledCard, NotPriced

DenialReason = Literal["unknown_feature", "plan_required", "top_ups_required", "member_limit", "exhausted"]
REASONS: tuple[DenialReason, ...] = get_args(DenialReason)
Warn = Literal["member_limit"]


class PlannedWork(NamedTuple):
    """Work that is about to be done, and who does it; it is measured by `quantity`, or by several `quantities`."""

    feature: str
    quantity: str | None
    attributes: Mapping[str, str]
    member_id: str | None = None
    quantities: Mapping[str, str] | None = None


class Amount(NamedTuple):
    """So many micro-credits, whatever for."""

    credits: MicroCredits
    member_id: str | None = None


class Limit(NamedTuple):
    """What a member may use per day and per month of the team's zone, in micro-credits.

    None is no limit, 0 is nothing.
    """

    daily: int | None = None
    monthly: int | None = None
    hard: bool = True


class Spending(NamedTuple):
    """A member's limit, and what counts against it.

    That is what was used today and this month, and what open holds set aside.
    """

    limit: Limit
    today: int = 0
    month: int = 0
    held: MicroCredits = 0


class Verdict(NamedTuple):
    """The answer for one piece of work.

    `credits` is None where there is no price; `warning` marks and forbids nothing.
    """

    credits: MicroCredits | None
    reason: DenialReason | None = None
    detail: str | None = None
    warning: Warn | None = None


@dataclass(frozen=True, slots=True)
class Permission:
    """The answer for all of it. `affordable` is about the balance alone."""

    verdicts: tuple[Verdict, ...]
    credits: MicroCredits
    affordable: bool

    @property
    def reason(self) -> DenialReason | None:
        """What is the matter first, in the order of the five answers; None where all is allowed."""
        return min((verdict.reason for verdict in self.verdicts if verdict.reason), key=REASONS.index, default=None)

    @property
    def detail(self) -> str | None:
        """A sentence about it."""
        return next((verdict.detail for verdict in self.verdicts if verdict.reason == self.reason), None)

    @property
    def warning(self) -> Warn | None:
        """A soft limit that is reached."""
        return next((verdict.warning for verdict in self.verdicts if verdict.warning), None)


def permit(
    requests: Iterable[PlannedWork | Amount],
    team: TeamBalance,
    available: MicroCredits,
    members: Mapping[str, Spending],
    card: CompiledCard,
    catalog: Catalog,
) -> Permission:
    """Decide about each piece of work in its turn, as if those before it were done; `members` has those with a limit.

    Raises:
        NotPriced: too_large, the only thing that is wrong with the question rather than with the team.
    """
    verdicts: list[Verdict] = []
    total = 0
    credits_by_member: Counter[str] = Counter()
    for work in requests:
        verdict = _lacking(work, team, card, catalog)
        total += verdict.credits or 0
        if work.member_id is not None:
            credits_by_member[work.member_id] += verdict.credits or 0
            if (spending := members.get(work.member_id)) is not None:
                verdict = _limited(verdict, work.member_id, spending, credits_by_member[work.member_id])
        if verdict.reason is None and total > available:
            detail = f"{format_credits(max(0, available))} credits are available"
            verdict = verdict._replace(reason="exhausted", detail=detail)
        verdicts.append(verdict)
    return Permission(tuple(verdicts), total, affordable=total <= available)


def _lacking(work: PlannedWork | Amount, team: TeamBalance, card: CompiledCard, catalog: Catalog) -> Verdict:
    """The price of the work, and what its team lacks whatever the balance."""
    if isinstance(work, Amount):
        return Verdict(work.credits)
    try:
        credits = card.price_used(work.feature, work.quantity, work.quantities, work.attributes)
        needed = card.requirements(work.feature, work.attributes)
    except NotPriced as not_priced:
        if not_priced.reason == "too_large":
            raise
        return Verdict(None, "unknown_feature", not_priced.detail)
    if not catalog.plan_includes(team.plan, needed.plan):
        sold = catalog.plans.get(needed.plan or "")
        return Verdict(credits, "plan_required", f"this needs the plan {sold.name if sold else needed.plan}")
    if needed.top_ups and not team.top_up.enabled:
        return Verdict(credits, "top_ups_required", "this needs automatic top-ups to be enabled; an admin can do that")
    return Verdict(credits)


def _limited(verdict: Verdict, member_id: str, spending: Spending, requested_credits: MicroCredits) -> Verdict:
    """The verdict once the member's limit has its say.

    `requested_credits` is what the member asks for in all, this included.
    """
    limit, held = spending.limit, spending.held
    for most, used, period in ((limit.daily, spending.today, "day"), (limit.monthly, spending.month, "month")):
        if most is None or used + held + requested_credits <= most:
            continue
        if not limit.hard:
            return verdict._replace(warning="member_limit")
        remaining = format_credits(max(0, most - used - held))
        detail = f"{member_id} may use {format_credits(most)} credits a {period}, of which {remaining} are left"
        return verdict if verdict.reason else verdict._replace(reason="member_limit", detail=detail)
    return verdict
