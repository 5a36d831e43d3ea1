"""What we write upon every intent and Checkout: for what it is, in words that we can prove to be ours.

A store that went back in time has lost what it had asked for, and Stripe still has it. So each intent carries, as
metadata, what the log said when it was made: the log's name, the team, the attempt or the purchase, its low episode
and number, the credits and the amount. Whoever finds a payment that no fact names gives those credits, and only
those.

Metadata can be edited by hand in Stripe's dashboard, and by everybody who has a key of the account. Hence the code
beside them, a MAC over all of them and the customer. Its key is made by the migration, lies in the store, and is read
by the two roles that charge. It is none of the operator's secrets on purpose:

- Stripe's key opens the door to the metadata: who could edit them could prove the edit, too;
- each process may have a Stripe key of its own, and all of them are rotated, while a stamp must hold for 90 days;
- what is in the store comes back with the store, and that is when stamps are read.

Who has the key and the dashboard can still not mint: the money must have come, and the catalog must ask it for these
credits.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Final, Literal

from services.money.stripe_client import Intent
from services.store.connect import Connection

LOG = """
    SELECT value, has_table_privilege('store_secrets', 'SELECT') AS may_read FROM store_constants WHERE name = 'log'
"""
KEY = "SELECT value FROM store_secrets WHERE name = 'payments'"

NAMES: Final = {"top-up": "attempt_id", "purchase": "purchase_id"}  # what Stripe's news are told apart by, too

Kind = Literal["top-up", "purchase"]


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """What we ask money for. Credits are micro-credits, the amount is minor units without tax.

    `episode` and `number` are those of a top-up's attempt; `pack` is that of a purchase.
    """

    kind: Kind
    team_id: str
    id: str
    credits: int
    amount_cents: int
    currency: str
    customer_id: str
    episode: str = ""
    number: int = 0
    pack: str = ""


@dataclass(frozen=True, slots=True)
class Stamps:
    """The log's name, and the key of its stamps; None for who may only look, and proves nothing."""

    log: str
    key: bytes | None

    def write(self, request: PaymentRequest) -> dict[str, str]:
        """The metadata of an intent or a Checkout; the same for the same question."""
        return {"log": self.log, **words_of(request), "mac": self._mac(request)}

    def is_ours(self, intent: Intent, team_id: str) -> bool:
        """True for an intent of this team and of no other log; builds before the stamps named no log."""
        metadata = intent.metadata
        return (
            metadata.get("team_id") == team_id
            and metadata.get("log") in (None, self.log)
            and kind_of(intent) is not None
        )

    def read(self, intent: Intent) -> PaymentRequest | None:
        """What we had asked for; None where there is no stamp, or one that does not fit its intent."""
        request = _claims_of(intent)
        if request is None or self.key is None or intent.metadata.get("log") != self.log:
            return None
        return request if hmac.compare_digest(self._mac(request), intent.metadata["mac"]) else None

    def claimed(self, intent: Intent) -> PaymentRequest | None:
        """As `read`; who has no key and proves nothing believes what stands there."""
        if self.key is not None:
            return self.read(intent)
        return _claims_of(intent) if intent.metadata.get("log") == self.log else None

    def _mac(self, request: PaymentRequest) -> str:
        assert self.key is not None, "only roles that charge write stamps"
        message = json.dumps(["creditwell payment 1", self.log, *astuple(request)]).encode()
        return hmac.new(self.key, message, hashlib.sha256).hexdigest()


async def read_stamps(connection: Connection) -> Stamps:
    """The store's own; with the key for the roles that charge."""
    row = await connection.fetchrow(LOG)
    assert row is not None, "each log has a name"
    return Stamps(row["value"], await connection.fetchval(KEY) if row["may_read"] else None)


def words_of(request: PaymentRequest) -> dict[str, str]:
    """What a stamp says of a request; anybody can read it, and write it."""
    more = (
        {"episode": request.episode, "number": str(request.number)}
        if request.kind == "top-up"
        else {"pack": request.pack}
    )
    return {
        "team_id": request.team_id, NAMES[request.kind]: request.id, "credits": str(request.credits),
        "amount": str(request.amount_cents), **more,
    }  # fmt: skip


def is_for(intent: Intent, request: PaymentRequest) -> bool:
    """True if an intent is what the log asked for: its money, its customer, and each word that stands upon it."""
    money = (request.amount_cents, request.currency, request.customer_id)
    return (intent.amount_cents, intent.currency, intent.customer_id) == money and says(intent.metadata, request)


def says(metadata: Mapping[str, str], request: PaymentRequest) -> bool:
    """True if this stands upon a payment or its page; the log's own request needs no MAC."""
    return words_of(request).items() <= metadata.items()


def kind_of(intent: Intent) -> Kind | None:
    """What an intent was made for, by the name in its metadata; None for one that is not ours."""
    if "attempt_id" in intent.metadata:
        return "top-up"
    return "purchase" if "purchase_id" in intent.metadata else None


def has_stamp(intent: Intent) -> bool:
    """False for intents of builds before the stamps, and for those that somebody has taken it off."""
    return "mac" in intent.metadata


def _claims_of(intent: Intent) -> PaymentRequest | None:
    metadata, kind = intent.metadata, kind_of(intent)
    if kind is None or not {"team_id", "credits", "amount", "mac"} <= metadata.keys():
        return None
    numbers = (metadata["credits"], metadata["amount"], metadata.get("number", "0"))
    if not all(number.isascii() and number.isdecimal() and len(number) < 19 for number in numbers):
        return None
    credits, amount, number = map(int, numbers)
    return PaymentRequest(
        kind, metadata["team_id"], metadata[NAMES[kind]], credits, amount, intent.currency, intent.customer_id or "",
        metadata.get("episode", ""), number, metadata.get("pack", ""),
    )  # fmt: skip
