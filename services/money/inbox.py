"""Stripe's news, one after the other: what follows from each is decided on what Stripe says now, and done once.

Events come in any order, any number of times, days late or never, so none is believed beyond what it is about. A
handler asks Stripe, with no transaction open, and gives back what to do; that is done in the transaction that marks the
event done. Where Stripe does not answer, the event comes again later. What nobody here understands is done with a
reason. And what Stripe never told us of is found all the same: pages that were paid for are looked at now and then
until they are finished.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from services.money import reversals
from services.money.checkout import cards, customers
from services.money.checkout import flow as pages
from services.money.checkout import rows as checkouts
from services.money.checkout.purchases import true_to_log
from services.money.inbox_rows import InboxEvent, look_later, mark_done, take_news
from services.money.reversals import ReversalOutcome
from services.money.stripe_client import Charges, Missing
from services.money.stripe_client.errors import WrongKey
from services.money.top_ups import attempts
from services.runtime.clock import pause
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.store.connect import AWAY, Connection, Pool
from services.store.halts import EVERYBODYS, Halts

PAGE = "page "  # how a page is named beside the events
STILL_OPEN = f"""
    SELECT name FROM unnest($1::text[]) AS halted (name)
    WHERE EXISTS (SELECT FROM stripe_inbox WHERE event_id = name AND done_at IS NULL)
       OR EXISTS (SELECT FROM checkouts WHERE '{PAGE}' || id::text = name AND look_at IS NOT NULL)
"""

LOOK_SECONDS = 0.5
AT_ONCE = 8
CREDITED_AFTER_TRIES = 12  # more than an hour; reconciliation finds what is credited later still
MONEY_BACK = ("charge.refund", "charge.dispute.", "refund.")
FOLLOWED = {
    ReversalOutcome.NOT_OURS: "no payment of ours", ReversalOutcome.NOT_CREDITED: "a payment that has brought no credits",
    ReversalOutcome.NOTHING_NEW: "as the log has it", ReversalOutcome.APPENDED: "what went back is in the log",
}  # fmt: skip

EventOutcome = Callable[[Connection], Awaitable[str]]  # in the transaction that marks the event done; what came of it


@dataclass(frozen=True, slots=True)
class InboxWorker:
    """What a handler needs to find things out."""

    pool: Pool
    charges: Charges

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One that sees every team."""
        async with self.pool.acquire() as connection, connection.transaction():
            yield connection


# What is no team's fault: the database is away, a table is missing, or Stripe's key is wrong.
NOBODYS: tuple[type[Exception], ...] = (*EVERYBODYS, WrongKey)

EventHandler = Callable[[InboxWorker, InboxEvent], Awaitable[EventOutcome]]


async def work_on_inbox(pool: Pool, charges: Charges, stop: asyncio.Event, health: Health) -> None:
    """Work on whatever Stripe tells, and look at what it may have forgotten to tell, until told to stop."""
    worker, halts = InboxWorker(pool, charges), Halts("inbox", health)
    async with pool.acquire() as connection:
        await halts.begin(connection)
    while not stop.is_set():
        async with pool.acquire() as connection:
            event = await take_news(connection, AT_ONCE)
            waiting = await checkouts.take_due(connection, AT_ONCE)
        health.lag("inbox", len(event) + len(waiting))
        async with asyncio.TaskGroup() as tasks:
            for one in event:
                tasks.create_task(_alone(worker, halts, one.event_id, work_on(worker, one)))
            for record in waiting:
                tasks.create_task(_alone(worker, halts, f"{PAGE}{record.id}", look_at(worker, record)))
        health.beat("inbox")
        if not event and not waiting:
            await _settle(pool, halts)
            await pause(stop, LOOK_SECONDS)


async def _settle(pool: Pool, halts: Halts) -> None:
    """What was halted and is done by now, by another process or by a person, is named no more."""
    if names := halts.due():
        async with pool.acquire() as connection:
            await halts.settle(connection, [row["name"] for row in await connection.fetch(STILL_OPEN, names)])


async def work_on(worker: InboxWorker, event: InboxEvent) -> None:
    """Find out what follows from one event and do it; or come back to it later."""
    try:
        act = await _find_out(worker, event)
        crashpoint("inbox:asked")
        async with worker.transaction() as connection:
            outcome = await act(connection)
            await mark_done(connection, event, outcome)
        crashpoint("inbox:done")
    except Unavailable as away:
        async with worker.transaction() as connection:
            await look_later(connection, event, str(away))
        return
    get_log().info("stripe told", event_id=event.event_id, event_type=event.type, outcome=outcome)


async def _find_out(worker: InboxWorker, event: InboxEvent) -> EventOutcome:
    try:
        return await HANDLERS.get(event.object_kind, _not_ours)(worker, event)
    except Missing as missing:
        return leave(f"Stripe does not know it any more: {missing}"[:500])


async def look_at(worker: InboxWorker, record: checkouts.CheckoutRow) -> None:
    """A page that nobody has told us of for a while."""
    await pages.follow(worker.charges, worker.transaction, record)


