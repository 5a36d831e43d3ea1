"""Progress for people: coloured on a terminal, plain lines elsewhere."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.text import Text

Say = Callable[[str], None]

STILL_SECONDS = 5


def speaker(stream: TextIO | None = None) -> Say:
    """Says one line at once. What stands before the first colon is the step, and is emphasised on a terminal."""
    console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        step, colon, rest = line.partition(": ")
        console.print(Text.assemble((step + colon, "bold cyan"), rest) if colon else Text(line))

    return say


@contextmanager
def still(say: Say, what: Callable[[], str]) -> Iterator[None]:
    """Says every few seconds how far something slow has come, so that nobody takes it for stuck."""
    done = threading.Event()

    def remind() -> None:
        while not done.wait(STILL_SECONDS):
            say(what())

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        done.set()
        reminder.join()
