"""Plans: how a team comes to exist, and how its included credits change.

The first plan brings the team into being and its first refill along, in one transaction. An upgrade adds the difference
of the allowances at once, a downgrade counts from the next cycle; the anchor stays, so cycles never move. Whoever goes
up, down and up again within a cycle gets the difference once: what counts is what the cycle was given so far.

A plan itself may change: the catalog says other credits for it. Then a team that has it gets its new version as a fact,
and the new credits with its next cycle (`plan_versions` does it for all teams). An older catalog moves nobody back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.catalog import Catalog, Plan
from schemas.cycles import UnknownZone, cycle, cycle_at, load_zone
from schemas.facts import NO_ID, RATE_CARD_TEAM, CreditsRefilled, NewFact, PlanAssigned, is_id
from schemas.places import Place
from services.runtime.errors import Refused
from services.store.append import append, lock_shard
from services.store.connect import Connection
from services.store.cycles import CYCLES, Standing, refill, refills_due, standings
from services.store.identities import Identity, find
from services.store.numbered import number_of, numbered

PLANS = "creditwell:plans"


@dataclass(frozen=True, slots=True)
class PlanAssignment:
    """The plan of a team, and the position of the fact that says so. `changed` is False if it was so already."""

    place: Place
    plan: str
    anchor: datetime
    zone: str
    changed: bool


async def assign_plan(
    connection: Connection,
    catalog: Catalog,
    team_id: str,
    plan: str,
    *,
    anchor: datetime | None = None,
    zone: str | None = None,
    assigned_by: str | None = None,
) -> PlanAssignment:
    """Give a team its first plan, another one, or the catalog's version of its own, in the caller's transaction.

    Cycles are reckoned from `anchor` in `zone`: the moment of the first plan and UTC if nobody says. Both stay for
    ever.

    Raises:
        Refused: unknown_plan, unknown_zone, invalid_team, or anchor_fixed.
    """
    check_team_id(team_id)
    if plan not in catalog.plans:
        raise Refused("unknown_plan", f"{plan!r:.140} is not sold: write one of {', '.join(catalog.plans)}")
    now = await lock_shard(connection, team_id)
    standing = await _standing(connection, team_id)
    if standing is None:
        fact = _plan(catalog, plan, _anchor(anchor, now), _zone(zone), assigned_by)
        return await _assign_first(connection, team_id, fact, now)
    last = standing.plan
    _check_fixed(last, anchor, zone)
    if last.plan == plan and not has_changed(last, catalog.plans[plan]):
        return PlanAssignment(standing.place, last.plan, last.anchor, last.zone, changed=False)
    fact = _plan(catalog, plan, last.anchor, last.zone, assigned_by)
    return await _assign_next(connection, team_id, fact, standing, now)


async def renew_plan(connection: Connection, catalog: Catalog, team_id: str, assigned_by: str) -> bool:
    """Give a team the catalog's version of the plan that it has, in the caller's transaction; False if it has it.

    Raises:
        Refused: unknown_zone.
    """
    now = await lock_shard(connection, team_id)
    standing = await _standing(connection, team_id)
    last = standing.plan if standing is not None else None
    sold = catalog.plans.get(last.plan) if last is not None else None
    if standing is None or last is None or sold is None or not has_changed(last, sold):
        return False
    fact = _plan(catalog, last.plan, last.anchor, last.zone, assigned_by)
    await _assign_next(connection, team_id, fact, standing, now)
    return True


def has_changed(assigned: PlanAssigned, sold: Plan) -> bool:
    """True if the catalog gives other credits for a plan than were assigned, and is not older than that."""
    gives = (sold.allowance_credits, sold.notice_threshold_credits)
    return not is_older(sold, assigned) and gives != (assigned.allowance_credits, assigned.notice_threshold_credits)


def is_older(sold: Plan, assigned: PlanAssigned) -> bool:
    """True if a team has a newer version of a plan than the catalog."""
    return sold.version < (assigned.version or 1)


def check_team_id(team_id: str) -> None:
    """Refuse what can't be a team's id, and the name under which rate cards are kept.

    Raises:
        Refused: `invalid_team`.
    """
    if not is_id(team_id):
        raise Refused("invalid_team", f"{team_id!r:.140} can't be a team: {NO_ID}")
    if team_id == RATE_CARD_TEAM:
        raise Refused("invalid_team", f"{RATE_CARD_TEAM!r} is the product itself and can't be a team")


async def _standing(connection: Connection, team_id: str) -> Standing | None:
    try:
        return next(iter(await standings(connection, [team_id])), None)
    except UnknownZone as unknown:
        raise _strange(unknown) from unknown


def _strange(unknown: UnknownZone) -> Refused:
    """A newer build brought the team into being, or an older one did."""
    return Refused("unknown_zone", f"this build can't reckon the team's cycles: {unknown}")


def _anchor(anchor: datetime | None, now: datetime) -> datetime:
    if anchor is None:
        return now
    if abs(anchor.astimezone(UTC).year - now.year) > 50:
        raise Refused("invalid_anchor", f"anchor {anchor.isoformat()} is more than 50 years away; is it misspelt?")
    return anchor.astimezone(UTC)


def _zone(zone: str | None) -> str:
    try:
        return load_zone(zone or "UTC").key
    except UnknownZone as unknown:
        raise Refused("unknown_zone", str(unknown)) from unknown


def _check_fixed(standing: PlanAssigned, anchor: datetime | None, zone: str | None) -> None:
    if (anchor is not None and anchor != standing.anchor) or (zone is not None and zone != standing.zone):
        fixed = f"{standing.anchor.isoformat()} in {standing.zone}"
        raise Refused(
            "anchor_fixed", f"cycles are reckoned from {fixed} for ever: leave anchor and zone out, or repeat them"
        )


def _plan(catalog: Catalog, plan: str, anchor: datetime, zone: str, assigned_by: str | None) -> PlanAssigned:
    sold = catalog.plans[plan]
    return PlanAssigned(
        plan=plan, anchor=anchor, zone=zone, allowance_credits=sold.allowance_credits,
        notice_threshold_credits=sold.notice_threshold_credits, version=sold.version, assigned_by=assigned_by,
    )  # fmt: skip


async def _assign_first(connection: Connection, team_id: str, fact: PlanAssigned, now: datetime) -> PlanAssignment:
    first = NewFact(team_id, PLANS, numbered("plan", 1), now, fact)
    opening = refill(fact, first.id, team_id, cycle_at(fact.anchor, fact.zone, now))
    return await _append(connection, [first, opening], first, fact)


async def _assign_next(
    connection: Connection, team_id: str, fact: PlanAssigned, previous: Standing, now: datetime
) -> PlanAssignment:
    try:
        load_zone(fact.zone)
    except UnknownZone as unknown:
        raise _strange(unknown) from unknown
    # Cycles that began under the old plan are refilled by the old plan, so they go before the change.
    due = await refills_due(connection, [team_id], now)
    following = NewFact(team_id, PLANS, numbered("plan", number_of(previous.plan_id) + 1), now, fact)
    other = fact.plan != previous.plan.plan  # a new version of the same plan counts from the next cycle
    added = await _upgrade(connection, following, fact, [new.fact for new in due], now) if other else []
    return await _append(connection, [*due, following, *added], following, fact)


async def _upgrade(
    connection: Connection, new: NewFact, fact: PlanAssigned, due: Sequence[object], now: datetime
) -> list[NewFact]:
    """What the new plan adds to the open cycle: its allowance less what that cycle was given so far."""
    opened = cycle(fact.anchor, fact.zone, cycle_at(fact.anchor, fact.zone, now))
    plans = (numbered("plan", number) for number in range(1, number_of(new.id)))
    stored = await find(connection, [Identity(new.team_id, CYCLES, f"cycle:{plan}:{opened.k}") for plan in plans])
    refills = [*due, *(refill.fact() for refill in stored.values())]
    refilled = sum(one.credits for one in refills if isinstance(one, CreditsRefilled) and one.cycle == opened.k)
    missing = fact.allowance_credits - refilled
    if missing <= 0:
        return []
    return [NewFact(new.team_id, CYCLES, f"cycle:{new.id}:{opened.k}", now, CreditsRefilled(
        credits=missing, plan=fact.plan, plan_assigned_id=new.id, cycle=opened.k,
        starts_at=now, ends_at=opened.ends_at, upgrade=True,
    ))]  # fmt: skip


async def _append(
    connection: Connection, facts: list[NewFact], assigned: NewFact, fact: PlanAssigned
) -> PlanAssignment:
    appended = await append(connection, facts)
    return PlanAssignment(appended.places[facts.index(assigned)], fact.plan, fact.anchor, fact.zone, changed=True)
