"""Taking one attempt through Stripe: at most one charge.

Whatever dies or does not answer, at whatever step, for however long.

Each step is recorded before the next is taken:

    top_up.requested        amounts frozen, caps reserved; nothing is at Stripe yet
    top_up.intent_created   Stripe holds an unconfirmed intent, which moves no money; this one, and no other, is
                            confirmed, once Stripe has been asked for payments that the log has lost (`looking`)
    credits.topped_up       the intent has succeeded, and its id can be credited once
    top_up.failed           the intent is cancelled, and can never be paid

Whoever comes after a crash asks Stripe for the intent as it is now, and `next_step` says what follows. An answer that
did not come is never taken for a no and never leads to another attempt. Two workers on one attempt do no harm: the
intent is paid once, and credited once.

Where the bank wants to see the owner of the card, the same intent waits for a day, and nothing else is tried meanwhile.
An admin's click confirms it on-session (`confirm_by_owner`) and leads to the bank's page. Everything that comes of it,
the worker finds as it finds everything: by asking Stripe.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal
from uuid import UUID

from projections.top_ups.decisions import suspension_due
from projections.top_ups.state import Attempt, TopUps
from projections.top_ups.steps import AttemptStep, is_wanted, next_step
from schemas.catalog import Catalog
from schemas.facts import (
    AnyFact,
    NewFact,
    TopUpActionRequired,
    TopUpFailed,
    TopUpIntentCancelled,
    TopUpIntentCreated,
)
from services.money.stamps import is_for, read_stamps
from services.money.stripe_client import Busy, Charges, Decline, Declined, Intent, Missing, Unknown, WrongRequest
from services.money.stripe_client.errors import WrongKey
from services.money.top_ups import attempts
from services.money.top_ups.attempts import Lease
from services.money.top_ups.crediting import credit_top_up, request_of
from services.money.top_ups.log import TOP_UPS, append_top_up, fold_top_ups, is_stored, lock_top_ups
from services.money.top_ups.looking import LOOK_BACK, Look, Looking
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Refused
from services.runtime.logs import get_log
from services.store.append import Beside, LockedHead
from services.store.connect import Connection, Pool, Transaction
from services.store.lives import check_looked

FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.5, 60.0
OWNER_LOOK_SECONDS = 60.0  # a webhook tells sooner
OWNER_WAITS = timedelta(days=1)
ENDS_AFTER = timedelta(days=14)  # what the bank never decides; whoever charges next looks for it first
REFUSED_AGAIN = timedelta(
    hours=1
)  # a charge that Stripe will not take at all is not asked for each time the cool-down ends

NEW_KEYS = {AttemptStep.CONFIRM: attempts.NEW_CONFIRM, AttemptStep.CANCEL: attempts.NEW_CANCEL}

FailureReason = Literal[
    "declined_retry_later", "declined_needs_card", "declined_needs_authentication", "cancelled", "refused", "gave_up"
]
REASONS: dict[str | None, FailureReason] = {
    "retry_later": "declined_retry_later", "needs_card": "declined_needs_card",
    "needs_authentication": "declined_needs_authentication", None: "cancelled",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Charging:
    """What a worker needs to charge: the store, Stripe, what is sold, and the name under which it holds leases."""

    pool: Pool
    charges: Charges
    catalog: Catalog
    owner: str

    async def go_on(self, team_id: str) -> None:
        """Take a team's open attempt as far as it goes now. Where Stripe does not answer, it stays open for later."""
        async with self.pool.acquire() as connection:
            lease = await attempts.lease(connection, team_id, self.owner, OWNER_WAITS, ENDS_AFTER)
            state = await fold_top_ups(connection, team_id)
        if lease is None or state.open is None or state.open.attempt_id != str(lease.attempt_id):
            await self._put_right(team_id)
            return
        crashpoint("topup:leased")
        wait_seconds = min(LAST_LOOK_SECONDS, FIRST_LOOK_SECONDS * 2 ** min(lease.looks, 10))
        try:
            wait_seconds = await self._drive(lease, state, state.open) or wait_seconds
        except Busy as busy:
            wait_seconds = busy.retry_after_seconds or wait_seconds
        except Unknown as unknown:
            get_log().warning("Stripe's answer is not known", attempt_id=state.open.attempt_id, why=unknown.reason)
        except WrongKey:
            raise
        except WrongRequest as wrong:
            # Our mistake, or the key of another account or of the other mode: no team's fault, so the attempt stays
            # open.
            wait_seconds = LAST_LOOK_SECONDS
            get_log().error("Stripe will not have this", attempt_id=state.open.attempt_id, why=str(wrong))
        if lease.too_old:  # nobody decides it: whoever charges next finds its intent, and waits for it
            await self._fail(lease, "gave_up", None)
        async with self.pool.acquire() as connection:
            await attempts.release(connection, lease, self.owner, wait_seconds)

    async def _put_right(self, team_id: str) -> None:
        """Where a row of an attempt was changed, it says what the log says. Nearly always somebody else works on it."""
        async with self.pool.acquire() as connection, connection.transaction():
            state, _ = await lock_top_ups(connection, team_id)
            await attempts.put_right(connection, state)

    async def _drive(self, lease: Lease, state: TopUps, attempt: Attempt) -> float | None:
        """Step after step, up to the end or to where somebody else has to do something.

        Returns when to look again, if that is known.
        """
        still_wanted = is_wanted(state, attempt, self.catalog)
        if not still_wanted and attempt.payment_intent_id is None and not lease.create_try:
            await self._end_without_intent(lease, attempt, "cancelled")  # Stripe has never heard of it
            return None
        intent, before = await self._intent(lease, attempt), None
        while intent is not None:
            step = await self._next_step(lease, attempt, intent, still_wanted=still_wanted)
            if step is before:
                # Stripe repeats what it said when the intent stood otherwise; to another key, at the next look, it will
                # not.
                await self._note(lease, NEW_KEYS[step])
                break
            before = step
            match step:
                case AttemptStep.CONFIRM:
                    intent = await self._confirm(lease, attempt, intent)
                    crashpoint("topup:confirmed")
                case AttemptStep.CANCEL:
                    intent = await self._cancel(lease, intent)
                    crashpoint("topup:cancelled")
                case AttemptStep.CREDIT:
                    await self._credit(lease, attempt, intent)
                    return None
                case AttemptStep.FAIL:
                    await self._fail(lease, REASONS[_remedy(intent)], intent)
                    return None
                case AttemptStep.ASK_OWNER:
                    await self._ask_owner(lease, intent)
                    # In `requires_action` the owner is confirming it right now.
                    return OWNER_LOOK_SECONDS if intent.state != "requires_action" else None
                case AttemptStep.WAIT:
                    return None
        return None

    async def _next_step(self, lease: Lease, attempt: Attempt, intent: Intent, *, still_wanted: bool) -> AttemptStep:
        """What follows. Before money moves the facts are asked: is it the charge that was decided, and still wanted?"""
        step = next_step(intent.state, _remedy(intent), is_wanted=still_wanted, waited_long=lease.waited_long)
        if step is not AttemptStep.CONFIRM:
            return step
        if await self._looking.look(lease, attempt, intent) is not Look.CLEAR:
            return AttemptStep.WAIT
        async with self.pool.acquire() as connection:
            await check_looked(connection)  # in one that nobody has looked at, this log may not be the newest
            state = await fold_top_ups(connection, lease.team_id)
        decided = state.open
        if decided is None or (decided.attempt_id, decided.payment_intent_id) != (attempt.attempt_id, intent.id):
            return AttemptStep.WAIT  # somebody else took it further meanwhile
        same = is_for(intent, request_of(lease.team_id, decided))
        return AttemptStep.CONFIRM if same and is_wanted(state, decided, self.catalog) else AttemptStep.CANCEL

    async def _intent(self, lease: Lease, attempt: Attempt) -> Intent | None:
        """The attempt's intent as Stripe has it now, made if there is none; None where it can't be made."""
        if attempt.payment_intent_id is not None:
            return await self.charges.retrieve(attempt.payment_intent_id)
        earlier = await self._made_before(lease, attempt)
        # Another life of the log may have decided otherwise under the same name.
        # What was not confirmed then never will be.
        request = request_of(lease.team_id, attempt)
        usable = [one for one in earlier if one.state != "requires_confirmation" or is_for(one, request)]
        for other in (one for one in earlier if one not in usable[:1]):  # before one is recorded
            await self._drop_orphan(lease, other)
        intent = usable[0] if usable else await self._create(lease, attempt)
        if intent is None:
            return None
        kept_id = await self._record_intent(lease, intent)
        crashpoint("topup:recorded")
        if kept_id == intent.id:
            return intent
        await self._drop_orphan(lease, intent)
        return await self.charges.retrieve(kept_id) if kept_id is not None else None

    async def _made_before(self, lease: Lease, attempt: Attempt) -> list[Intent]:
        """What became of requests to create whose answer was lost.

        There are several where Stripe had forgotten the key.
        """
        if not lease.create_try:
            return []
        since = attempt.requested_at - LOOK_BACK  # another life of the log may have made some, under the same name
        try:
            return await self.charges.find_intents(
                lease.attempt_id, customer_id=attempt.customer_id, created_after=since
            )
        except Missing:  # there is no such customer, so nothing was made for it
            return []

    async def _create(self, lease: Lease, attempt: Attempt) -> Intent | None:
        try_number = max(lease.create_try, 1)
        await self._note(lease, attempts.SENT, try_number)
        crashpoint("topup:sending")
        async with self.pool.acquire() as connection:
            stamp = (await read_stamps(connection)).write(request_of(lease.team_id, attempt))
        try:
            intent = await self.charges.create_intent(
                attempt_id=lease.attempt_id, team_id=lease.team_id, customer_id=attempt.customer_id,
                payment_method_id=attempt.payment_method_id, charge_cents=attempt.charge_cents, currency=attempt.currency,
                metadata=stamp, try_number=try_number,
            )  # fmt: skip
        except Unknown as unknown:
            if unknown.key_is_spent:
                await self._note(lease, attempts.SENT, try_number + 1)
            raise
        except (Declined, WrongRequest) as no:
            if (
                no.replayed
            ):  # the answer to an earlier request, which ran: is its intent there? If not, the next key will do
                await self._note(lease, attempts.SENT, try_number + 1)
                raise Unknown("kept_answer", key_is_spent=True) from no
            return await self._refused(lease, attempt, no)
        crashpoint("topup:created")
        return intent

    async def _refused(self, lease: Lease, attempt: Attempt, no: Declined | WrongRequest) -> Intent | None:
        """Stripe made no intent: end the attempt, unless the key is what is wrong.

        Returns the intent, where the bank's no brought one.
        """
        if isinstance(no, Declined):  # no bank is asked before an intent is confirmed; should one be, its no is a no
            if no.intent is None:
                await self._end_without_intent(lease, attempt, REASONS[no.remedy])
            return no.intent
        if isinstance(no, WrongKey):
            raise no
        has_card = await self._has_card(attempt)
        get_log().error("Stripe will not make this intent", attempt_id=attempt.attempt_id, why=str(no))
        await self._end_without_intent(lease, attempt, "refused" if has_card else "declined_needs_card", str(no))
        return None

    async def _has_card(self, attempt: Attempt) -> bool:
        """True where a refusal was not for want of the card; raises Missing where Stripe's account is another one."""
        return await self.charges.has_card(attempt.customer_id, attempt.payment_method_id)

    async def _confirm(self, lease: Lease, attempt: Attempt, intent: Intent) -> Intent:
        try:
            return await self.charges.confirm(intent.id, attempt_id=lease.attempt_id, try_number=lease.confirm_try)
        except Declined as no:
            return no.intent or await self.charges.retrieve(intent.id)
        except Unknown as unknown:
            if unknown.key_is_spent:
                await self._note(lease, attempts.NEW_CONFIRM)
            raise
        except WrongRequest as wrong:
            if await self._has_card(attempt):
                raise
            get_log().error("Stripe will not confirm this intent", payment_intent_id=intent.id, why=str(wrong))
            last = Decline(wrong.code or "invalid_request", None, str(wrong), advice_code="do_not_try_again")
            return replace(await self._cancel(lease, intent), decline=last)

    async def _cancel(self, lease: Lease, intent: Intent) -> Intent:
        try:
            return await self.charges.cancel(intent.id, try_number=lease.cancel_try)
        except Unknown as unknown:
            if unknown.key_is_spent:
                await self._note(lease, attempts.NEW_CANCEL)
            raise

    async def _note(self, lease: Lease, statement: str, *values: object) -> None:
        async with self.pool.acquire() as connection:
            await attempts.note(connection, lease, statement, *values)

    async def _record_intent(self, lease: Lease, intent: Intent) -> str | None:
        """Make this intent the attempt's; the one that it has. None when the attempt is over."""
        async with self.pool.acquire() as connection, connection.transaction():
            state, head = await self._locked(connection, lease)
            if state.open is None or state.open.payment_intent_id is not None:
                return state.open.payment_intent_id if state.open is not None else None
            fact = TopUpIntentCreated(attempt_id=str(lease.attempt_id), payment_intent_id=intent.id)
            noted = attempts.created(lease, intent.id)
            await _append(connection, state, head, f"intent:{lease.attempt_id}", fact, [noted])
        return intent.id

    async def _drop_orphan(self, lease: Lease, intent: Intent) -> None:
        """Another intent is the attempt's: cancel this one, which nobody has confirmed."""
        if not intent.payable or (await self._cancel(lease, intent)).state != "cancelled":
            return
        fact = TopUpIntentCancelled(attempt_id=str(lease.attempt_id), payment_intent_id=intent.id)
        async with self.pool.acquire() as connection, connection.transaction():
            state, head = await self._locked(connection, lease)
            if not await is_stored(connection, lease.team_id, f"orphan:{intent.id}"):
                await _append(connection, state, head, f"orphan:{intent.id}", fact)

    @property
    def _looking(self) -> Looking:
        return Looking(self.pool, self.charges, self.catalog, self.owner)

    async def _end_without_intent(
        self, lease: Lease, attempt: Attempt, reason: FailureReason, message: str | None = None
    ) -> None:
        """End an attempt that has no intent, once it is sure that it would not have been a second charge."""
        if await self._looking.look(lease, attempt, None) is Look.CLEAR:
            await self._fail(lease, reason, None, message)

    async def _credit(self, lease: Lease, attempt: Attempt, intent: Intent) -> None:
        """Answer money by credits; whoever comes second finds it answered."""
        # Another life of the log had decided otherwise under the same name, or somebody has edited what stands upon it.
        if not is_for(intent, request_of(lease.team_id, attempt)):
            await self._looking.take(lease, intent)
            return
        async with self.pool.acquire() as connection, connection.transaction():
            fact = await credit_top_up(connection, lease.team_id, lease.attempt_id, intent)
            crashpoint("topup:crediting")
        crashpoint("topup:credited")
        if fact is not None:
            get_log().info(
                "topped up", team_id=lease.team_id, attempt_id=fact.attempt_id, charge_cents=fact.charge_cents
            )

    async def _fail(
        self, lease: Lease, reason: FailureReason, intent: Intent | None, message: str | None = None
    ) -> None:
        """End an attempt whose intent can never be paid; the third decline in a row pauses top-ups."""
        decline = intent.decline if intent is not None else None
        async with self.pool.acquire() as connection, connection.transaction():
            state, head = await self._locked(connection, lease)
            if state.open is None:
                return
            cool_down = timedelta(seconds=state.settings.cool_down_seconds if state.settings is not None else 0)
            cool_down = max(cool_down, REFUSED_AGAIN) if reason == "refused" else cool_down
            fact = TopUpFailed(
                attempt_id=state.open.attempt_id, reason=reason,
                decline_code=(decline.decline_code or decline.code)[:128] if decline is not None else None,
                message=(decline.message if decline is not None else message or "")[:500] or None,
                payment_intent_id=intent.id if intent is not None else None, next_try_at=head.recorded_at + cool_down,
            )  # fmt: skip
            over = attempts.ended(lease.team_id, lease.attempt_id)
            state = await _append(connection, state, head, f"failed:{fact.attempt_id}", fact, [over])
            if (suspended := suspension_due(state)) is not None:
                new = NewFact(lease.team_id, TOP_UPS, f"suspended:{fact.attempt_id}", head.recorded_at, suspended)
                await append_top_up(connection, state, [new])
        crashpoint("topup:failed")
        get_log().warning("top-up failed", team_id=lease.team_id, attempt_id=fact.attempt_id, reason=reason)

    async def _ask_owner(self, lease: Lease, intent: Intent) -> None:
        """Say once that the bank wants the owner's confirmation; the same intent waits for it."""
        async with self.pool.acquire() as connection, connection.transaction():
            state, head = await self._locked(connection, lease)
            if state.open is None or state.open.action_required:
                return
            fact = TopUpActionRequired(
                attempt_id=state.open.attempt_id, payment_intent_id=intent.id, action_url=intent.action_url
            )
            await attempts.note(connection, lease, attempts.NOTE_REQUEST)
            await _append(connection, state, head, f"action:{fact.attempt_id}", fact)
        crashpoint("topup:asked")

    async def _locked(self, connection: Connection, lease: Lease) -> tuple[TopUps, LockedHead]:
        """The team's top-ups under its shard's lock, without an open attempt where this one is over."""
        state, head = await lock_top_ups(connection, lease.team_id)
        ours = state.open is not None and state.open.attempt_id == str(lease.attempt_id)
        return state if ours else state.but(open=None), head


