"""Usage that is taken back, by a void or because an amendment replaces it. Decided from values, as all at the door is.

An amendment is two facts, one behind the other in one transaction: what takes the old usage back, under an identity of
ours, and the new usage under the identity of the event. So everybody who reads the log knows both already. It keeps
whatever the old usage said but how much it was, and both have the time of the old one: at no instant of the past do
both usages count. Who paid the old usage pays the new one, and only the difference moves
(`projections/balance/amending.py`).
"""

from collections.abc import Mapping

from schemas.cloudevents import BadUsage
from schemas.facts import (
    AMENDMENTS,
    AdjustmentRequested,
    AnyFact,
    HoldCaptured,
    NewFact,
    Stored,
    UnknownFact,
    UsageRecorded,
    UsageVoided,
)
from schemas.pricing import CompiledCard, RateCards
from schemas.usage import AmendedUsage, AnyUsage, UsageAmendReported, UsageVoidReported
from services.store.identities import Identity

StoredUsages = Mapping[Identity, Stored]  # what the log has of the identities that a batch names


def target_of(event: AnyUsage) -> Identity | None:
    """The usage that a void or an amendment takes back."""
    match event:
        case UsageVoidReported():
            return Identity(event.subject, event.data.usage_source, event.data.usage_id)
        case UsageAmendReported():
            return Identity(event.subject, event.source, event.data.usage_id)
        case _:
            return None


def _target(event: UsageVoidReported | UsageAmendReported, by_identity: StoredUsages) -> tuple[Stored, UsageRecorded]:
    identity = target_of(event)
    usage = by_identity.get(identity) if identity is not None else None
    fact = read(usage) if usage is not None else None
    if usage is None or not isinstance(fact, UsageRecorded):
        raise BadUsage(
            "unknown_usage", f"no usage {event.data.usage_id!r} of this source is recorded for {event.subject!r}"
        )
    return usage, fact


def void(event: UsageVoidReported, by_identity: StoredUsages) -> UsageVoided:
    """What takes a usage back. Raises BadUsage: wrong_source, unknown_usage, unreadable_fact."""
    if event.data.usage_source != event.source:
        raise BadUsage("wrong_source", "only the source that reported a usage can take it back")
    return voided(*_target(event, by_identity), event.data.reason)


def voided(usage: Stored, fact: UsageRecorded | HoldCaptured, reason: str) -> UsageVoided:
    """What takes this usage back, be it a capture: whatever it cost returns."""
    return UsageVoided(
        usage_source=usage.source,
        usage_id=usage.id,
        usage_position=usage.position,
        usage_occurred_at=usage.occurred_at,
        credits=fact.credits,
        feature=fact.feature,
        reason=reason,
        member_id=fact.member_id,
    )


def amended(event: UsageAmendReported, by_identity: StoredUsages, cards: RateCards) -> NewFact:
    """The usage as it really was, at the time of the work and by the card of that time.

    Raises:
        BadUsage: unknown_usage, usage_of_hold, unreadable_fact.
        NotPriced: the card has no price for so much of it.
    """
    usage, fact = _target(event, by_identity)
    if fact.hold_id is not None:
        raise BadUsage(
            "usage_of_hold", f"{usage.id!r} settled a hold, which ends once; void it, and report what was used anew"
        )
    anew = recorded_anew(usage, fact.feature, fact, event.data, card_of(usage, fact, cards))
    return NewFact(event.subject, event.source, event.id, usage.occurred_at, anew)


def card_of(usage: Stored, fact: UsageRecorded | HoldCaptured, cards: RateCards) -> CompiledCard:
    """The card that has priced a usage: the same however often it is corrected, and though its clock was ahead."""
    card = None if fact.rate_card is None else cards.version(fact.rate_card)
    return card or cards.in_force(min(usage.occurred_at, usage.recorded_at))


def recorded_anew(
    usage: Stored,
    feature: str,
    fact: UsageRecorded | HoldCaptured,
    really: AmendedUsage | AdjustmentRequested,
    card: CompiledCard,
) -> UsageRecorded:
    """A usage, or a capture, of this feature as it really was. Raises NotPriced, as the card does."""
    return UsageRecorded(
        feature=feature,
        quantity=really.quantity,
        quantities=really.quantities,
        credits=card.price_used(feature, really.quantity, really.quantities, fact.attributes),
        rate_card=card.version,
        member_id=fact.member_id,
        attributes=fact.attributes,
        corrects=usage.position,
        corrects_id=usage.id,
        reason=really.reason,
    )


def taken_back_for(event: UsageAmendReported, by_identity: StoredUsages, voids: dict[tuple[str, int], bool]) -> NewFact:
    """What takes the usage back that an amendment replaces; its identity is ours, for the event's own is the usage's.

    It stands right before the usage that replaces it. `voids` is told.

    Raises BadUsage: already_taken_back.
    """
    usage, fact = _target(event, by_identity)
    place = (event.subject, usage.position)
    if place in voids:
        raise already_taken_back(usage.id)
    voids[place] = True
    return taken_back(usage, voided(usage, fact, event.data.reason))


def taken_back(usage: Stored, void: UsageVoided) -> NewFact:
    """What stands right before the usage that replaces this one, with the time of both."""
    return NewFact(usage.team_id, AMENDMENTS, f"void:{usage.position}", usage.occurred_at, void)


def read(stored: Stored) -> AnyFact:
    """A fact of the log. One that this build can't read refuses the usage that needs it, and stops no other team's.

    Raises BadUsage: unreadable_fact.
    """
    try:
        return stored.fact()
    except (ValueError, UnknownFact) as error:
        detail = (
            f"the log's fact {stored.place} can't be read by this build: {error}; report this again when it is mended"
        )
        raise BadUsage("unreadable_fact", detail[:400]) from error


def already_taken_back(usage_id: str) -> BadUsage:
    """Of a usage that was voided or amended before. The void of one that was amended is no repetition: it would lie."""
    detail = f"{usage_id!r} was taken back already; void or amend what replaced it, if anything"
    return BadUsage("already_taken_back", detail)
