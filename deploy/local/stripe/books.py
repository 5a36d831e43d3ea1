"""The stand-in's books: every object that Stripe would remember, in the order in which they came to be.

They live in memory and, when a file is named, in SQLite as well, written in one transaction per request: a stand-in
that is killed and started again goes on where it was, as Stripe would. Names that begin with an underscore are
its own notes and are never shown.
"""

import asyncio
import hashlib
import json
import sqlite3
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .clock import StripeClock
from .errors import Json, no_such

API_VERSION = "2026-10-28.endive"

CREATE = "CREATE TABLE IF NOT EXISTS objects (kind TEXT, id TEXT, place INTEGER, body TEXT, PRIMARY KEY (kind, id))"
LOAD = "SELECT kind, id, place, body FROM objects ORDER BY place"
SAVE = """
    INSERT INTO objects (kind, id, place, body) VALUES (?, ?, ?, ?)
    ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body
"""
CLEAR = "DELETE FROM objects"
FORGET = "DELETE FROM objects WHERE kind = ? AND id = ?"


class Books:
    """Objects by kind and id. What a request changes is marked and written by `commit`, before the answer leaves."""

    def __init__(self, *, clock: StripeClock, seed: int = 0, path: Path | None = None) -> None:
        self.clock = clock
        self.seed = seed
        self.webhook_due = asyncio.Event()
        self.outbox: deque[Json] = deque()
        self._kinds: dict[str, dict[str, Json]] = {}
        self._dirty: dict[tuple[str, str], None] = {}
        self._places = 0
        self._file = None if path is None else _open(path)
        if self._file is not None:
            for kind, identity, place, body in self._file.execute(LOAD):
                self._kinds.setdefault(kind, {})[identity] = json.loads(body)
                self._places = place
            clock.advance(self.note("clock").get("advanced_seconds", 0))

    def add(self, kind: str, body: Json) -> Json:
        """Remembers a new object, or another in its place."""
        self._kinds.setdefault(kind, {})[body["id"]] = body
        self.changed(kind, body)
        return body

    def changed(self, kind: str, body: Json) -> None:
        """To be called for each object that was changed in place, or the change is lost in a restart."""
        self._dirty[kind, body["id"]] = None

    def forget(self, kind: str, identity: str) -> None:
        """As if there had been no such object."""
        del self._kinds[kind][identity]
        self._dirty[kind, identity] = None

    def all(self, kind: str) -> Iterator[Json]:
        """Oldest first."""
        yield from self._kinds.get(kind, {}).values()

    def newest_first(self, kind: str) -> Iterator[Json]:
        """The order of all of Stripe's lists."""
        yield from reversed(self._kinds.get(kind, {}).values())

    def find(self, kind: str, identity: str) -> Json | None:
        """The object itself, not a copy."""
        return self._kinds.get(kind, {}).get(identity)

    def get(self, kind: str, identity: str, *, param: str = "id") -> Json:
        """Raises StripeError when there is none: 404 for a path, 400 for a parameter."""
        body = self.find(kind, identity)
        if body is None:
            raise no_such(kind, identity, param)
        return body

    def customer(self, identity: str, *, param: str = "customer") -> Json:
        """A customer that was not deleted; raises StripeError when there is none."""
        customer = self.get("customer", identity, param=param)
        if customer.get("deleted"):
            raise no_such("customer", identity, param)
        return customer

    def note(self, name: str) -> Json:
        """A small object of the stand-in's own: its counters, its clock."""
        return self.find("note", name) or self.add("note", {"id": name})

    def new_id(self, prefix: str) -> str:
        """The same seed and the same requests in the same order give the same ids."""
        counters = self.note("counters")
        counters[prefix] = counters.get(prefix, 0) + 1
        self.changed("note", counters)
        digest = hashlib.sha256(f"{self.seed}:{prefix}:{counters[prefix]}".encode()).hexdigest()
        return f"{prefix}_{digest[:24]}"

    def post(self, event: Json, *, state: str) -> Json:
        """Hands an event to the sender of webhooks, who looks into `outbox`; `new` ones still await the script."""
        identity, now = self.new_id("del"), self.clock.now()
        delivery: Json = {"id": identity, "event": event["id"], "state": state, "due": now, "attempts": []}
        self.add("delivery", delivery)
        self.outbox.append(delivery)
        self.webhook_due.set()
        return delivery

    def advance(self, seconds: int) -> None:
        """Moves the clock, and remembers how far, so that a restart does not bring forgotten keys back."""
        self.clock.advance(seconds)
        note = self.note("clock")
        note["advanced_seconds"] = self.clock.advanced_seconds
        self.changed("note", note)
        self.webhook_due.set()

    def commit(self) -> None:
        """Writes what has changed, all or nothing."""
        dirty, self._dirty = self._dirty, {}
        if self._file is None or not dirty:
            return
        with self._file:
            for kind, identity in dirty:
                body = self.find(kind, identity)
                if body is None:
                    self._file.execute(FORGET, (kind, identity))
                else:
                    self._places += 1
                    self._file.execute(SAVE, (kind, identity, self._places, json.dumps(body)))

    def clear(self) -> None:
        """Forgets everything, as if newly started on an empty file."""
        self._kinds.clear()
        self._dirty.clear()
        self.outbox.clear()
        self.clock.restart()
        if self._file is not None:
            with self._file:
                self._file.execute(CLEAR)

    def close(self) -> None:
        """Writes what is left, and closes the file."""
        self.commit()
        if self._file is not None:
            self._file.close()


def shown(body: Any) -> Any:
    """A copy without the stand-in's own notes."""
    if isinstance(body, dict):
        return {name: shown(part) for name, part in body.items() if not name.startswith("_")}
    if isinstance(body, list):
        return [shown(part) for part in body]
    return body


def _open(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = OFF")  # a killed process loses nothing by it, and no machine fails in a test
    file.execute(CREATE)
    return file
