"""Webhooks: every event is posted, signed, to one address, and posted again until it is taken.

Stripe promises neither order nor "only once". A script can order worse: events that are lost, doubled, delayed, or
held back and let go in another order. The signature's time is the machine's, not the script's, since the receiver
judges it by its own clock.
"""

import asyncio
import hashlib
import hmac
import json
import ssl
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal

import httpx2

from .books import Books
from .errors import Json

RETRY_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, *(43_200,) * 5)  # then Stripe gives up, after three days
ANSWER_SECONDS = 10.0
SETTLED_SECONDS_MAX = 60
HTTP_OK, HTTP_REDIRECT = 200, 300

Twist = Literal["lose", "double", "delay", "hold"]


@dataclass
class DeliveryRule:
    """What a script does with the next `times` events of these types (none named: all types)."""

    do: Twist
    types: list[str] = field(default_factory=list)
    times: int = 1_000_000
    seconds: int = 0
    copies: int = 2


@dataclass
class Address:
    """Where events go to, and the secret that signs them."""

    url: str | None = None
    secret: str = ""


@cache
def trusted() -> ssl.SSLContext:
    """What this machine trusts; to read it takes 22 ms of a processor, and tests start many stand-ins."""
    return ssl.create_default_context()


def sign(secret: str, body: bytes, timestamp: int) -> str:
    """The `Stripe-Signature` header of a body, sent at a time (Unix seconds)."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class WebhookSender:
    """Delivers what is due, one after the other, in the order of due time; what is not taken comes again later."""

    def __init__(self, books: Books, address: Address) -> None:
        self._books = books
        self.address = address
        self.rules: list[DeliveryRule] = []
        self._idle = asyncio.Event()
        self._open = [one for one in books.all("delivery") if one["state"] in {"new", "pending", "held"}]

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with httpx2.AsyncClient(
            timeout=ANSWER_SECONDS, trust_env=False, verify=trusted(), follow_redirects=False
        ) as client:
            while True:
                self._books.webhook_due.clear()
                self._accept()
                due = self._due()
                for delivery in due:
                    if delivery["state"] == "pending":
                        await self._deliver(client, delivery)
                self._books.commit()
                if not due:
                    self._idle.set()
                    await self._wait()

    def clear(self) -> None:
        """Forgets the script, the address, and what is still to be delivered."""
        self.address.url = None
        self.rules.clear()
        for delivery in self._open:
            delivery["state"] = "lost"
        self._open.clear()

    async def settled(self) -> None:
        """Returns when nothing is due any more; raises TimeoutError when that takes too long."""
        self._idle.clear()
        self._books.webhook_due.set()
        async with asyncio.timeout(SETTLED_SECONDS_MAX):
            await self._idle.wait()

    def release(self, *, order: Literal["given", "reversed", "shuffled"], seed: int = 0) -> int:
        """Lets go what was held, in another order perhaps."""
        held = self._in_state("held")
        if order == "reversed":
            held.reverse()
        elif order == "shuffled":
            held.sort(key=lambda delivery: hashlib.sha256(f"{seed}:{delivery['id']}".encode()).digest())
        for place, delivery in enumerate(held):
            self._mark(delivery, "pending", due=self._books.clock.now(), place=place)
        self._books.webhook_due.set()
        return len(held)

    def again(self, event_id: str) -> Json:
        """Posts an event once more, as the dashboard's Resend button does; no rule touches it."""
        return self._books.post(self._books.get("event", event_id), state="pending")

    def _accept(self) -> None:
        """Decides what becomes of each new delivery: the script's twist, or the ordinary way."""
        while self._books.outbox:
            self._open.append(self._books.outbox.popleft())
        for delivery in self._in_state("new"):
            rule = self._rule(self._books.get("event", delivery["event"])["type"])
            match None if rule is None else rule.do:
                case _ if self.address.url is None:
                    self._mark(delivery, "lost")
                case "lose":
                    self._mark(delivery, "lost")
                case "hold":
                    self._mark(delivery, "held")
                case "delay":
                    self._mark(delivery, "pending", due=delivery["due"] + (rule.seconds if rule else 0))
                case "double":
                    self._mark(delivery, "pending")
                    for _ in range(rule.copies - 1 if rule else 0):
                        self.again(delivery["event"])
                case None:
                    self._mark(delivery, "pending")

    def _rule(self, kind: str) -> DeliveryRule | None:
        for rule in self.rules:
            if rule.times > 0 and (not rule.types or kind in rule.types):
                rule.times -= 1
                return rule
        return None

    def _in_state(self, state: str) -> list[Json]:
        return [delivery for delivery in self._open if delivery["state"] == state]

    def _due(self) -> list[Json]:
        now = self._books.clock.now()
        deliveries = [delivery for delivery in self._in_state("pending") if delivery["due"] <= now]
        return sorted(deliveries, key=lambda delivery: (delivery["due"], delivery.get("place", 0)))

    async def _wait(self) -> None:
        pending = [delivery["due"] for delivery in self._in_state("pending")]
        if not pending or self._books.clock.frozen:
            await self._books.webhook_due.wait()
            return
        seconds = max(1, min(pending) - self._books.clock.now())
        try:
            await asyncio.wait_for(self._books.webhook_due.wait(), seconds)
        except TimeoutError:
            return

    async def _deliver(self, client: httpx2.AsyncClient, delivery: Json) -> None:
        event = self._books.get("event", delivery["event"])
        body = json.dumps(event, indent=2).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": sign(self.address.secret, body, int(time.time())),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        attempts = delivery["attempts"]
        try:
            response = await client.post(self.address.url or "", content=body, headers=headers)
            attempts.append(response.status_code)
            accepted = HTTP_OK <= response.status_code < HTTP_REDIRECT
        except httpx2.HTTPError as failure:
            attempts.append(type(failure).__name__)
            accepted = False
        if accepted:
            self._mark(delivery, "delivered")
        elif len(attempts) > len(RETRY_SECONDS):
            self._mark(delivery, "given up")
        else:
            self._mark(delivery, "pending", due=self._books.clock.now() + RETRY_SECONDS[len(attempts) - 1])

    def _mark(self, delivery: Json, state: str, **changes: int) -> None:
        delivery.update(state=state, **changes)
        self._books.changed("delivery", delivery)
        if state in {"lost", "delivered", "given up"}:
            self._open = [other for other in self._open if other is not delivery]
