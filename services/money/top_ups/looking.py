"""Before money moves: is there a payment of this team that the log has lost?

A store can go back in time: a standby that was behind is promoted, a backup is restored. What it had charged stands
at Stripe, and its log knows nothing of it; the usage comes again, the balance runs low again, and a second charge
would follow. An intent that is not confirmed moves no money. So between its creation and its confirmation, and before
an attempt ends that has none, Stripe is asked for every intent of the team's customers. Of those that are ours and
that no fact of credits and no open attempt names:

    succeeded                the open attempt ends, its intent is cancelled, and the payment gets its credits
                             (`adopting`); where these can't be proven, a person has to settle it, and top-ups pause
    processing               nothing is charged until it is decided
    still payable            it is cancelled, or its page is expired; then it is looked at: somebody may have paid
    of a page that we know   an admin is buying at this moment: paid, it gets its credits now; else it is left alone

Ours is what names this team and no other log. The list reaches 90 days back, in one request for a hundred payments.
How far the log went back is not known here, and a payment that was overlooked would be charged twice.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from projections.top_ups.state import Attempt
from schemas.catalog import Catalog
from schemas.facts import AnyFact, NewFact, TopUpFailed, TopUpIntentCancelled, TopUpSuspended
from services.money.adopting import Doubt, Owed, PaidIntent, give, owed
from services.money.checkout import flow as pages
from services.money.checkout import rows as checkouts
from services.money.stamps import Stamps, kind_of, read_stamps
from services.money.stripe_client import Charges, Intent, Missing, Unknown
from services.money.top_ups import attempts
from services.money.top_ups.attempts import Lease
from services.money.top_ups.log import TOP_UPS, append_top_up, fold_top_ups, is_stored
from services.runtime.crashpoints import crashpoint
from services.runtime.logs import get_log
from services.store.append import lock_shard
from services.store.connect import Connection, Pool
from services.store.shards import shard_of

LOOK_BACK: Final = timedelta(days=90)
CANCELS_MAX: Final = 3  # keys, where Stripe repeats a failure of its own to each

# The conditions on types are also the index's own.
CUSTOMERS = """
    SELECT clock_timestamp() AS now, array(
        SELECT customer_id FROM stripe_customers WHERE shard = $1 AND team_id = $2 UNION
        SELECT convert_from(body, 'UTF8')::json ->> 'customer_id' FROM facts
        WHERE shard = $1 AND team_id = $2 AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
          AND type = ANY('{payment_method.changed.v1,top_up.requested.v1}')
    ) AS customers
"""
NAMED = """
    SELECT convert_from(body, 'UTF8')::json ->> 'payment_intent_id' FROM facts
    WHERE shard = $1 AND team_id = $2 AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
      AND type = ANY('{credits.purchased.v1,credits.topped_up.v1}')
      AND convert_from(body, 'UTF8')::json ->> 'payment_intent_id' = ANY($3)
    UNION
    SELECT convert_from(body, 'UTF8')::json ->> 'refers_to' FROM facts
    WHERE shard = $1 AND team_id = $2 AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
      AND type = 'credits.adjusted.v1' AND convert_from(body, 'UTF8')::json ->> 'refers_to' = ANY($3)