async def confirm_by_owner(charges: Charges, transaction: Transaction, team_id: str, return_url: str) -> Intent:
    """An admin's click: the intent that waits is confirmed with its owner there.

    The owner goes on to its `action_url`, if it has one.

    May be called any number of times. No transaction is open while Stripe is asked.

    Raises:
        Refused: nothing_to_confirm.
        Unknown, Busy: say the same again later.
        StoreUnchecked: nobody has looked yet whether this log is the newest.
    """
    async with transaction() as connection:
        await check_looked(connection)
        waiting = (await fold_top_ups(connection, team_id)).open
    if waiting is None or waiting.payment_intent_id is None or not waiting.action_required:
        raise Refused("nothing_to_confirm", "no payment waits to be confirmed")
    intent = await charges.retrieve(waiting.payment_intent_id)
    if intent.state == "requires_payment_method":
        async with transaction() as connection:
            try_number = await attempts.next_confirm(connection, team_id, UUID(waiting.attempt_id))
        try:
            intent = await charges.confirm(
                intent.id, attempt_id=UUID(waiting.attempt_id), try_number=try_number, off_session=False,
                payment_method_id=waiting.payment_method_id, return_url=return_url,
            )  # fmt: skip
        except Declined as no:
            intent = no.intent or await charges.retrieve(intent.id)
        except WrongRequest as wrong:
            get_log().error("Stripe will not confirm this intent", payment_intent_id=intent.id, why=str(wrong))
            intent = await charges.retrieve(intent.id)  # with a wrong key, this raises too
    async with transaction() as connection:
        await attempts.wake(connection, intent.id, waiting.attempt_id)
    return intent


def _remedy(intent: Intent) -> str | None:
    """What would help after the last decline."""
    return intent.decline.remedy if intent.decline is not None else None


async def _append(
    connection: Connection, state: TopUps, head: LockedHead, name: str, fact: AnyFact, beside: Sequence[Beside] = ()
) -> TopUps:
    new = NewFact(state.team_id, TOP_UPS, name, head.recorded_at, fact)
    return await append_top_up(connection, state, [new], head, beside)
