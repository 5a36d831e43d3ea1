"""Processes that do pieces of work for their parent, one piece at a time.

Each child holds one end of a pipe and the parent alone holds the other. So neither waits for one that is dead: the
parent reads the end of the pipe where a child was killed, and a child ends as soon as the parent has.
"""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from traceback import format_exc
from typing import Any

from services.runtime.errors import Unavailable
from services.runtime.gc_tuning import stop_looking_for_garbage

ENDS_SECONDS = 10  # a child that was asked to end may take so long

_CONTEXT = get_context("spawn")  # a fork would share the parent's sockets


class ChildKilled(Unavailable):
    """A child ended in the midst of its work: by the system, for want of memory, or by a person."""


class Child:
    """One process. What goes in and out is pickled, exceptions too."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe ends with the child
        self._item = ""
        with suppress(OSError):  # it is dead already: said by `outcome`
            self.pipe.send(work)

    def begin(self, item: object, name: str) -> None:
        """Give it a piece of work; `name` is what a person knows it by."""
        self._item = name
        with suppress(OSError):
            self.pipe.send(item)

    def outcome(self) -> Any:
        """What became of the piece. Waits for it.

        Raises:
            ChildKilled: nothing will. What the work raises is raised here, too.
        """
        try:
            failure, outcome = self.pipe.recv()
        except (EOFError, OSError) as ended:
            raise ChildKilled(self._end()) from ended
        if failure is not None:
            raise failure
        return outcome

    def stop(self, *, at_once: bool) -> None:
        """End it: when it has nothing to do, or in the midst of its work."""
        self.pipe.close()
        if at_once:
            self._process.terminate()
        self._process.join(ENDS_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _end(self) -> str:
        """A sentence that says how it ended."""
        self._process.join(ENDS_SECONDS)
        code = self._process.exitcode
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        return f"process {self._process.pid} {how} while it worked on {self._item}"


def first_ready(children: list[Child]) -> Child:
    """The first one that has come to an outcome, or to its end."""
    ready = connection.wait([child.pipe for child in children])
    return next(child for child in children if child.pipe in ready)


def _serve(pipe: Connection) -> None:
    """What a child does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells it to all of them: the parent ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Each process has its own pyarrow, whose own allocator keeps what was freed: some 50 MB.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with suppress(EOFError, OSError):  # the parent is gone, or needs it no more
        work = pipe.recv()
        stop_looking_for_garbage()
        while True:
            pipe.send(_done(work, pipe.recv()))


def _done(work: Callable[[Any], Any], item: object) -> tuple[BaseException | None, Any]:
    try:
        return None, work(item)
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is raised where the work was asked for
        failure.add_note(format_exc())
        return failure, None


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a child has a parent"
    parent.join()
    os._exit(1)
