"""Random histories told by the product's own functions: priced usage, voids, holds, plans, purchases, top-ups, refunds.

So every fact follows from those before it, and every derived table says what the log says. Projections are folded on the way.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

from projections.entitlement import Limit
from projections.reversals import PaymentAtStripe
from projections.top_ups.state import TopUps
from schemas.catalog import Catalog, load_catalog
from schemas.credits import MICRO
from schemas.facts import (
    AdjustmentRequested,
    CreditsAdjusted,
    CreditsGranted,
    HoldCaptured,
    TopUpConfigured,
    UsageRecorded,
)
from schemas.places import Place
from schemas.pricing import RateCards
from schemas.usage import parse_usage
from services.credits.approvals import Approval, WaitingRequest, approve_gift, give_or_ask, lock_request, reject
from services.credits.grants import adjust, grant
from services.credits.holds.hold import CapturedPart, HoldKey, capturing, extension, release
from services.credits.holds.moving import move
from services.credits.holds.settlement import expire_holds, live_or_settled, settle_holds
from services.credits.limits import set_limit
from services.credits.plans import assign_plan
from services.credits.rate_cards import seed_catalog
from services.money.checkout import rows as checkouts
from services.money.checkout.cards import change_card
from services.money.checkout.flow import PageAtStripe, act
from services.money.checkout.purchases import request_of, request_purchase
from services.money.reversals import append_reversals, read_account
from services.money.stamps import PaymentRequest, words_of
from services.money.stripe_client import Checkout, Intent, StripeCard
from services.money.top_ups import crediting
from services.money.top_ups.log import lock_top_ups
from services.money.top_ups.settings import configure_top_ups, read_top_up_settings
from services.money.topup import Figures, Worker
from services.read_models.balances import PROJECTOR
from services.read_models.low_balance import judge
from services.read_models.projecting import Projecting
from services.read_models.versions import live_versions
from services.runtime.errors import Refused
from services.runtime.health import Health
from services.store.append import AlreadyStored, append_ready, take_head
from services.store.claims import Claims
from services.store.connect import Connection
from services.store.identities import Identity, find
from services.store.read import heads, read_raw_after
from services.store.shards import SHARDS
from services.usage import door
from services.usage.correcting import approve_correction, correct_or_ask
from services.usage.taking_back import target_of
from services.usage.voids import note_voids, voided_among
from tests.support.facts import now, zone_at_midday
from tests.support.holds import held
from tests.support.usage import reported, voided


async def project(connection: Connection) -> None:
    """Fold everything that the live projections do not have yet."""
    projecting = Projecting(Claims(PROJECTOR, "test"), await live_versions(connection))
    await projecting.claims.make_rows(connection)
    await projecting.claims.take(connection, list(range(SHARDS)))
    ends = await heads(connection)
    behind = {shard: position for shard, position in projecting.claims.positions.items() if position < ends[shard]}
    if behind:
        await projecting.project(connection, await read_raw_after(connection, behind, 10_000))
    await projecting.claims.leave(connection)


async def report(connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
    """What the recorder does with a batch, without Kafka."""
    usages = []
    for event in events:
        parsed = parse_usage(json.dumps(event).encode(), (("content-type", b"application/cloudevents+json"),))
        record: Any = None  # only refusals look at it
        usages.append(door.ParsedUsage(record, parsed, Identity(parsed.subject, parsed.source, parsed.id)))
    while not await _stored(connection, usages):
        pass  # a hold has ended meanwhile: judge again


async def _stored(connection: Connection, usages: Sequence[door.ParsedUsage]) -> bool:
    named = {
        HoldKey(usage.event.subject, hold_id) for usage in usages if (hold_id := usage.event.data.hold_id) is not None
    }
    holds = await live_or_settled(connection, named)
    targets = [target for usage in usages if (target := target_of(usage.event)) is not None]
    stored = await find(connection, [*(usage.identity for usage in usages), *targets])
    known = door.StoredContext(
        frozenset(usage.event.subject for usage in usages),
        stored,
        await voided_among(connection, stored.values()),
        holds,
    )
    judged = door.judge(usages, known, RateCards([load_catalog().rate_card]), now())
    with suppress(AlreadyStored):
        async with connection.transaction():
            if judged.facts:
                appended = await append_ready(connection, judged.facts)
                await note_voids(connection, zip((fact.new for fact in judged.facts), appended.places, strict=True))
                await settle_holds(connection, judged.settles, judged.ended, appended.recorded_at)
        return True
    return False


@dataclass
class Honest:
    """Goes on telling of some teams; what it needs to know of what it told."""

    connection: Connection
    random: Random
    teams: list[str]
    catalog: Catalog = field(default_factory=load_catalog)
    told: int = 0
    usages: list[tuple[str, str]] = field(default_factory=list)
    holds: list[tuple[str, str]] = field(default_factory=list)
    paid: list[tuple[str, str]] = field(default_factory=list)
    given: list[tuple[str, Place]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def begin(self) -> None:
        """Plans, cards, settings."""
        async with self.connection.transaction():
            await seed_catalog(self.connection, self.catalog)
        for team in self.teams:
            anchor = now() - timedelta(days=self.random.uniform(0, 100))
            async with self.connection.transaction():
                await assign_plan(self.connection, self.catalog, team, "pro", anchor=anchor, zone=zone_at_midday())
            await self._card(team)
            await self._configure(team)

    async def go_on(self, count: int) -> None:
        """Tell so many things more."""
        steps = (
            self._use, self._use, self._use, self._void, self._hold, self._hold, self._end_hold, self._end_hold, self._give,
            self._ask, self._decide, self._correct, self._limit, self._plan, self._buy, self._top_up, self._refund, self._configure, self._card,
        )  # fmt: skip
        for _ in range(count):
            self.told += 1
            try:
                await self.random.choice(steps)(self.random.choice(self.teams))
            except Refused:
                continue  # as the product refuses it, it is not told
        await project(self.connection)

    @property
    def name(self) -> str:
        """Of the thing that is told now."""
        return f"thing-{self.told}"

    async def _use(self, team: str) -> None:
        events = []
        for number in range(self.random.choice((1, 1, 5))):
            at = now() - timedelta(days=self.random.choice((0, 0, 0.01, 3)))
            event = reported(
                team, f"{self.name}-{number}", at=at, quantity=str(self.random.randint(1, 200)),
                tier=self.random.choice(("low", "standard")),
            )  # fmt: skip
            if self.holds and self.random.random() < 0.2:
                owner, hold_id = self.random.choice(self.holds)
                event["subject"], event["data"]["hold_id"] = owner, hold_id
            events.append(event)
            self.usages.append((event["subject"], event["id"]))
        await report(self.connection, events)

    async def _void(self, _: str) -> None:
        if self.usages:
            team, usage_id = self.random.choice(self.usages)
            await report(self.connection, [voided(team, f"void-{self.name}", of=usage_id)])

    async def _hold(self, team: str) -> None:
        lasts = timedelta(seconds=self.random.choice((0.05, 3600)))
        await held(self.connection, self.name, self.random.randint(1, 20), team_id=team, lasts=lasts)
        self.holds.append((team, self.name))

    async def _end_hold(self, _: str) -> None:
        if not self.holds:
            return
        team, hold_id = self.random.choice(self.holds)
        price = [CapturedPart(MICRO * self.random.randint(1, 9)) for _ in range(self.random.randint(1, 3))]
        async with self.connection.transaction():
            match self.random.randrange(5):
                case 0:
                    await move(self.connection, team, hold_id, capturing(self.name, price, final=True))
                case 1:
                    await move(self.connection, team, hold_id, capturing(self.name, price, final=False))
                case 2:
                    await move(self.connection, team, hold_id, release)
                case 3:
                    await move(self.connection, team, hold_id, extension(self.name, timedelta(hours=2)))
                case _:
                    await expire_holds(self.connection, team, 100)

    async def use_and_take_back(self, team: str) -> None:
        """A usage, and its void."""
        usage_id = f"use-{uuid4()}"
        await report(self.connection, [reported(team, usage_id)])
        await report(self.connection, [voided(team, f"void-{usage_id}", of=usage_id)])
        self.usages.append((team, usage_id))

    async def settle_holds_of(self, team: str) -> None:
        """Two holds of an hour: one is captured, and usage settles the other."""
        hold_id = f"hold-{uuid4()}"
        await held(self.connection, hold_id, 1, team_id=team)
        async with self.connection.transaction():
            await move(self.connection, team, hold_id, capturing(hold_id, [CapturedPart(MICRO)], final=True))
        await held(self.connection, f"{hold_id}-2", 1, team_id=team)
        event = reported(team, f"use-{hold_id}")
        event["data"]["hold_id"] = f"{hold_id}-2"
        await report(self.connection, [event])

    async def _give(self, team: str) -> None:
        credits = MICRO * self.random.randint(1, 50)
        async with self.connection.transaction():
            if self.random.random() < 0.5:
                gift = CreditsGranted(credits=credits, reason="test")
                self.given.append((team, await grant(self.connection, team, self.name, gift)))
            else:
                gifts = [str(place) for owner, place in self.given if owner == team]
                refers_to = self.random.choice(["ticket 7", *gifts])
                correction = CreditsAdjusted(credits=-credits, reason="test", refers_to=refers_to)
                await adjust(self.connection, team, self.name, correction)

    def _asked(self, kind: str, **more: Any) -> AdjustmentRequested:
        """What a person asks for, of whom there are two; half of it is within the limit."""
        return AdjustmentRequested.model_validate(
            {"kind": kind, "credits": 0, "reason": "test", "requested_by": self._person(), "waits_until": now(),
             "approval_above_credits": 100 * MICRO} | more
        )  # fmt: skip

    def _person(self) -> str:
        return self.random.choice(("op_1", "op_2"))

    async def _ask(self, team: str) -> None:
        kind, credits = self.random.choice((("grant", 1), ("adjustment", -1))), MICRO * self.random.randint(1, 200)
        async with self.connection.transaction():
            asked = self._asked(kind[0], credits=credits * kind[1])
            self._keep(team, await give_or_ask(self.connection, team, self.name, asked))

    async def _correct(self, team: str) -> None:
        query = "SELECT position FROM facts WHERE team_id = $1 AND type = ANY($2) ORDER BY position DESC LIMIT 9"
        rows = await self.connection.fetch(query, team, [UsageRecorded.type, HoldCaptured.type])
        if not rows:
            return
        quantity = self.random.choice((None, str(self.random.randint(1, 99))))
        asked = self._asked("correction", usage_position=self.random.choice(rows)["position"], quantity=quantity)
        async with self.connection.transaction():
            cards = RateCards([self.catalog.rate_card])
            self._keep(team, await correct_or_ask(self.connection, team, self.name, asked, cards))

    def _keep(self, team: str, given: object) -> None:
        if isinstance(given, WaitingRequest):
            self.asked.append((team, given.request_id))

    async def _decide(self, _: str) -> None:
        if not self.asked:
            return
        team, request_id = self.random.choice(self.asked)
        approval = Approval(request_id, self._person())
        async with self.connection.transaction():
            locked = await lock_request(self.connection, team, request_id, approval.approved_by)
            if self.random.random() < 0.3:
                await reject(self.connection, team, locked, approval.approved_by, None)
            elif locked.request.kind == "correction":
                cards = RateCards([self.catalog.rate_card])
                await approve_correction(self.connection, team, locked, approval, cards)
            else:
                await approve_gift(self.connection, team, locked, approval)

    async def _limit(self, team: str) -> None:
        limit = Limit(daily=MICRO * self.random.choice((10_000, 20_000)), hard=self.random.random() < 0.5)
        async with self.connection.transaction():
            await set_limit(self.connection, team, self.random.choice(("mem_1", "mem_2")), limit, limited_by=None)

    async def _plan(self, team: str) -> None:
        async with self.connection.transaction():
            await assign_plan(self.connection, self.catalog, team, self.random.choice(list(self.catalog.plans)))

    async def _card(self, team: str) -> None:
        card = StripeCard(f"pm_{team}_{self.told}", "visa", "4242", f"fp_{team}_{self.told}", now())
        async with self.connection.transaction():
            state, head = await lock_top_ups(self.connection, team)
            await change_card(self.connection, state, f"cus_{team}", card, head.recorded_at, fact_id=f"card:{uuid4()}")

    async def _configure(self, team: str) -> None:
        threshold, most = self.random.choice((1_000, 4_000)), self.random.choice((2, 9))
        await self.configure(team, threshold=threshold, max_per_month=most)

    async def configure(self, team: str, *, threshold: int, max_per_month: int) -> None:
        """Top-ups are on, within caps."""
        chosen = TopUpConfigured(
            enabled=True, threshold_credits=MICRO * threshold, credits=500 * MICRO, monthly_cap_cents=100_000,
            max_per_month=max_per_month, currency="usd", cool_down_seconds=0,
        )  # fmt: skip
        async with self.connection.transaction():
            number = (await read_top_up_settings(self.connection, team)).number
            await configure_top_ups(self.connection, team, chosen, number=number)

    async def _buy(self, team: str) -> None:
        await self.buy(team, paid=self.random.random() < 0.8)

    async def buy(self, team: str, *, paid: bool = True) -> UUID:
        """A pack is asked for, and paid."""
        pack = self.catalog.packs["mini"]
        record = checkouts.CheckoutRow(
            team_id=team, id=uuid4(), mode="payment", customer_id=f"cus_{team}", asked_by="mem_1", return_url="https://x",
            pack="mini", name="Mini", credits=pack.credits, charge_cents=pack.prices["usd"], currency="usd",
            keeps_card=False, taxed=False,
        )  # fmt: skip
        async with self.connection.transaction():
            head = await take_head(self.connection, team)
            await checkouts.begin(self.connection, record)
            await request_purchase(self.connection, record, head)
        if paid:
            await self.pay(record)
        return record.id

    async def pay(self, record: checkouts.CheckoutRow) -> None:
        """Somebody pays on the page what it asks for."""
        intent = intent_of(f"pi_{record.id}", request_of(record))
        page = Checkout(
            "cs", "payment", "complete", True, None, intent.amount_cents, intent.amount_cents, 0, "usd", None, intent, None,
            intent.metadata, now(), now(),
        )  # fmt: skip
        async with self.connection.transaction():
            after = await act(self.connection, record, PageAtStripe(page, in_use=False))
        if after.state == "credited":
            self.paid.append((record.team_id, intent.id))

    async def _top_up(self, team: str) -> None:
        await self.top_up(team)

    async def top_up(self, team: str, *, paid: bool = True) -> TopUps:
        """What low-balance reader and worker decide about a team; an attempt that begins is paid."""
        await project(self.connection)
        await judge(self.connection, team)
        nothing: Any = None  # no Stripe here
        worker = Worker(nothing, nothing, self.catalog, "test", Health("topup"), FIGURES)
        async with self.connection.transaction():
            state = await worker.decide(self.connection, team)
        if state.open is not None and paid:
            intent = intent_of(f"pi_{state.open.attempt_id}", crediting.request_of(team, state.open))
            async with self.connection.transaction():
                await crediting.credit_top_up(self.connection, team, UUID(state.open.attempt_id), intent)
            self.paid.append((team, intent.id))
        return state

    async def _refund(self, _: str) -> None:
        if self.paid:
            team, intent_id = self.random.choice(self.paid)
            account = await read_account(self.connection, team, intent_id)
            assert account is not None
            cents = self.random.randint(0, account.charge_cents)
            async with self.connection.transaction():
                await append_reversals(self.connection, team, account, PaymentAtStripe(cents, {}))


def intent_of(intent_id: str, request: PaymentRequest, *, at: datetime | None = None) -> Intent:
    """A payment that has succeeded, of what was asked for."""
    return Intent(
        intent_id, "succeeded", request.amount_cents, request.currency, request.customer_id, None, None, None, None, None, 0,
        False, None, words_of(request), at or now(),
    )  # fmt: skip


FIGURES = Figures(Health("honest"))
