"""When a team is charged, for how much, and why not: the one decision that follows from a state of its top-ups.

Asked at a point that is due, on the exact balance, under the shard's lock. Whoever decides twice decides the same, and
names the attempt the same: after its episode and the number of attempts that ended in it before.

Pure: no clock, no store, no Stripe.
"""

from datetime import datetime
from uuid import UUID, uuid5

from projections.top_ups.months import month_of, next_month
from projections.top_ups.state import DECLINES_MAX, Episode, Point, TopUpChoices, TopUps
from schemas.catalog import Catalog
from schemas.credits import MicroCredits, format_credits
from schemas.facts import TopUpConfigured, TopUpRequested, TopUpResumed, TopUpSkipped, TopUpSuspended
from schemas.money import format_money

LASTING = frozenset({"plan", "max_charge", "cap_count", "cap_money"})  # what waiting a little does not end
ATTEMPTS = UUID("6f1c1de5-7d3c-5f1e-9a55-3f0c2b8f4f10")  # the namespace of attempts; never change it


def decide(
    state: TopUps, available: MicroCredits, now: datetime, catalog: Catalog
) -> TopUpRequested | TopUpSkipped | None:
    """The decision that is due; None when none is, or while the balance (exact, at the head of the log) is not low."""
    if state.episode is None or state.point is None or state.point.at > now:
        return None
    chosen = state.settings
    if chosen is None or not chosen.enabled:
        return _skip(state, "disabled")
    if available >= chosen.threshold_credits:
        return None
    if (obstacle := _obstacle(state, now, catalog)) is not None:
        return obstacle
    return _within_caps(state, chosen, available, now, catalog)


def foresee(
    state: TopUps, available: MicroCredits, now: datetime, catalog: Catalog
) -> TopUpRequested | TopUpSkipped | None:
    """What would be decided if a decision were due this moment.

    None where the balance is not low, or top-ups are off.
    """
    if not state.enabled:
        return None
    if resumption_due(state) is not None:
        state = state.but(suspension=None)
    episode = state.episode or Episode(ran_low_id="")
    return decide(state.but(episode=episode, point=Point(name="now", at=now)), available, now, catalog)


def obstacle_ahead(state: TopUps, now: datetime, catalog: Catalog) -> TopUpSkipped | None:
    """Why the next top-up would not be made, at the threshold, while the balance is not low yet.

    An admin who hears of it now can put it right in time: a cap that is too small, a plan without top-ups.
    """
    if not state.enabled or state.settings is None:
        return None
    then = state.but(episode=Episode(ran_low_id=""), point=Point(name="next", at=now), cool_until=now)
    decision = _obstacle(then, now, catalog) or _within_caps(
        then, state.settings, state.settings.threshold_credits, now, catalog
    )
    return decision if isinstance(decision, TopUpSkipped) and decision.reason in LASTING else None


def _obstacle(state: TopUps, now: datetime, catalog: Catalog) -> TopUpSkipped | None:
    """What forbids any charge now, whatever its size."""
    if state.open is not None:
        return _skip(state, "in_flight")
    if not catalog.may_top_up(state.plan):
        return _skip(state, "plan", f"plan {state.plan} has no automatic top-ups")
    if state.suspension is not None:
        return _skip(state, "suspended", "paused after declines, until the card changes or somebody pays")
    if state.card is None:
        return _skip(state, "no_payment_method")
    if now < state.cool_until:
        return _skip(state, "cooling_down", None, state.cool_until)
    return None


