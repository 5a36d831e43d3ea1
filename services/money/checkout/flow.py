"""Stripe's pages from end to end: an admin is sent to one, and what was paid or saved there comes back, once.

What is sold, for how much, is written down before Stripe is asked for the page; the page's id derives from the
request's Idempotency-Key, and so do the keys of whatever is asked of Stripe. Who comes back from it, a webhook, and a
look every now and then all do the same: `look` asks Stripe how things are, `act` writes down what follows, in one
transaction under the shard's lock. The first one credits; the others find it done. Credits are those of
`purchase.requested`, if what was paid is what was asked for there. They are named after the payment intent, so that
nobody else can credit it either.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from schemas.facts import CreditsPurchased, NewFact
from services.money.checkout import customers
from services.money.checkout import rows as checkouts
from services.money.checkout.cards import change_card
from services.money.checkout.outcome import judge
from services.money.checkout.purchases import identity_of, request_of, request_purchase, true_to_log
from services.money.checkout.rows import CheckoutRow, CheckoutState
from services.money.payment_details import keep_receipt
from services.money.stamps import Stamps, read_stamps
from services.money.stripe_client import Charges, Checkout, Missing, Unknown, WrongRequest
from services.money.top_ups.log import STRIPE, read_top_ups
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Refused, Unavailable
from services.runtime.logs import get_log
from services.runtime.tracing.context import carrying
from services.store.append import append, lock_shard, take_head
from services.store.beside.traces import trail_of_fact
from services.store.connect import Connection, Transaction
from services.store.identities import Identity, find
from services.store.teams import team_exists, unknown_team


@dataclass(frozen=True, slots=True)
class PageAtStripe:
    """A page as Stripe has it now; `in_use`: its card is the customer's default there."""

    checkout: Checkout
    in_use: bool


async def open_page(charges: Charges, transaction: Transaction, page: CheckoutRow) -> tuple[CheckoutRow, bool]:
    """The page for a request, and whether the request is new. No transaction is open while Stripe is asked.

    Raises:
        Refused: unknown_team, or idempotency_key_reused: another request came with this key.
        Unknown, Busy: say the same again later; it will be the same page.
    """
    async with transaction() as connection:
        if not await team_exists(connection, page.team_id):
            raise unknown_team(page.team_id)
        stored = await checkouts.read(connection, page.team_id, page.id)
        stored = await true_to_log(connection, stored) if stored is not None else None
        customer = await customers.read_customer(connection, page.team_id)
    new = stored is None
    if stored is None:
        customer_id = customer.customer_id if customer is not None else await _new_customer(charges, page)
        async with transaction() as connection:
            head = await take_head(connection, page.team_id)
            kept_id = await customers.keep_customer(connection, page.team_id, customer_id)
            customer_id = kept_id if customer is None else customer_id
            stored, new = await checkouts.begin(connection, replace(page, customer_id=customer_id))
            if new and stored.mode == "payment":
                await request_purchase(connection, stored, head)
            stored = await true_to_log(connection, stored)
        crashpoint("checkout:begun")
    if not stored.asks_the_same(page):
        raise Refused("idempotency_key_reused", "this Idempotency-Key came with another body before; use a new one")
    return (await _open(charges, transaction, stored) if stored.session_id is None else stored), new


async def _new_customer(charges: Charges, page: CheckoutRow) -> str:
    try:
        return await charges.ensure_customer(page.team_id)
    except Unknown as unknown:
        if not unknown.key_is_spent:
            raise
    return await charges.ensure_customer(page.team_id, attempt=str(page.id))


async def _open(charges: Charges, transaction: Transaction, row: CheckoutRow) -> CheckoutRow:
    async with transaction() as connection:
        stamps = await read_stamps(connection)
    try:
        page = await _ask_for_page(charges, stamps, row)
    except (Unknown, WrongRequest) as no:
        # A kept answer is that of an earlier request, whose page nobody has page.
        spent = no.key_is_spent if isinstance(no, Unknown) else no.replayed
        if spent:
            async with transaction() as connection:
                await checkouts.next_try(connection, row)
            raise Unknown("kept_answer", key_is_spent=True) from no
        if not isinstance(no, Missing) or no.param != "customer":
            raise
        row = await _with_another_customer(charges, transaction, row)
        page = await _ask_for_page(charges, stamps, row)
    crashpoint("checkout:made")
    assert page.url is not None, "a page that was made just now can be visited"
    async with transaction() as connection:
        return await checkouts.opened(connection, row, page.id, page.url, page.expires_at)