"""


class Look(StrEnum):
    """What a look leads to: the attempt may go on, has to wait, or is over."""

    CLEAR = "clear"
    WAIT = "wait"
    OVER = "over"


class LeaseLost(Exception):
    """Somebody else works on the attempt by now."""


@dataclass(frozen=True, slots=True)
class Looking:
    """What it takes to look, and to answer what is intents."""

    pool: Pool
    charges: Charges
    catalog: Catalog
    owner: str

    async def look(self, lease: Lease, attempt: Attempt, own: Intent | None) -> Look:
        """Look for payments beside `own`, the attempt's intent, and do what follows. Raises as `Charges` does."""
        try:
            stamps, listed = await self._list(lease, attempt, own)
        except LeaseLost:
            return Look.WAIT
        if not listed:
            return Look.CLEAR
        lost = await self._not_named(lease, listed)
        if lost is None:
            return Look.WAIT
        crashpoint("topup:looked")
        ended = [after for intent in lost if (after := await self._end(lease, attempt, intent)) is not None]
        if under_way := [intent.id for intent in ended if intent.payable]:
            get_log().warning("a payment of this team is under way at Stripe: nothing is charged until it is decided",
                              team_id=lease.team_id, attempt_id=attempt.attempt_id, payment_intent_ids=under_way)  # fmt: skip
            return Look.WAIT
        paid = [intent for intent in ended if intent.state == "succeeded" and not intent.given_back]
        return await self._answer(lease, own, stamps, paid) if paid else Look.CLEAR

    async def take(self, lease: Lease, own: Intent) -> Look:
        """The attempt's own intent has succeeded with another amount: another life of the log had asked for it."""
        async with self.pool.acquire() as connection:
            stamps = await read_stamps(connection)
        return await self._answer(lease, own, stamps, [])

    async def _list(self, lease: Lease, attempt: Attempt, own: Intent | None) -> tuple[Stamps, list[Intent]]:
        """The intents of the team that may be lost, without cards and charges, the newest first."""
        async with self.pool.acquire() as connection:
            stamps = await read_stamps(connection)
            [(now, customers)] = await connection.fetch(CUSTOMERS, shard_of(lease.team_id), lease.team_id)

        async def renew() -> None:
            async with self.pool.acquire() as connection:
                if not await attempts.renew(connection, lease, self.owner):
                    raise LeaseLost

        intents: dict[str, Intent] = {}
        for customer_id in sorted({attempt.customer_id, *customers}):
            try:
                async for intent in self.charges.list_intents(
                    created_after=now - LOOK_BACK, customer_id=customer_id, whole=False, after_page=renew
                ):
                    if intent.state != "cancelled" and stamps.is_ours(intent, lease.team_id):
                        intents[intent.id] = intent
            except Missing:
                if customer_id == attempt.customer_id:
                    raise  # the key is of another account: there is nothing to be seen with it
        if own is not None:
            intents.pop(own.id, None)
        return stamps, list(intents.values())

    async def _not_named(self, lease: Lease, listed: Sequence[Intent]) -> list[Intent] | None:
        """Those that no fact of the log names, read after the list; None where the attempt is over meanwhile."""
        async with self.pool.acquire() as connection:
            rows = await connection.fetch(
                NAMED, shard_of(lease.team_id), lease.team_id, [intent.id for intent in listed]
            )
            state = await fold_top_ups(connection, lease.team_id)
        if state.open is None or state.open.attempt_id != str(lease.attempt_id):
            return None
        named = {row[0] for row in rows}
        return [intent for intent in listed if intent.id not in named]

    async def _end(self, lease: Lease, attempt: Attempt, intent: Intent) -> Intent | None:
        """The intent once it is paid, or nobody can pay it any more; None for one that may go on beside a charge."""
        page_is_known = kind_of(intent) == "purchase" and await self._page_of(lease, intent) is not None
        if intent.state == "succeeded":
            return await self.charges.retrieve(intent.id)
        if page_is_known:
            return None
        if intent.state == "processing":
            return intent
        if kind_of(intent) == "purchase" and (page := await self.charges.find_checkout(intent.id)) is not None:
            ended = await self.charges.expire_checkout(page.id)
            after = await self.charges.retrieve(intent.id)
            # Stripe cancels no intent of a page. Nobody can pay it on a page that has expired.
            over = ended.state == "expired" and after.state not in ("succeeded", "processing")
            return replace(after, state="cancelled") if over else after
        after = await self._cancel(intent)
        if after.state == "cancelled":
            get_log().warning("a lost intent was cancelled", team_id=lease.team_id, payment_intent_id=intent.id)
            await self._record_cancelled(lease, attempt, intent)
        return after

    async def _page_of(self, lease: Lease, intent: Intent) -> checkouts.CheckoutRow | None:
        try:
            purchase_id = UUID(intent.metadata["purchase_id"])
        except ValueError:
            return None
        async with self.pool.acquire() as connection:
            return await checkouts.read(connection, lease.team_id, purchase_id)

    async def _cancel(self, intent: Intent) -> Intent:
        for try_number in range(1, CANCELS_MAX + 1):
            try:
                return await self.charges.cancel(intent.id, try_number=try_number)
            except Unknown as unknown:
                if not unknown.key_is_spent:
                    raise
        raise Unknown("server_error", key_is_spent=True)

    async def _record_cancelled(self, lease: Lease, attempt: Attempt, intent: Intent) -> None:
        attempt_id = intent.metadata.get("attempt_id", attempt.attempt_id)
        fact = TopUpIntentCancelled(attempt_id=attempt_id[:128], payment_intent_id=intent.id)
        async with self.pool.acquire() as connection, connection.transaction():
            now = await lock_shard(connection, lease.team_id)
            if not await is_stored(connection, lease.team_id, f"orphan:{intent.id}"):
                state = await fold_top_ups(connection, lease.team_id)
                await append_top_up(
                    connection, state, [NewFact(lease.team_id, TOP_UPS, f"orphan:{intent.id}", now, fact)]
                )

    async def _answer(self, lease: Lease, own: Intent | None, stamps: Stamps, paid: Sequence[Intent]) -> Look:
        """End the attempt and give what was paid its credits, in one transaction; then it is decided anew."""
        if own is not None and own.payable:
            own = await self._cancel(own)
            if own.payable:
                return Look.WAIT
        crashpoint("topup:gave_way")
        if own is not None and own.state == "succeeded":
            paid = [*paid, own]
        payments = [await self._payment(lease, intent) for intent in paid]
        async with self.pool.acquire() as connection, connection.transaction():
            faults = await self._settle(connection, lease, own, stamps, payments)
            crashpoint("topup:adopting")
        for payment in payments:
            fault = faults.get(payment.intent.id)
            say = get_log().error if fault else get_log().warning
            say("a payment that the log had lost", team_id=lease.team_id, payment_intent_id=payment.intent.id,
                outcome=fault or "it has its credits now")  # fmt: skip
        return Look.OVER

    async def _payment(self, lease: Lease, intent: Intent) -> PaidIntent:
        """With its disputes and its page; a page that we know is followed first, as its own news would have it."""
        disputes = await self.charges.disputes_of(intent.id) if intent.disputed else ()
        if kind_of(intent) != "purchase":
            return PaidIntent(intent, disputes=disputes)
        record = await self._page_of(lease, intent)
        if record is not None and record.session_id is not None:
            await pages.follow(self.charges, self._transaction, record)
        page = await self.charges.find_checkout(intent.id)
        page = await self.charges.retrieve_checkout(page.id) if page is not None else None
        return PaidIntent(intent, page, disputes)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Connection]:
        async with self.pool.acquire() as connection, connection.transaction():
            yield connection

    async def _settle(
        self, connection: Connection, lease: Lease, own: Intent | None, stamps: Stamps,
        payments: Sequence[PaidIntent],
    ) -> dict[str, str]:  # fmt: skip
        """Append all that follows; why payments could not be answered, by their ids."""
        team_id, now = lease.team_id, await lock_shard(connection, lease.team_id)
        state = await fold_top_ups(connection, team_id)
        if state.open is not None and state.open.attempt_id != str(lease.attempt_id):
            # This look took longer than its lease, and another attempt is open: it looks for itself.
            return {payment.intent.id: "another attempt is open, and looks for itself" for payment in payments}
        due, faults = [], {}
        for payment in payments:
            match await owed(connection, stamps, self.catalog, team_id, payment):
                case Owed() as one:
                    due.append(one)
                case Doubt() as doubt:
                    faults[payment.intent.id] = doubt.why
        # What was paid for this very attempt answers it. For all others it has to be over first.
        if not any(one.attempt_id == lease.attempt_id for one in due):
            await self._give_way(connection, lease, own, now, differs=bool(faults))
        for one in sorted(due, key=lambda one: one.attempt_id != lease.attempt_id):
            # Asked once more: of two payments for one attempt the first has answered it by now.
            match await owed(connection, stamps, self.catalog, team_id, one.payment):
                case Owed() as still:
                    await give(connection, team_id, still)
                case Doubt() as doubt:
                    faults[one.payment.intent.id] = doubt.why
        if faults:
            await self._pause(connection, lease, now, *next(iter(faults.items())))
        return faults

    async def _give_way(
        self, connection: Connection, lease: Lease, own: Intent | None, now: datetime, *, differs: bool
    ) -> None:
        """The attempt is over, if it is not yet."""
        state = await fold_top_ups(connection, lease.team_id)
        if state.open is None or state.open.attempt_id != str(lease.attempt_id):
            return
        cool_down = timedelta(seconds=state.settings.cool_down_seconds if state.settings is not None else 0)
        fact = TopUpFailed(
            attempt_id=state.open.attempt_id, reason="payment_differs" if differs else "payment_found",
            payment_intent_id=own.id if own is not None else None, next_try_at=now + cool_down,
        )  # fmt: skip
        new = NewFact(lease.team_id, TOP_UPS, f"failed:{fact.attempt_id}", now, fact)
        over = attempts.ended(lease.team_id, lease.attempt_id)
        await append_top_up(connection, state, [new], beside=[over])

    async def _pause(
        self, connection: Connection, lease: Lease, now: datetime, payment_intent_id: str, fault: str
    ) -> None:
        state = await fold_top_ups(connection, lease.team_id)
        if not state.enabled or state.suspension is not None:
            return
        fact = TopUpSuspended(
            cause="payment", reason=f"{fault}: somebody has to settle it"[:500], declines=state.declines,
            fingerprint=state.card.fingerprint if state.card is not None else None, payment_intent_id=payment_intent_id,
        )  # fmt: skip
        await self._append(connection, lease.team_id, now, f"suspended:{lease.attempt_id}", fact)

    async def _append(self, connection: Connection, team_id: str, now: datetime, name: str, fact: AnyFact) -> None:
        state = await fold_top_ups(connection, team_id)
        await append_top_up(connection, state, [NewFact(team_id, TOP_UPS, name, now, fact)])
