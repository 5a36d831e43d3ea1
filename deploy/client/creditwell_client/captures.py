"""Settlements on disk until the API has taken them, and the thread that brings them there."""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx2

from .calls import ApiCall
from .errors import ApiError, CreditwellError, NoAnswer
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
        self._woken, self._stopping = threading.Event(), threading.Event()
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
        """It is on the disk when this returns, or the log says why not: then it is settled from memory alone."""
        path = self._path(work.hold)
        partly = path.with_suffix(".part")
        try:
            with partly.open("wb") as file:
                file.write(work.dump())
                file.flush()
                os.fsync(file.fileno())
            partly.rename(path)
            _sync_folder(self._folder)
        except OSError:
            logger.exception("work under hold %s can't be kept in %s", work.hold, self._folder)
        if work.hold not in self._own:
            self._woken.set()

    @contextmanager
    def settling(self, hold: str) -> Iterator[None]:
        """While a block keeps its work and settles it: then it is taken, refused for good, or left to the thread.

        Raises:
            CreditwellError: it was refused for good, or is neither taken nor kept.
        """
        self._own.add(hold)
        try:
            with self._outcome(hold):
                yield
        except CreditwellError as error:
            if not self._path(hold).exists():
                raise
            logger.warning("work under hold %s waits in %s: %s", hold, self._folder, error)
        finally:
            self._own.discard(hold)
            if self._path(hold).exists():
                self._woken.set()

    @contextmanager
    def _outcome(self, hold: str) -> Iterator[None]:
        try:
            yield
        except ApiError as no:
            if no.is_verdict:
                self._put_aside(hold, "refused")
            raise
        self._path(hold).unlink(missing_ok=True)

    def _put_aside(self, hold: str, why: str) -> None:
        with suppress(FileNotFoundError):
            self._path(hold).rename(self._folder / f"{hold}.{why}.json")

    def pending(self) -> int:
        """How many wait."""
        return len(self._waiting())

    def close(self) -> None:
        """Let go of the folder. What waits is sent by the next client that opens it."""
        self._stopping.set()
        self._woken.set()
        self._thread.join(STOP_SECONDS)
        self._http.close()
        self._lock.close()

    def _path(self, hold: str) -> Path:
        return self._folder / f"{hold}.json"

    def _waiting(self) -> list[Path]:
        aside = (".refused.json", ".damaged.json")
        return sorted(path for path in self._folder.glob("*.json") if not path.name.endswith(aside))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.wait()
            self._woken.clear()
            try:
                all_brought = self._bring()
            except Exception:
                logger.exception("what waits in %s can't be sent now", self._folder)
                all_brought = False
            if not all_brought:
                self._woken.set()
                self._stopping.wait(PAUSE_SECONDS)

    def _bring(self) -> bool:
        """Whether nothing is left that waits. Each is judged alone; only an API that is away ends a turn."""
        all_brought = True
        for path in self._waiting():
            if self._stopping.is_set():
                return True
            if path.stem in self._own:
                continue
            try:
                self._bring_one(path)
            except NoAnswer as trouble:
                logger.warning("work under hold %s waits in %s: %s", path.stem, self._folder, trouble)
                return False
            except ApiError as no:
                logger.warning("work under hold %s is not taken, and is kept in %s: %s", path.stem, self._folder, no)
                all_brought = all_brought and no.is_verdict
            except Exception:
                logger.exception("work under hold %s is not taken, and is kept in %s", path.stem, self._folder)
                all_brought = all_brought and not path.exists()
        return all_brought

    def _bring_one(self, path: Path) -> None:
        """Raises what keeps it from being taken; with a verdict, or damaged, it was put aside."""
        try:
            work = Settlement.load(path.read_bytes())
        except FileNotFoundError:
            return  # its block has settled it meanwhile
        except (ValueError, TypeError):
            self._put_aside(path.stem, "damaged")
            raise
        with self._outcome(path.stem):
            drive(settle(work, self.source), self._send)

    def _send(self, call: ApiCall[Any]) -> Any:
        return send(self._http, call, self._token, PATIENCE_SECONDS)


def _sync_folder(folder: Path) -> None:
    """A new name in it is on the disk, too."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