async def _ask_for_page(charges: Charges, stamps: Stamps, row: CheckoutRow) -> Checkout:
    if row.mode == "setup":
        return await charges.create_card_checkout(
            change_id=str(row.id), team_id=row.team_id, customer_id=row.customer_id,
            success_url=_back(row, "payment_method"), cancel_url=_back(row, "payment_method", "&cancelled=1"),
            try_number=row.create_try,
        )  # fmt: skip
    request = request_of(row)
    return await charges.create_checkout(
        purchase_id=str(row.id), team_id=row.team_id, customer_id=row.customer_id, name=row.name or "",
        amount_cents=request.amount_cents, currency=request.currency, save_card=row.keeps_card,
        automatic_tax=row.taxed, success_url=_back(row, "purchase"),
        cancel_url=_back(row, "purchase", "&cancelled=1"), metadata=stamps.write(request), try_number=row.create_try,
    )  # fmt: skip


def _back(row: CheckoutRow, name: str, more: str = "") -> str:
    """Where the browser comes back to, which is told what to ask for."""
    return f"{row.return_url}{'&' if '?' in row.return_url else '?'}{name}={row.id}{more}"


async def _with_another_customer(charges: Charges, transaction: Transaction, row: CheckoutRow) -> CheckoutRow:
    """Somebody has deleted the team's customer at Stripe."""
    customer_id = await charges.ensure_customer(row.team_id, attempt=f"after:{row.customer_id}")
    async with transaction() as connection:
        await customers.replace_customer(connection, row.team_id, row.customer_id, customer_id)
        return await true_to_log(connection, await checkouts.change_customer(connection, row, customer_id))


async def follow(charges: Charges, transaction: Transaction, row: CheckoutRow) -> CheckoutRow:
    """Do what follows from how things are at Stripe; how far the page has come. Raises as `look`.

    A page that is a month old is looked at for the last time, whatever comes of it.
    """
    async with transaction() as connection:
        customer = await customers.read_customer(connection, row.team_id)
        row = await true_to_log(connection, row)
        last = await checkouts.is_too_old(connection, row)
    try:
        page = await look(charges, row, customer.card_created_at if customer is not None else None)
    except Missing:
        async with transaction() as connection:
            return await give_up(connection, row, "expired", "Stripe does not know this page any more")
    except Unavailable as away:
        if not last:
            raise
        async with transaction() as connection:
            return await give_up(connection, row, "failed", f"given up: {away}")
    async with transaction() as connection:
        after = await act(connection, row, page)
        if last and after.waits:
            return await give_up(connection, after, "failed", "given up: it was never decided")
        return after


async def look(charges: Charges, row: CheckoutRow, newest: datetime | None) -> PageAtStripe:
    """Ask Stripe; a card that is to be kept becomes the customer's default there, unless a newer one is (`newest`).

    Raises:
        Unknown, Busy: ask later.
    """
    assert row.session_id is not None, f"{row.id} was never opened"
    checkout = await charges.retrieve_checkout(row.session_id)
    done = judge(row, checkout)[0] in ("credited", "saved")
    if (
        not row.keeps_card
        or not done
        or checkout.card is None
        or (newest is not None and checkout.card.created_at < newest)
    ):
        return PageAtStripe(checkout, in_use=False)
    try:
        await charges.use_card(_customer_of(row, checkout), checkout.card.payment_method_id)
    except Missing:
        return PageAtStripe(replace(checkout, card=None), in_use=False)  # removed again, or its customer was deleted
    except Unavailable:
        if row.mode == "setup":
            raise
        return PageAtStripe(checkout, in_use=False)  # the credits need not wait; the card comes with the next look
    return PageAtStripe(checkout, in_use=True)


async def act(connection: Connection, row: CheckoutRow, page: PageAtStripe) -> CheckoutRow:
    """Write down what follows, in the caller's transaction; how far the page has come.

    It has the trail of whoever asked for the page, whoever sees the money. Whoever comes second changes nothing.
    """
    with carrying(await trail_of_fact(connection, identity_of(row.team_id, row.id))):
        return await _act(connection, row, page)


