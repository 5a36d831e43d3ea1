"""The door: raw Kafka records become facts that can be appended, or refusals that say why.

Each record is judged alone, so that one bad record never fails its neighbours. Everything is decided from values (the
rate cards, the clock's answer, what the store knows of these teams and identities); the recorder fetches those and
writes the outcome.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from schemas.cloudevents import BadUsage
from schemas.digests import digest_of_fact, digest_of_report
from schemas.facts import AMENDMENTS, OURS, NewFact, Stored, UsageRecorded, UsageVoided, is_id
from schemas.instants import is_meant
from schemas.pricing import NotPriced, RateCards, WhyDropped
from schemas.usage import AnyUsage, UsageAmendReported, UsageReported, UsageVoidReported, parse_usage
from services.credits.holds.hold import HoldKey, HoldState
from services.runtime.kafka.any_batch import BatchNotRead
from services.store.append import Ready, make_ready
from services.store.identities import Identity
from services.usage.plain import PlainPricing
from services.usage.refusals import RECORD_MAX, KafkaRecord, RefusedRecord
from services.usage.taking_back import already_taken_back, amended, read, taken_back_for, void

AHEAD_MAX = timedelta(minutes=5)  # clocks differ; beyond that, somebody's is wrong
NAMES_MAX_BYTES = {"subject": 512, "source": 1024, "id": 512}  # as of usage that is right: an index holds all three


class Passed(NamedTuple):
    """The last offset of a batch that was refused as one: it lets the cursor pass, and nothing else."""

    record: KafkaRecord


class ParsedUsage(NamedTuple):
    """A record that parsed: what it says, where it stood, and what makes it one and the same."""

    record: KafkaRecord
    event: AnyUsage
    identity: Identity


@dataclass(frozen=True, slots=True)
class RepeatedUsage:
    """A record whose identity is in the log already, or earlier in this batch."""

    usage: ParsedUsage
    same: bool


@dataclass(frozen=True, slots=True)
class StoredContext:
    """What the store knows of a batch's teams, voids, identities and holds.

    `voided` has (team, position) of usage that was taken back, and whether an amendment has replaced it.
    """

    teams: frozenset[str]
    stored: Mapping[Identity, Stored]
    voided: Mapping[tuple[str, int], bool]
    holds: Mapping[HoldKey, HoldState] = field(default_factory=dict)


@dataclass(slots=True)
class BatchOutcome:
    """The outcome of a batch: every record is in exactly one of the first three.

    `settles` are the holds that its facts settle, `ended` those that they name and that were over, or never there.
    `plain` tells that all its facts are usage that names no hold. `dropped` counts attributes that are not stored.
    """

    facts: list[Ready]
    refusals: list[RefusedRecord]
    repeats: list[RepeatedUsage]
    settles: set[HoldKey] = field(default_factory=set)
    ended: set[HoldKey] = field(default_factory=set)
    plain: bool = True
    dropped: Counter[WhyDropped] = field(default_factory=Counter)

    @property
    def recorded(self) -> int:
        """How many records became facts: an amendment makes two, of which one has an identity of ours."""
        return len(self.facts) if self.plain else sum(fact.new.source != AMENDMENTS for fact in self.facts)


def parse(record: KafkaRecord) -> ParsedUsage | RefusedRecord | Passed:
    """Read one record. Nothing that it contains raises."""
    value = record.value
    if value is not None and (len(value) > RECORD_MAX or type(value) is BatchNotRead):
        return _not_read(record, value)
    try:
        event = parse_usage(record.value, record.headers)
    except BadUsage as bad:
        team_id, source, event_id = (_name(bad.event.get(part), most) for part, most in NAMES_MAX_BYTES.items())
        # What is no id of a team is somebody's text: it stays with the bytes.
        team_id = team_id if team_id is not None and is_id(team_id) else None
        return RefusedRecord(record, bad.reason, bad.detail, team_id, source, event_id)
    if record.key != event.subject.encode():
        return _refuse(record, event, "wrong_key", f"the record's key must be its subject, {event.subject!r}")
    if event.source.startswith(OURS):
        return _refuse(
            record,
            event,
            "reserved_source",
            f"sources that begin with {OURS!r} are Creditwell's own; name your service",
        )
    if not is_meant(event.time):
        return _refuse(record, event, "wrong_time", f"time is in the year {event.time.year}; send when it happened")
    # As `ParsedUsage(…)` and `Identity(…)`, which take twice as long: this is done for every record.
    identity = tuple.__new__(Identity, (event.subject, event.source, event.id))
    return tuple.__new__(ParsedUsage, (record, event, identity))


def _not_read(record: KafkaRecord, value: bytes) -> RefusedRecord | Passed:
    if not isinstance(value, BatchNotRead):
        return RefusedRecord(
            record, "record_too_big", f"the record has {len(value)} bytes, at most {RECORD_MAX} are read"
        )
    return Passed(record) if value.reason is None else RefusedRecord(record, value.reason, value.detail)


def _name(value: object, most_bytes: int) -> str | None:
    if not isinstance(value, str) or not value.isprintable():
        return None
    return value if 0 < len(value.encode()) <= most_bytes else None


def _refuse(record: KafkaRecord, event: AnyUsage, reason: str, detail: str) -> RefusedRecord:
    return RefusedRecord(record, reason, detail, event.subject, event.source, event.id)


def judge(usages: Iterable[ParsedUsage], context: StoredContext, cards: RateCards, now: datetime) -> BatchOutcome:
    """Decide on each usage of a batch, in order.

    What takes a usage back must not share a batch with it.
    """
    outcome = BatchOutcome([], [], [])
    first_by_identity: dict[Identity, ParsedUsage] = {}
    voided = dict(context.voided)
    plain = PlainPricing.at(now, AHEAD_MAX, context.teams, cards)
    for usage in usages:
        identity = usage.identity
        is_new = identity not in first_by_identity and identity not in context.stored
        if is_new and plain is not None and (ready := plain.fact_of(usage.event)) is not None:
            first_by_identity[identity] = usage
            outcome.facts.append(ready)
            continue
        try:
            if not is_new:
                outcome.repeats.append(_repeat(usage, first_by_identity.get(identity), context))
                continue
            fact = _fact_of(usage.event, context, cards, now, outcome.dropped)
            if type(usage.event) is UsageAmendReported:
                outcome.facts.append(make_ready(taken_back_for(usage.event, context.stored, voided)))
                outcome.plain = False
            elif type(fact.fact) is UsageVoided and voided.get(place := (fact.team_id, fact.fact.usage_position)):
                raise already_taken_back(fact.fact.usage_id)
            if (hold_id := usage.event.data.hold_id) is not None:
                _settle(HoldKey(fact.team_id, hold_id), context, outcome)
        except (NotPriced, BadUsage) as refused:
            outcome.refusals.append(_refuse(usage.record, usage.event, refused.reason, refused.detail))
            continue
        if type(fact.fact) is UsageVoided:  # to ask a pydantic model whose instance something is takes longer
            if place in voided:
                outcome.repeats.append(RepeatedUsage(usage, same=True))
                continue
            voided[place] = False
        outcome.plain &= type(fact.fact) is UsageRecorded and fact.fact.hold_id is None
        first_by_identity[identity] = usage
        outcome.facts.append(make_ready(fact))
    return outcome


def _repeat(usage: ParsedUsage, earlier: ParsedUsage | None, context: StoredContext) -> RepeatedUsage:
    """Of one that is earlier in the batch, else of one in the log."""
    if earlier is not None:
        return RepeatedUsage(usage, digest_of_report(usage.event) == digest_of_report(earlier.event))
    return RepeatedUsage(usage, _says_the_same(usage, context.stored[usage.identity]))


def _says_the_same(usage: ParsedUsage, before: Stored) -> bool:
    fact = read(before)
    if not isinstance(fact, UsageRecorded | UsageVoided):
        return False
    return digest_of_report(usage.event) == digest_of_fact(before.team_id, before.occurred_at, fact)


def _fact_of(
    event: AnyUsage, context: StoredContext, cards: RateCards, now: datetime, dropped: Counter[WhyDropped]
) -> NewFact:
    if event.subject not in context.teams:
        raise BadUsage("unknown_team", f"{event.subject!r} has no plan yet; assign one, then send this again")
    if event.time > now + AHEAD_MAX:
        raise BadUsage(
            "future_time", f"time is {event.time - now} ahead of ours; check the clock, or send it when it has happened"
        )
    if isinstance(event, UsageAmendReported):
        return amended(event, context.stored, cards)
    fact = void(event, context.stored) if isinstance(event, UsageVoidReported) else _priced(event, cards, now, dropped)
    return NewFact(event.subject, event.source, event.id, event.time, fact)


def _priced(event: UsageReported, cards: RateCards, now: datetime, dropped: Counter[WhyDropped]) -> UsageRecorded:
    """By the card in force at the usage's own time; of one that is ahead, now.

    Not every recorder knows a later card yet. Of its attributes those are stored that somebody listed.
    """
    data, card = event.data, cards.in_force(min(event.time, now))
    if data.quantity is not None:
        credits = card.price_as_written(data.feature, data.quantity, data.attributes)
    else:
        credits = card.price_used(data.feature, None, data.quantities, data.attributes)
    attributes, arrived_sha256 = data.attributes, None
    if attributes and not cards.attributes.keep_all(attributes):
        attributes, left_out = cards.attributes.sort(attributes)
        if left_out:
            dropped.update(left_out)
            arrived_sha256 = digest_of_report(event).hex()
    return UsageRecorded(
        feature=data.feature,
        quantity=data.quantity,
        quantities=data.quantities,
        credits=credits,
        rate_card=card.version,
        member_id=data.member_id,
        attributes=attributes or None,
        hold_id=data.hold_id,
        arrived_sha256=arrived_sha256,
    )


def _settle(hold: HoldKey, context: StoredContext, outcome: BatchOutcome) -> None:
    """Note that a usage settles a hold.

    One that has expired, was released or never was, nobody settles: it is plain usage.
    """
    state = HoldState.SETTLED if hold in outcome.settles else context.holds.get(hold)
    if state is HoldState.SETTLED:
        raise BadUsage(
            "hold_settled",
            f"hold {hold.hold_id!r} was settled already; report further work under a hold of its own, or none",
        )
    (outcome.settles if state is HoldState.OPEN else outcome.ended).add(hold)
