"""Settlements on disk until the API has taken them, and the thread that brings them there."""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2

from .calls import ApiCall
from .errors import ApiError, CreditwellError, NoAnswer, Unauthenticated
from .sending import Token, send
from .settling import Settlement, drive, settle

PATIENCE_SECONDS, PAUSE_SECONDS, STOP_SECONDS = 30.0, 2.0, 5.0
logger = logging.getLogger(__name__)


class CaptureSpoolInUse(CreditwellError):
    """Another process has this spool."""


class Captures:
    """A folder with a file for each settlement that the API has not taken. Safe to share between threads.

    `ID.json` waits; `ID.refused.json` was refused for good, and `ID.damaged.json` can't be read: they are kept for a
    person to look at.
    """

    def __init__(self, folder: Path, source: str, url: str, token: Token) -> None:
        """Take the folder, and begin to send what an earlier process left in it.

        Raises:
            CaptureSpoolInUse: another process has it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.source = source
        self._folder, self._token = folder, token
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise CaptureSpoolInUse(
                f"{folder}: another process has this spool; give each process one of its own"
            ) from error
        self._http = httpx2.Client(base_url=url, timeout=10.0)
        self._woken, self._stopping = threading.Event(), False
        self._own: set[str] = set()  # of blocks that are settling at this moment
        self._woken.set()
        self._thread = threading.Thread(target=self._run, name="creditwell-captures", daemon=True)
        self._thread.start()

    @classmethod
    def of(cls, spool: Path | str | None, source: str | None, url: str, token: Token) -> Self | None:
        """The spool of a client, if it has one. Raises ValueError where the source is missing."""
        if spool is None:
            return None
        if source is None:
            raise ValueError("a spool needs a source: work whose hold has expired is reported as usage of that source")
        return cls(Path(spool), source, url, token)

    def keep(self, work: Settlement) -> None:
        """It is on the disk when this returns; whoever keeps it tries to settle it first."""
        self._own.add(work.hold)
        path = self._path(work.hold)
        partly = path.with_suffix(".part")
        with partly.open("wb") as file:
            file.write(work.dump())
            file.flush()
            os.fsync(file.fileno())
        partly.rename(path)

    @contextmanager
    def outcome(self, hold: str) -> Iterator[None]:
        """While the block settles what was kept: then it is taken, refused for good, or left to the thread."""
        try:
            yield
        except Unauthenticated:  # the token may be replaced by one that counts: that is nothing against the work
            self._woken.set()
            raise
        except ApiError:
            self._put_aside(hold, "refused")
            raise
        except BaseException:
            self._woken.set()
            raise
        else:
            self._path(hold).unlink()
        finally:
            self._own.discard(hold)

    def pending(self) -> int:
        """How many wait."""
        return len(self._waiting())

    def close(self) -> None:
        """Let go of the folder. What waits is sent by the next client that opens it."""
        self._stopping = True
        self._woken.set()
        self._thread.join(STOP_SECONDS)
        self._http.close()
        self._lock.close()

    def _path(self, hold: str) -> Path:
        return self._folder / f"{hold}.json"

    def _put_aside(self, hold: str, why: str) -> None:
        self._path(hold).rename(self._folder / f"{hold}.{why}.json")

    def _waiting(self) -> list[Path]:
        aside = (".refused.json", ".damaged.json")
        return sorted(path for path in self._folder.glob("*.json") if not path.name.endswith(aside))

    def _run(self) -> None:
        while not self._stopping:
            self._woken.wait()
            self._woken.clear()
            while not self._stopping and not self._bring():
                self._woken.clear()  # it was set by what has failed just now
                self._woken.wait(PAUSE_SECONDS)

    def _bring(self) -> bool:
        """Whether nothing is left that waits for the API."""
        for path in self._waiting():
            if self._stopping or path.stem in self._own:
                continue
            try:
                self._settle(path)
            except (NoAnswer, Unauthenticated) as trouble:
                logger.warning("work under hold %s waits in %s: %s", path.stem, self._folder, trouble)
                return False
            except ApiError:
                logger.exception("work under hold %s was refused, and is kept in %s", path.stem, self._folder)
            except Exception:  # of the disk, or of the function that gives tokens: it may be over in a moment
                logger.exception("work under hold %s waits in %s", path.stem, self._folder)
                return False
        return True

    def _settle(self, path: Path) -> None:
        data = path.read_bytes()
        try:
            work = Settlement.load(data)
        except (ValueError, TypeError):
            self._put_aside(path.stem, "damaged")
            logger.exception("work under hold %s can't be read, and is kept in %s", path.stem, self._folder)
            return
        with self.outcome(path.stem):
            drive(settle(work, self.source), self._send)

    def _send(self, call: ApiCall[Any]) -> Any:
        return send(self._http, call, self._token, PATIENCE_SECONDS)