def _within_caps(
    state: TopUps, chosen: TopUpChoices, available: MicroCredits, now: datetime, catalog: Catalog
) -> TopUpRequested | TopUpSkipped:
    gained, cents = next_charge(chosen, available, catalog)
    month, following = month_of(now, state.zone), next_month(now, state.zone)
    price, most = catalog.top_up, chosen.max_per_month
    charges = state.charges_cents(month, price.currency)
    # Who set no cap has one all the same: a mistake upstream must not charge without end.
    cap = price.monthly_cap if chosen.monthly_cap_cents is None else chosen.monthly_cap_cents
    if most is not None and len(charges) >= most:
        return _skip(state, "cap_count", f"{len(charges)} of {most} top-ups of this month are made", following)
    cost = f"{format_credits(gained)} credits cost {format_money(cents, price.currency)}"
    if cents > price.max_charge:
        limit = f"one top-up charges {format_money(price.max_charge, price.currency)} at most; buy credits instead"
        return _skip(state, "max_charge", f"{cost}, and {limit}", following)
    if chosen.currency != price.currency:
        words = (
            f"top-ups are charged in {price.currency.upper()} now, and these settings are in {chosen.currency.upper()}"
        )
        return _skip(state, "cap_money", f"{words}: save them again", following)
    if sum(charges) + cents > cap:
        charged = f"{format_money(sum(charges), price.currency)} of this month's {format_money(cap, price.currency)}"
        return _skip(state, "cap_money", f"{cost}, and {charged} are charged or under way", following)
    assert state.episode is not None
    assert state.card is not None
    return TopUpRequested(
        attempt_id=str(attempt_of(state.team_id, state.episode)), ran_low_id=state.episode.ran_low_id,
        attempt=state.episode.ended, credits=gained, charge_cents=cents, currency=catalog.top_up.currency,
        customer_id=state.card.customer_id, payment_method_id=state.card.payment_method_id,
    )  # fmt: skip


def _skip(state: TopUps, reason: str, detail: str | None = None, following: datetime | None = None) -> TopUpSkipped:
    assert state.episode is not None
    assert state.point is not None
    return TopUpSkipped.model_validate({
        "ran_low_id": state.episode.ran_low_id, "decision": state.point.name, "reason": reason, "detail": detail,
        "next_decision_at": following,
    })  # fmt: skip


def attempt_of(team_id: str, episode: Episode) -> UUID:
    """The one name that the next attempt of an episode can have."""
    return uuid5(uuid5(ATTEMPTS, f"{team_id}\n{episode.ran_low_id}"), str(episode.ended))


def next_charge(
    chosen: TopUpChoices | TopUpConfigured, available: MicroCredits, catalog: Catalog
) -> tuple[MicroCredits, int]:
    """Micro-credits and cents of the one charge that closes the whole gap; money is rounded up once."""
    price = catalog.top_up
    if chosen.credits:
        times = max(1, _ceil(chosen.threshold_credits - available, chosen.credits))
        credits = chosen.credits * times
    else:
        credits = (chosen.restore_to_credits or chosen.threshold_credits) - available
    gained = _ceil(max(credits, price.min_credits), price.step) * price.step
    return gained, catalog.top_up_charge_cents(gained)


def _ceil(amount: int, step: int) -> int:
    return -(-amount // step)


def suspension_due(state: TopUps) -> TopUpSuspended | None:
    """Top-ups pause after the third decline in a row, and at once when the bank says that this card will never do.

    Banks count how often a card is asked for that they called lost or stolen, so nobody asks twice.
    """
    if state.suspension is not None or not (state.declines >= DECLINES_MAX or state.card_is_dead):
        return None
    fingerprint = state.card.fingerprint if state.card is not None else None
    if state.card_is_dead:
        return TopUpSuspended(
            cause="dead_card", reason="the bank wants another card", declines=state.declines, fingerprint=fingerprint
        )
    return TopUpSuspended(
        cause="declines", reason="the card was declined three times", declines=state.declines, fingerprint=fingerprint
    )


def resumption_due(state: TopUps) -> TopUpResumed | None:
    """Another card, or money by another way, ends the pause."""
    if state.suspension is None:
        return None
    if state.suspension.paid:
        settled = state.suspension.cause == "payment"
        return TopUpResumed(reason="the payment was looked at" if settled else "somebody paid")
    if state.card is not None and state.card.fingerprint != state.suspension.fingerprint:
        return TopUpResumed(reason="the card was changed")
    return None