async def _act(connection: Connection, row: CheckoutRow, page: PageAtStripe) -> CheckoutRow:
    now = await lock_shard(connection, row.team_id)
    before = await true_to_log(connection, await checkouts.lock(connection, row))
    if before.state == "credited" and not await _is_credited(connection, before, page.checkout):
        before = replace(before, state="processing")  # the log knows of no credits, so there are none
    state, detail = judge(before, page.checkout)
    after = replace(before, state=state, detail=detail)
    if state == "credited" and before.state != "credited":
        after = await _credit(connection, after, page.checkout, now)
    if state in ("credited", "saved") and after.keeps_card and after.card_state is None:
        after = await _keep_card(connection, after, page, now)
    await checkouts.move(connection, after)
    if after.state != before.state:
        say = get_log().error if after.state == "differs" else get_log().info
        say("checkout", team_id=after.team_id, checkout_id=str(after.id), state=after.state, why=after.detail)
    return after


async def give_up(connection: Connection, row: CheckoutRow, state: CheckoutState, why: str) -> CheckoutRow:
    """Nothing more is expected of this page. Should money come for it all the same, reconciliation finds that."""
    await lock_shard(connection, row.team_id)
    before = await checkouts.lock(connection, row)
    if not before.waits:
        return before
    if before.state in ("open", "processing"):
        after = replace(before, state=state, detail=why)
    else:  # it is credited; only its card never came
        after = replace(before, card_state="none", detail=why)
    await checkouts.move(connection, after)
    get_log().error("checkout", team_id=after.team_id, checkout_id=str(after.id), state=after.state, why=after.detail)
    return after


async def _is_credited(connection: Connection, row: CheckoutRow, checkout: Checkout) -> bool:
    if checkout.intent is None:
        return True
    return bool(await find(connection, [Identity(row.team_id, STRIPE, checkout.intent.id)]))


async def _credit(connection: Connection, row: CheckoutRow, checkout: Checkout, now: datetime) -> CheckoutRow:
    intent = checkout.intent
    assert intent is not None
    fact = CreditsPurchased(
        credits=row.credits or 0, pack=row.pack or "", payment_intent_id=intent.id, charge_cents=intent.amount_cents,
        tax_cents=checkout.tax_cents or intent.tax_cents or None, currency=intent.currency, purchase_id=str(row.id),
        member_id=row.asked_by, charge_id=intent.charge_id, paid_at=intent.paid_at,
    )  # fmt: skip
    identity = Identity(row.team_id, STRIPE, intent.id)
    credited = (await find(connection, [identity])).get(identity)
    position = credited.position if credited is not None else None
    if position is None:
        appended = await append(connection, [NewFact(*identity, now, fact)])
        position = appended.places[0].position
        await keep_receipt(connection, row.team_id, intent)
        crashpoint("checkout:credited")
    return replace(row, payment_intent_id=intent.id, receipt_url=intent.receipt_url, position=position)


async def _keep_card(connection: Connection, row: CheckoutRow, page: PageAtStripe, now: datetime) -> CheckoutRow:
    """The card that was saved is the one that top-ups charge, unless a newer one is."""
    card = page.checkout.card
    if card is None:
        return replace(row, card_state="none")
    customer = await customers.read_customer(connection, row.team_id)
    newer = customer is not None and customer.card_created_at is not None and card.created_at < customer.card_created_at
    if newer:
        superseded: CheckoutState = "superseded" if row.mode == "setup" else row.state
        return replace(row, state=superseded, card_state="superseded", brand=card.brand, last4=card.last4)
    if not page.in_use:
        return row
    top_ups = await read_top_ups(connection, row.team_id)
    position = await change_card(
        connection, top_ups, _customer_of(row, page.checkout), card, now, fact_id=f"card:{row.id}",
        changed_by=row.asked_by,
    )  # fmt: skip
    return replace(row, card_state="saved", brand=card.brand, last4=card.last4, position=row.position or position)


def _customer_of(row: CheckoutRow, checkout: Checkout) -> str:
    """Whose card was saved on a page, by Stripe's word."""
    return checkout.customer_id or row.customer_id
