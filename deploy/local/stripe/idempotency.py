"""Idempotency keys: the same request sent twice is answered twice and done once, for a day.

As at Stripe: the same key and the same body give the first answer again (`Idempotent-Replayed: true`), a 500 and a
decline included; another body or another endpoint is an error (400); a request that is still being worked on is a
conflict (409); after 24 hours the key is forgotten, and the request is done anew.
"""

import hashlib
import json
from dataclasses import dataclass

from .books import Books
from .errors import Json, key_in_use, key_of_another_request

REMEMBERED_SECONDS = 86_400


@dataclass(frozen=True)
class KeyClaim:
    """A key that a request holds while it is being worked on."""

    key: str
    path: str
    fingerprint: str


@dataclass(frozen=True)
class SavedAnswer:
    """An answer that is given again, and the request that it was first given to."""

    status: int
    body: Json
    request_id: str


class KeysInFlight:
    """The keys in flight; those that were answered are in the books, and survive a restart as Stripe's do."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._in_flight: set[str] = set()

    def claim(self, key: str, path: str, pairs: list[tuple[str, str]]) -> KeyClaim | SavedAnswer:
        """The answer that was given before, or the right to give one; raises StripeError (400, 409) otherwise."""
        fingerprint = hashlib.sha256(json.dumps(sorted(pairs)).encode()).hexdigest()
        if key in self._in_flight:
            raise key_in_use(key)
        saved = self._books.find("idempotency", key)
        if saved is not None and saved["saved_at"] + REMEMBERED_SECONDS <= self._books.clock.now():
            self._books.forget("idempotency", key)
            saved = None
        if saved is None:
            self._in_flight.add(key)
            return KeyClaim(key, path, fingerprint)
        if saved["path"] != path:
            raise key_of_another_request(key, saved["path"])
        if saved["fingerprint"] != fingerprint:
            raise key_of_another_request(key, None)
        return SavedAnswer(saved["status"], saved["body"], saved["request_id"])

    def save(self, claim: KeyClaim, saved: SavedAnswer) -> None:
        """Keeps the answer for a day."""
        self._books.add(
            "idempotency",
            {
                "id": claim.key,
                "path": claim.path,
                "fingerprint": claim.fingerprint,
                "status": saved.status,
                "body": saved.body,
                "request_id": saved.request_id,
                "saved_at": self._books.clock.now(),
            },
        )

    def release(self, claim: KeyClaim) -> None:
        """The request is over, answered or not."""
        self._in_flight.discard(claim.key)