async def _alone(worker: InboxWorker, halts: Halts, name: str, work: Awaitable[None]) -> None:
    """What was taken comes back by itself after a while.

    So where the database or Stripe is away, this is all there is to do.
    So does what goes wrong for one event or page, which is halted by that; it stops nobody else's.
    """
    try:
        await _guarded(worker, halts, name, work)
    except (Unavailable, *AWAY) as away:
        get_log().warning("not now; it comes back by itself", why=repr(away), name=name)


async def _guarded(worker: InboxWorker, halts: Halts, name: str, work: Awaitable[None]) -> None:
    try:
        await work
    except NOBODYS:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is one event's
        async with worker.pool.acquire() as connection:
            await halts.halt(connection, name, error)
    else:
        if name in halts.again_at:
            async with worker.pool.acquire() as connection:
                await halts.go_on(connection, [name])


def leave(reason: str) -> EventOutcome:
    """Nothing follows, for this reason."""

    async def nothing(_: Connection) -> str:
        return reason

    return nothing


async def _not_ours(_: InboxWorker, event: InboxEvent) -> EventOutcome:
    return leave(f"nothing here follows from a {event.object_kind}")


async def follow_intent(worker: InboxWorker, event: InboxEvent) -> EventOutcome:
    """A payment of a top-up, which its worker looks at, or of a purchase."""
    if event.checkout_id is not None:
        return await follow_page(worker, event)

    async def wake(connection: Connection) -> str:
        woken = await attempts.wake(connection, event.intent_id, event.attempt_id)
        woken = woken or await attempts.reopen(connection, event.intent_id)
        return "a top-up is looked at" if woken else "no payment of ours, or one that is over"

    return wake


async def follow_page(worker: InboxWorker, event: InboxEvent) -> EventOutcome:
    """A page on which somebody paid, or saved a card."""
    async with worker.transaction() as connection:
        record = await checkouts.find(connection, id_of(event.checkout_id)) if event.checkout_id else None
        customer = await customers.read_customer(connection, record.team_id) if record is not None else None
        record = await true_to_log(connection, record) if record is not None else None
    if record is None:
        return leave("no page of ours")
    if record.session_id is None:
        return leave("nobody was sent to this page")
    page = await pages.look(worker.charges, record, customer.card_created_at if customer is not None else None)

    async def act(connection: Connection) -> str:
        after = await pages.act(connection, record, page)
        return after.state if after.detail is None else f"{after.state}: {after.detail}"

    return act


async def follow_money_back(worker: InboxWorker, event: InboxEvent) -> EventOutcome:
    """A refund or a dispute: what went back of a payment, whatever its news say and in whichever order they come.

    Raises:
        Unavailable: the payment's own credits are still on their way.
    """
    if event.intent_id is None or not event.type.startswith(MONEY_BACK):
        return leave(f"nothing here follows from {event.type}")
    followed = await reversals.follow(worker.transaction, worker.charges, event.intent_id)
    if followed is ReversalOutcome.NOT_CREDITED and event.tries < CREDITED_AFTER_TRIES:
        raise Unavailable("the payment's own credits are still on their way")
    return leave(FOLLOWED[followed])


def id_of(text: str) -> UUID:
    """The id that we gave a page; another one, which nothing has, if somebody else wrote the metadata."""
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)


async def follow_card(worker: InboxWorker, event: InboxEvent) -> EventOutcome:
    """A customer or a card: what changed at Stripe without us is a fact as well."""
    async with worker.transaction() as connection:
        method_id = event.object_id if event.object_kind == "payment_method" else None
        customer_id = event.object_id if event.object_kind == "customer" else event.customer_id
        team_id = await customers.team_of(connection, customer_id, method_id)
        customer = await customers.read_customer(connection, team_id) if team_id is not None else None
        unfinished = await checkouts.unfinished_cards(connection, team_id) if team_id is not None else []
    if team_id is None or customer is None:
        return leave("no customer of ours")
    # A card that was saved on a page of ours says who saved it; so the page comes first.
    for record in unfinished:
        await pages.follow(worker.charges, worker.transaction, record)
    async with worker.transaction() as connection:
        change = await customers.last_card_change(connection, team_id)
    # Whose customer it is, the log says or else Stripe: a row that names another one's would have his card charged.
    card = await worker.charges.card_of(customer.customer_id, team_id=None if customer.by_log else team_id)

    async def act(connection: Connection) -> str:
        return await cards.notice_card(connection, team_id, customer.customer_id, card, change, news_id=event.event_id)

    return act


# What is asked about each kind of object. Kinds that are not here lead to nothing.
HANDLERS: Mapping[str, EventHandler] = {
    "payment_intent": follow_intent,
    "checkout.session": follow_page,
    "setup_intent": follow_page,
    "charge": follow_money_back,
    "refund": follow_money_back,
    "dispute": follow_money_back,
    "payment_method": follow_card,
    "customer": follow_card,
}
